"""Asks the guards of all plugins about an order before anything of it is stored."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from core import db
from core.catalog.service import words
from core.checkout.place import Buyer
from core.hooks import runtime
from core.hooks.views import LineToCheck, OrderToCheck
from core.pricing.quote import Quote


@dataclass(frozen=True, slots=True)
class History:
    shop_id: int
    contact: str
    ip: str

    async def by_contact(self, since: datetime) -> int:
        return await db.fetchval(
            "SELECT count(*) FROM orders_order WHERE shop_id = $1 AND contact = $2 AND created_at >= $3",
            self.shop_id,
            self.contact,
            since,
        )

    async def by_address(self, since: datetime) -> int:
        if not self.ip:
            return 0
        return await db.fetchval(
            "SELECT count(*) FROM orders_order WHERE shop_id = $1 AND ip = $2 AND created_at >= $3",
            self.shop_id,
            self.ip,
            since,
        )


async def check(shop_id: int, quote: Quote, buyer: Buyer, answers: Mapping[str, str]) -> None:
    """:raises Refusal: a plugin says no, with the text for the buyer."""
    lines = tuple(
        LineToCheck(
            line.sku.code, words(line.sku.product_title, buyer.locale), line.quantity, line.unit_price, line.total
        )
        for line in quote.lines
    )
    await runtime.current().ask(
        "check_order",
        order=OrderToCheck(
            contact=buyer.contact,
            contact_kind=buyer.contact_kind,
            ip=buyer.ip,
            agent=buyer.agent,
            locale=buyer.locale,
            total=quote.total,
            lines=lines,
            answers=dict(answers),
            history=History(shop_id, buyer.contact, buyer.ip),
        ),
    )
