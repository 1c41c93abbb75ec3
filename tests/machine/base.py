"""The shop the machine acts on: its goods, its orders, what each client was shown, and what must hold."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import Any

import asyncpg

from core import clock, db
from core.audit.person import Person
from core.checkout.place import Buyer, Placed, SoldOut, place
from core.orders import service as orders
from core.payments.method import Claim
from core.pricing.quote import Discount, Item, quote
from core.refused import Refused
from core.review.assess import NOTHING_FOUND, Verdict
from core.shops import service as shops
from tests import stocked
from tests.machine import checks
from tests.stocked import Sku

PRICE = 1990


@dataclass
class Order:
    placed: Placed
    sku: Sku
    quantity: int
    total: int
    key: str
    buyer: Buyer
    session: str
    held: bool
    seen: set[str] = field(default_factory=set)

    @property
    def shop_id(self) -> int:
        return self.sku.shop_id


@dataclass(frozen=True)
class Scope:
    """Where one example begins in tables that hold those before it too."""

    order: int
    entry: int
    balance: int


class Base:
    """``skus`` are one sold plainly, one as copy-and-burn, and one of the other shop; own codes are kept apart."""

    def __init__(self, staff: dict[int, Person], skus: list[Sku], scope: Scope, eye: asyncpg.Connection) -> None:
        self.staff, self.skus, self.scope, self.eye = staff, skus, scope, eye
        self.imported = {sku.id: len(sku.codes) for sku in skus}
        self.codes = {code for sku in skus for code in sku.codes}
        self.orders: list[Order] = []
        self.told: dict[str, Claim] = {}
        self.owner: dict[str, str] = {}
        self.put: dict[tuple[int, str], int] = {}
        self.posted: tuple[int, str | None] = (scope.entry, None)

    # -- stock and orders ---------------------------------------------------------------

    async def bring_in(self, which: int, count: int) -> None:
        sku = self.skus[which]
        codes = [f"CODE-{secrets.token_hex(8)}" for _ in range(count)]
        await stocked.stock_up(sku.id, codes, sku.shop_id)
        self.imported[sku.id] += count
        self.codes |= set(codes)

    async def free(self, sku: Sku) -> int:
        return (await stocked.codes_by_state(sku)).get("free", 0)

    async def place(self, which: int, quantity: int) -> None:
        sku = self.skus[which]
        free = await self.free(sku)
        try:
            await self._place(sku, quantity)
            assert quantity <= free
        except SoldOut:
            assert quantity > free

    async def _place(
        self,
        sku: Sku,
        quantity: int,
        contact: str | None = None,
        discount: Discount | None = None,
        verdict: Verdict = NOTHING_FOUND,
    ) -> Order:
        session, key = secrets.token_hex(16), secrets.token_hex(8)
        buyer = stocked.buyer(contact, session)
        shop = await shops.by_id(sku.shop_id)
        asked = await quote(shop.id, [Item(sku.code, quantity)])
        if discount:
            asked = replace(asked, total=asked.total + discount.amount, discounts=(discount,))
        placed = await place(shop, asked, {}, buyer, stocked.chosen(), key, verdict)
        order = Order(placed, sku, quantity, asked.total.amount, key, buyer, session, verdict.held)
        self.orders.append(order)
        return order

    async def place_again(self, order: Order) -> None:
        """The same form sent once more, whatever its price would be by now."""
        shop = await shops.by_id(order.shop_id)
        asked = await quote(shop.id, [Item(order.sku.code, order.quantity)])
        again = await place(shop, asked, {}, order.buyer, stocked.chosen(), order.key)
        assert (again.ref, again.is_new) == (order.placed.ref, False)

    async def crowd(self, which: int, buyers: int) -> None:
        """As many as come at once for single codes: exactly as many are served as there are codes."""
        sku = self.skus[which]
        free = await self.free(sku)
        answers = await asyncio.gather(*(self._place(sku, 1) for _ in range(buyers)), return_exceptions=True)
        served = sum(isinstance(answer, Order) for answer in answers)
        assert served == min(free, buyers), answers
        assert all(isinstance(answer, Order | SoldOut) for answer in answers), answers

    # -- acts that may be refused --------------------------------------------------------

    async def staff_act(self, act: Callable[[], Awaitable[Any]], exactly: int | None = 1) -> None:
        """A person's act leaves its entry in the audit log; one that is refused leaves none."""
        before = await self.audited()
        try:
            await act()
        except Refused:
            assert await self.audited() == before
            return
        written = await self.audited() - before
        assert written == exactly if exactly is not None else written >= 0

    async def audited(self) -> int:
        return int(await self.eye.fetchval("SELECT coalesce(max(id), 0) FROM audit_entry"))

    async def picture(self) -> list[Any]:
        row = await self.eye.fetchrow(checks.PICTURE, *self._scope())
        return list(row or ())

    async def changes_nothing(self, act: Callable[[], Awaitable[Any]]) -> Any:
        """The answer of an act, or its refusal."""
        before = await self.picture()
        try:
            answer = await act()
        except Refused as refused:
            answer = refused
        assert await self.picture() == before
        return answer

    # -- what must hold -----------------------------------------------------------------

    def _scope(self) -> tuple[list[int], int, int, int]:
        return list(self.imported), self.scope.order, self.scope.entry, self.scope.balance

    async def check(self) -> None:
        row = await self.eye.fetchrow(checks.ALL_CHECKS, *self._scope(), self.posted[0])
        assert row is not None
        found = dict(row)
        broken = {checks.NAMES[number]: found[str(number)] for number in range(len(checks.NAMES)) if found[str(number)]}
        assert not broken, broken
        self._check_stock(found["stock"] or {})
        self._check_posted(found)
        self._check_told(found["told"] or {})
        self._check_put(found["put"] or {})

    def _check_stock(self, stock: dict[str, dict[str, int]]) -> None:
        states = {state for codes in stock.values() for state in codes}
        assert states <= {"free", "reserved", "delivered", "void", "quarantined"}
        total = {sku_id: sum(stock.get(str(sku_id), {}).values()) for sku_id in self.imported}
        assert total == self.imported

    def _check_posted(self, found: dict[str, Any]) -> None:
        """The rows that stood there after the step before stand there unchanged."""
        if self.posted[1] is not None:
            assert found["posted_before"] == self.posted[1], "a posted row changed"
        self.posted = found["newest"] or self.scope.entry, found["posted"]

    def _check_told(self, rows: dict[str, list[str]]) -> None:
        """Every payment in the gateway's own log stands in ours once, with its sum; and no other does."""
        assert rows.keys() == self.told.keys()
        for key, claim in self.told.items():
            (found,) = rows[key]
            assert found.partition(":")[2] == f"{claim.amount.amount}:{claim.amount.currency}", found

    def _check_put(self, rows: dict[str, int]) -> None:
        """What staff put into each balance, less what they took out, as they remember it themselves."""
        put = {f"{shop_id} {contact}": amount for (shop_id, contact), amount in self.put.items() if amount}
        assert {contact: amount for contact, amount in rows.items() if amount} == put, "a click moved money twice"

    async def check_at_rest(self) -> None:
        """Nothing goes on any more: every order has ended, or a person is asked about it."""
        await db.execute(
            "UPDATE orders_order SET expires_at = $2 WHERE id > $1", self.scope.order, clock.now() - checks.MOMENT
        )
        await orders.expire_due()
        await self.check()
        assert await self.eye.fetchval(checks.RESERVED, list(self.imported)) == 0
