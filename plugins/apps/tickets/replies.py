"""Canned replies: texts with a few names in braces, which are filled in for the ticket at hand."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from core.api import PluginDb, PluginTx, Refused, _

NAME = re.compile(r"\{([^{}\n]{0,40})\}")
LONGEST = 4000

NAMES = {
    "order": _("Order number"),
    "product": _("The product"),
    "code": _("The code they mean, masked"),
    "total": _("What was to be paid"),
    "shop": _("The shop's name"),
    "me": _("Your name"),
}
USUAL = (
    (
        _("New code"),
        _("We are sorry: the code {code} of {product} does not work. A new one is on your order now."),
    ),
    (
        _("Which message?"),
        _("Which message does the other site show, and in which country is your account? A picture of it helps most."),
    ),
    (
        _("How to redeem"),
        _("Please copy the code with the button on your order, and enter it where the note below the code says."),
    ),
    (
        _("Payment not here yet"),
        _("We see no payment for order {order} yet. If {total} left your account, send us the number of the payment."),
    ),
)


async def listed(db: PluginDb, shop: str) -> list[Mapping[str, Any]]:
    return await db.fetch("SELECT * FROM apps_tickets_reply WHERE shop = $1 ORDER BY title", shop)


async def one(db: PluginDb, shop: str, reply_id: int) -> Mapping[str, Any] | None:
    return await db.fetchrow("SELECT * FROM apps_tickets_reply WHERE id = $1 AND shop = $2", reply_id, shop)


async def save(tx: PluginTx, shop: str, reply_id: int | None, title: str, text: str) -> int:
    """:raises Refused: a name that nobody knows, or another one has this title."""
    check(text)
    taken = await tx.fetchval(
        "SELECT 1 FROM apps_tickets_reply WHERE shop = $1 AND title = $2 AND id <> coalesce($3, 0)",
        shop,
        title,
        reply_id,
    )
    if taken:
        raise Refused(_("Another reply has this title."), "title")
    if reply_id is None:
        added = await tx.fetchval(
            "INSERT INTO apps_tickets_reply (shop, title, text) VALUES ($1, $2, $3)"
            " ON CONFLICT (shop, title) DO NOTHING RETURNING id",
            shop,
            title,
            text,
        )
        if added is None:
            raise Refused(_("Another reply has this title."), "title")
        return int(added)
    await tx.execute("UPDATE apps_tickets_reply SET title = $2, text = $3 WHERE id = $1", reply_id, title, text)
    return reply_id


async def remove(tx: PluginTx, reply_id: int) -> None:
    await tx.execute("DELETE FROM apps_tickets_reply WHERE id = $1", reply_id)


async def add_usual(tx: PluginTx, shop: str) -> None:
    """Some to begin with, in the language of whoever asks."""
    await tx.executemany(
        "INSERT INTO apps_tickets_reply (shop, title, text) VALUES ($1, $2, $3) ON CONFLICT (shop, title) DO NOTHING",
        [(shop, str(title), str(text)) for title, text in USUAL],
    )


def check(text: str) -> None:
    """:raises Refused: naming the first name in braces that nobody knows."""
    for name in NAME.findall(text):
        if name not in NAMES:
            raise Refused(_("Nobody knows {%(name)s}.", name=name), "text")


def filled(text: str, values: Mapping[str, str]) -> str:
    return NAME.sub(lambda match: values.get(match[1], match[0]), text)
