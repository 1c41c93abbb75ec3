"""What staff decide about orders and money, also where it is not theirs to decide."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from core import db
from core.audit.person import Person
from core.checkout import acts, held
from core.fulfilment import replacement
from core.payments import money, queue, refunds
from core.payments.refunds import Wish
from core.refused import Refused
from core.vault import quarantine
from tests.machine.base import Order
from tests.machine.goods import Goods

ITEMS = "SELECT item.id, o.ref, o.shop_id FROM review_item item JOIN orders_order o ON o.id = item.order_id"
Act = Callable[[], Awaitable[Any]]


class Staff(Goods):
    async def confirm(self, order: Order) -> None:
        who = self.staff[order.shop_id]
        await self.staff_act(lambda: acts.confirm_paid(order.shop_id, order.placed.ref, who.staff_id, "seen", None))

    async def cancel_by_staff(self, order: Order) -> None:
        who = self.staff[order.shop_id]
        await self.staff_act(lambda: acts.cancel(order.shop_id, order.placed.ref, who.staff_id, None))

    async def deliver(self, order: Order) -> None:
        who = self.staff[order.shop_id]
        await self.staff_act(lambda: acts.deliver_anyway(order.shop_id, order.placed.ref, who.staff_id, None))

    async def refund(self, order: Order, part: float, way: str, take_codes: bool, times: int) -> None:
        """Give back some of the newest payment, from several windows at once."""
        wish, who = Wish(way, take_codes), self.staff[order.shop_id]
        windows = (db.transaction(_ask, order.shop_id, order.placed.ref, part, wish, who) for _ in range(times))
        for answer in await asyncio.gather(*windows, return_exceptions=True):
            assert isinstance(answer, list | Refused), answer

    async def decide(self, number: int, how: str, way: str) -> None:
        """Empty one row of the queue."""
        items = await db.fetch(f"{ITEMS} WHERE o.id > $1 AND item.state = 'open' ORDER BY item.id", self.scope.order)
        if items:
            item, ref, shop_id = items[number % len(items)].values()
            await self.staff_act(_decisions(shop_id, item, ref, way, self.staff[shop_id])[how], exactly=None)

    async def decide_held(self, order: Order, clicks: tuple[str, ...], way: str) -> None:
        """Let go or refused, by several people at once: one of them decides."""
        row = await db.fetchrow("SELECT * FROM orders_order WHERE id = $1", order.placed.order_id)
        waited, before = held.waits(row), await self.audited()
        who, shop_id, ref = self.staff[order.shop_id], order.shop_id, order.placed.ref
        answers = await asyncio.gather(
            *(
                held.approve(shop_id, ref, "fine", who)
                if click == "approve"
                else held.refuse(shop_id, ref, way, "no", who)
                for click in clicks
            ),
            return_exceptions=True,
        )
        done = [answer for answer in answers if not isinstance(answer, Refused)]
        assert all(isinstance(answer, list) for answer in done), answers
        assert len(done) == int(waited), answers
        assert waited or await self.audited() == before

    # -- another shop's -----------------------------------------------------------------

    async def trespass(self, order: Order) -> None:
        """Staff of the other shop try everything on this order, and nothing changes."""
        shop_id = 3 - order.shop_id
        who, ref, code = self.staff[shop_id], order.placed.ref, await self.delivered(order)
        batch = await db.fetchval("SELECT min(batch_id) FROM vault_code WHERE sku_id = $1", order.sku.id)
        item = await db.fetchval("SELECT max(id) FROM review_item WHERE order_id = $1", order.placed.order_id)
        tries: list[Act] = [
            lambda: acts.confirm_paid(shop_id, ref, who.staff_id, "seen", None),
            lambda: acts.cancel(shop_id, ref, who.staff_id, None),
            lambda: db.transaction(_ask, shop_id, ref, 1.0, Wish("hand"), who),
            lambda: held.approve(shop_id, ref, "", who),
            lambda: held.refuse(shop_id, ref, "hand", "no", who),
            lambda: replacement.give_another(shop_id, ref, code or 0, "bad", who.staff_id),
            lambda: db.transaction(quarantine.hold_batch, shop_id, batch, "suspect", who.staff_id),
            *_decisions(shop_id, item or 0, ref, "hand", who).values(),
        ]
        before = await self.audited()

        async def all_of_them() -> None:
            for act in tries:
                try:
                    await act()
                except Refused:
                    continue
                raise AssertionError("staff of one shop acted on the other")

        await self.changes_nothing(all_of_them)
        assert await self.audited() == before


async def _ask(tx: db.Tx, shop_id: int, ref: str, part: float, wish: Wish, who: Person) -> list[int]:
    row = await refunds.locked(tx, shop_id, ref)
    payments = await money.payments_of(row["id"], tx)
    parts = [(one, max(1, int(one.amount.amount * part))) for one in payments[-1:]]
    return await refunds.ask(tx, row, parts, wish, who)


def _decisions(shop_id: int, item: int, ref: str, way: str, who: Person) -> dict[str, Act]:
    return {
        "deliver": lambda: acts.deliver_anyway(shop_id, ref, who.staff_id, None),
        "give back": lambda: db.transaction(queue.give_back, shop_id, item, Wish(way), who),
        "keep": lambda: db.transaction(queue.keep, shop_id, item, "settled", who),
        "seen": lambda: db.transaction(queue.seen, shop_id, item, "seen", who),
    }
