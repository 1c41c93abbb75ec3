"""An order that is a gift: the recipient's link opens its goods and the message, but neither price nor buyer."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from core import clock, db
from core.ids import token_hash
from core.orders.service import REVEAL, VIEW
from core.people.email import read_email
from core.people.sessions import IDLE
from core.refused import Refused
from core.together import Together
from core.vault import keys
from core.vault.cipher import open_secret
from core.vault.reveal import RevealedCode, Showing, shown_codes
from core.web import limits
from core.web.errors import TooMany
from core.web.i18n import _

TOKEN_PURPOSE = "gift-token"  # noqa: S105 - the name of a purpose
LONGEST_MESSAGE = 500
SENT_AT = time(9)
"""On the day the buyer chose, in the shop's zone."""
LATEST = timedelta(days=365)

FOR_SESSION = (
    VIEW + "JOIN orders_gift_access access ON access.order_id = o.id AND access.session_hash = $2 WHERE o.ref = $1"
)
# The same windows as for buyers; only who may look, and what is written down, are others.
REVEAL_GIFT = REVEAL.replace("orders_access", "orders_gift_access").replace(
    "'revealed', 'buyer'", "'gift_opened', 'recipient'"
)
_showing = Together(REVEAL_GIFT)

LET_IN = """
WITH fits AS (SELECT gift.order_id, o.ref FROM orders_gift gift JOIN orders_order o ON o.id = gift.order_id
              WHERE gift.token_hash = $1 AND o.shop_id = $3),
access AS (INSERT INTO orders_gift_access (order_id, session_hash) SELECT order_id, $2 FROM fits ON CONFLICT DO NOTHING)
SELECT ref FROM fits
"""


@dataclass(frozen=True, slots=True)
class Gift:
    """What the buyer said about it. Without ``recipient`` the buyer passes the link on."""

    recipient: str = ""
    message: str = ""
    send_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class GiftView:
    """How it stands, for its buyer. ``path`` is the recipient's link; it lets in whoever has it."""

    recipient: str
    message: str
    send_at: datetime | None
    sent_at: datetime | None
    opened_at: datetime | None
    path: str


def read_gift(recipient: str, message: str, send_on: str, zone: str) -> Gift:
    """What was filled in.

    :raises Refused: at the field that is wrong.
    """
    to = read_email(recipient, "gift_to") if recipient.strip() else ""
    said = message.strip().replace("\r\n", "\n")
    if len(said) > LONGEST_MESSAGE:
        raise Refused(_("This is too long: %(most)d signs at most.", most=LONGEST_MESSAGE), "gift_message")
    if not send_on.strip():
        return Gift(to, said)
    if not to:
        raise Refused(_("To send it on a day, give the mail address it goes to."), "gift_to")
    return Gift(to, said, _moment(send_on.strip(), ZoneInfo(zone)))


def _moment(day: str, zone: ZoneInfo) -> datetime:
    today = clock.now().astimezone(zone).date()
    try:
        chosen = date.fromisoformat(day)
    except ValueError:
        raise Refused(_("This is no day."), "gift_on") from None
    if not today <= chosen <= today + LATEST:
        raise Refused(_("Choose a day from today on, within a year."), "gift_on")
    return datetime.combine(chosen, SENT_AT, zone)


def gift_view(given: dict[str, Any] | None) -> GiftView | None:
    """From the column ``gift`` of an order."""
    if given is None:
        return None
    token = open_secret(TOKEN_PURPOSE, base64.b64decode(given["token"])).decode()
    moments = {name: _read(given[name]) for name in ("send_at", "sent_at", "opened_at")}
    return GiftView(given["recipient"], given["message"], path=f"/gift?k={token}", **moments)


def _read(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


# -- the recipient ----------------------------------------------------------------------


async def let_in(shop_id: int, token: str, session_hash: bytes) -> str | None:
    """Open the gift to that session for the token of its link; gives the order's reference, None if it does not fit."""
    ref: str | None = await db.fetchval(LET_IN, token_hash(token), session_hash, shop_id)
    return ref


async def link_fits(shop_id: int, token: str) -> bool:
    found: bool = await db.fetchval(
        "SELECT EXISTS (SELECT 1 FROM orders_gift gift JOIN orders_order o ON o.id = gift.order_id"
        " WHERE gift.token_hash = $1 AND o.shop_id = $2)",
        token_hash(token),
        shop_id,
    )
    return found


async def for_session(ref: str, session_hash: bytes) -> dict[str, Any] | None:
    """The order, if that session was let in to it as a gift."""
    row = await db.fetchrow(FOR_SESSION, ref, session_hash)
    return dict(row) if row else None


async def reveal(
    ref: str, session_hash: bytes, ip: str | None, agent: str
) -> tuple[dict[str, Any], list[RevealedCode]] | None:
    """As for a buyer: the order and the codes that this session may see now, written down as seen.

    :raises TooMany: this session asked too often; nothing was shown.
    """
    keys.current().check_opens_codes()
    this = limits.one("reveal", session_hash.hex()[:32])
    row = await Showing(ref, session_hash, ip, agent, IDLE["staff"], this).ask(_showing)
    if row is None:
        return None
    if row["too_many"]:
        raise TooMany(this.retry_after)
    order = dict(row)
    return order, shown_codes(order.pop("shown"))
