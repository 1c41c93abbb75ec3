"""Sending a message, and looking up the orders somebody asked for by mail."""

from __future__ import annotations

import logging
import traceback
from typing import Any

from core.crash_point import crash_point
from core.db import Tx
from core.hooks import runtime
from core.jobs import GiveUp, Lease, Retry, job, ring
from core.jobs.registry import Args
from core.messages import compose, service
from core.messages.notifier import NotifierRefused, NotifierUnavailable, Receipt
from core.refused import NotNow
from core.shops import service as shops
from core.tasks import strangers_code
from core.web.i18n import speaking

log = logging.getLogger("vouchsafe.messages")

SEND_SECONDS = 60


async def _gave_up(tx: Tx, args: Args, error: str) -> None:
    await service.failed(tx, args["message"], error)


@job(service.SEND, tries=10, backoff_seconds=30, timeout_seconds=120, on_failed=_gave_up)
async def send(args: Args, lease: Lease) -> None:
    message = await lease.write(service.begin, args["message"])
    if message is None:
        return
    notifier = service.notifier_for(message["channel"], message["shop_id"])
    if notifier is None:
        await lease.write(service.hold, message["id"])
        return
    try:
        outgoing = await compose.outgoing(message, lease.job_id, runtime.current().base_url)
    except ValueError as error:
        raise GiveUp(str(error)) from None
    except NotNow as error:
        with speaking((await shops.by_id(message["shop_id"])).locale):
            await lease.write(service.wait, message["id"], str(error.text))
        raise
    try:
        # what goes wrong is told to the merchant
        shop = await shops.by_id(message["shop_id"])
        with speaking(shop.locale):
            async with strangers_code(SEND_SECONDS):
                receipt = await notifier.send(outgoing)
    except NotifierUnavailable as error:
        await lease.write(service.wait, message["id"], str(error))
        raise Retry(str(error), error.after) from None
    except NotifierRefused as error:
        raise GiveUp(str(error)) from None
    except Exception as error:  # noqa: BLE001 - a plugin's mistake, of any kind
        # Only its kind is told: the words of this error may be those of the message.
        what, where = type(error).__name__, traceback.extract_tb(error.__traceback__)[-1]
        log.error("the notifier %s broke: %s in %s:%s", notifier.key, what, where.filename, where.lineno)
        await lease.write(service.wait, message["id"], f"{notifier.key}: {what}")
        raise Retry(f"{notifier.key}: {what}") from None
    crash_point("messages.handed_over")
    await lease.write(service.sent, message, outgoing.subject, _reference(receipt))


def _reference(receipt: Any) -> str:
    """It was taken when ``send`` came back, whatever it gave: a mistake there must not send it ten times."""
    return str(receipt.reference) if isinstance(receipt, Receipt) else ""


@job("orders.mail_links")
async def mail_links(args: Args, lease: Lease) -> None:
    await ring(*await service.links_asked(args["shop_id"], args["contact"], args["ref"], args["locale"]))
