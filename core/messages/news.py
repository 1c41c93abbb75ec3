"""Mails that plugins have sent: to the buyer of an order, and to staff who may do something about it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from core.hooks.database import PluginTx
from core.messages.events import MAIL, ORDER_NEWS, STAFF_NEWS
from core.messages.service import SEND, state_now
from core.people import rights
from core.web.i18n import Text, known, speaking

LONGEST_TITLE = 120
LONGEST_TEXT = 5000

QUEUE = """
WITH message AS (
    INSERT INTO messages_message (shop_id, order_id, event, channel, recipient, locale, key, state, data)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT (key) DO NOTHING RETURNING id
)
INSERT INTO jobs_job (name, args) SELECT $10, jsonb_build_object('message', id) FROM message WHERE $8 = 'queued'
RETURNING id
"""

STAFF = """
SELECT staff.id, staff.email, staff.role, coalesce(staff.locale, shop.locale) AS locale, shop.id AS shop_id
FROM people_staff staff JOIN shops_shop shop ON shop.id = staff.shop_id
WHERE shop.code = $1 AND staff.disabled_at IS NULL AND ($2::bigint[] IS NULL OR staff.id = ANY($2)) ORDER BY staff.id
"""


async def mail_buyer(tx: PluginTx, ref: str, *, key: str, title: Text | str, text: Text | str, path: str = "") -> bool:
    """Mail the buyer of an order in the transaction that makes the news, in the language of the order.

    The mail is the shop's own text "News about an order", which the merchant may change; ``title`` and ``text`` stand
    in it as they are, so write no codes into them. Its link lets its reader in and leads to ``path``, a page of this
    shop, or to the order. Of mails with the same ``key`` (this plugin's own) only the first is sent. A title is cut at
    120 signs, a text at 5000. False: there is nobody to mail, the buyer left a phone number.
    """
    order = await tx.fetchrow("SELECT id, shop_id, contact, contact_kind, locale FROM orders_order WHERE ref = $1", ref)
    if order is None or order["contact_kind"] != "email":
        return False
    to = (order["shop_id"], order["id"], order["contact"], order["locale"])
    await _queue(tx, ORDER_NEWS.key, to, key, title, text, path)
    return True


async def mail_staff(
    tx: PluginTx,
    shop: str,
    act: str,
    *,
    key: str,
    title: Text | str,
    text: Text | str,
    path: str,
    only: Sequence[int] | None = None,
) -> int:
    """Mail the staff of a shop (its code) who may do ``act``, each in their language; gives how many.

    ``path`` is the console page that the mail leads to, ``only`` are the ids of those to tell. For the rest see
    :func:`mail_buyer`.
    """
    people = await tx.fetch(STAFF, shop, list(only) if only is not None else None)
    told = [one for one in people if rights.may(one["role"], act)]
    for one in told:
        to = (one["shop_id"], None, one["email"], one["locale"])
        await _queue(tx, STAFF_NEWS.key, to, f"{key}:{one['id']}", title, text, path)
    return len(told)


async def _queue(
    tx: PluginTx, event: str, to: tuple[Any, Any, str, str], key: str, title: Text | str, text: Text | str, path: str
) -> None:
    shop_id, order_id, recipient, locale = to
    with speaking(known(locale) or "en"):
        data = {
            "title": " ".join(str(title).split())[:LONGEST_TITLE],
            "text": str(text)[:LONGEST_TEXT],
            "path": path,
        }
    unique = f"{event}:{tx._plugin}:{key}"
    rows = await tx.fetch(QUEUE, shop_id, order_id, event, MAIL, recipient, locale, unique, state_now(MAIL), data, SEND)
    tx.enqueued.extend(row["id"] for row in rows)
