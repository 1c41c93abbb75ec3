"""One shop for the machine to act on: its services, the gateway's own log, and what each client was shown."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from core import clock, db
from core.checkout import acts
from core.checkout.place import Placed, SoldOut, TooManyOpen
from core.checkout.settle import Outcome, Settled, settle
from core.fulfilment import replacement
from core.hooks import runtime
from core.ids import token_hash
from core.money import Money
from core.orders import service as orders
from core.payments import money, queue, refunds
from core.payments.method import Claim, ClaimState
from core.payments.refunds import Who, Wish
from core.refused import Refused
from core.shops import service as shops
from core.vault import burn, keys, quarantine
from tests import stocked
from tests.machine import checks
from tests.stocked import Sku

PRICE = 1990
BURN_HOURS = 2
ITEMS = "SELECT item.id, o.ref FROM review_item item JOIN orders_order o ON o.id = item.order_id"


@dataclass
class Order:
    placed: Placed
    sku: Sku
    quantity: int
    key: str
    buyer: Any
    session: str
    seen: set[str] = field(default_factory=set)

    @property
    def total(self) -> int:
        return self.quantity * PRICE


class World:
    """One example's: two SKUs of its own (the second sold as copy-and-burn) and everything that happened to them."""

    def __init__(self, staff: Who, skus: list[Sku], base: tuple[int, int, int]) -> None:
        self.staff, self.skus, self.base = staff, skus, base
        self.imported = {sku.id: len(sku.codes) for sku in skus}
        self.codes = {code for sku in skus for code in sku.codes}
        self.orders: list[Order] = []
        self.told: dict[str, Claim] = {}
        self.owner: dict[str, str] = {}
        self.posted: tuple[int, str | None] = (base[1], None)

    # -- stock and orders ---------------------------------------------------------------

    async def bring_in(self, which: int, count: int) -> None:
        sku = self.skus[which]
        codes = [f"CODE-{secrets.token_hex(8)}" for _ in range(count)]
        await stocked.stock_up(sku.id, codes)
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

    async def _place(self, sku: Sku, quantity: int, contact: str | None = None) -> Order:
        session, key = secrets.token_hex(16), secrets.token_hex(8)
        buyer = stocked.buyer(contact, session)
        placed = await stocked.order(sku, quantity, buyer, key)
        order = Order(placed, sku, quantity, key, buyer, session)
        self.orders.append(order)
        return order

    async def place_again(self, order: Order) -> None:
        again = await stocked.order(order.sku, order.quantity, order.buyer, order.key)
        assert (again.ref, again.is_new) == (order.placed.ref, False)

    async def crowd(self, which: int, buyers: int) -> None:
        """As many as come at once for single codes: exactly as many are served as there are codes."""
        sku = self.skus[which]
        free = await self.free(sku)
        answers = await asyncio.gather(*(self._place(sku, 1) for _ in range(buyers)), return_exceptions=True)
        served = sum(isinstance(answer, Order) for answer in answers)
        assert served == min(free, buyers), answers
        assert all(isinstance(answer, Order | SoldOut) for answer in answers), answers

    async def greedy(self, which: int) -> None:
        """One buyer with many windows open, and enough codes for all of them."""
        await self.bring_in(which, 5)
        contact = f"{secrets.token_hex(6)}@example.com"
        sku = self.skus[which]
        answers = await asyncio.gather(*(self._place(sku, 1, contact) for _ in range(6)), return_exceptions=True)
        assert all(isinstance(answer, Order | SoldOut | TooManyOpen) for answer in answers), answers

    # -- money --------------------------------------------------------------------------

    def claim(self, order: Order, amount: int, currency: str = "CNY") -> Claim:
        ref, key = order.placed.attempt_ref, f"trade-{secrets.token_hex(8)}"
        return Claim(ref, ClaimState.PAID, Money(amount, currency), f"G-{key}", key)

    async def pay(self, order: Order, amount: int, currency: str, times: int) -> None:
        """The gateway took money and tells of it, as often as it likes and all at once."""
        claim = self.claim(order, amount, currency)
        self.told[claim.event_key] = claim
        answers = await asyncio.gather(*(settle("epay", claim, "callback") for _ in range(times)))
        assert sum(answer.outcome is not Outcome.REPEAT for answer in answers) == 1, answers

    async def tell_again(self, claim: Claim, amount: int) -> None:
        """The same trade once more, as it was or with another sum written into it."""
        changed = Claim(
            claim.attempt_ref, claim.state, Money(amount, claim.amount.currency), claim.gateway_ref, claim.event_key
        )
        await self.changes_nothing(lambda: settle("epay", changed, "callback"), Outcome.REPEAT)

    async def stranger(self) -> None:
        claim = Claim("V0000000000000-1", ClaimState.PAID, Money(PRICE, "CNY"), "G", secrets.token_hex(8))
        alarms = await db.fetchval("SELECT count(*) FROM audit_alarm")
        await self.changes_nothing(lambda: settle("epay", claim, "callback"), Outcome.UNKNOWN_ATTEMPT)
        assert await db.fetchval("SELECT count(*) FROM audit_alarm") == alarms + 1

    async def changes_nothing(self, act: Callable[[], Awaitable[Settled]], outcome: Outcome) -> None:
        before = await self.picture()
        assert (await act()).outcome is outcome
        assert await self.picture() == before

    async def picture(self) -> list[Any]:
        _skus, order, entry, _balance = self._scope()
        return list(
            await db.fetchrow(
                """
                SELECT (SELECT md5(string_agg(o::text, '|' ORDER BY id)) FROM orders_order o WHERE id > $2),
                       (SELECT count(*) FROM ledger_entry WHERE id > $3),
                       (SELECT count(*) FROM payments_event WHERE order_id > $2),
                       (SELECT md5(string_agg(state || coalesce(line_id, 0), '|' ORDER BY id)) FROM vault_code
                        WHERE sku_id = ANY($1))
                """,
                self._scope()[0],
                order,
                entry,
            )
            or ()
        )

    async def note(self, order: Order, state: ClaimState) -> None:
        key = secrets.token_hex(8)
        await settle("epay", Claim(order.placed.attempt_ref, state, Money(order.total, "CNY"), "G", key), "callback")

    async def charge_back(self, order: Order) -> None:
        came = [claim for claim in self.told.values() if claim.attempt_ref == order.placed.attempt_ref]
        if came:
            key = f"back-{came[0].event_key}"
            claim = Claim(order.placed.attempt_ref, ClaimState.CHARGED_BACK, came[0].amount, "G", key)
            await asyncio.gather(*(settle("epay", claim, "callback") for _ in range(2)))

    # -- the end of an order ------------------------------------------------------------

    async def expire(self, order: Order) -> None:
        """Its time is over while it may be paid or cancelled at the same moment."""
        past = clock.now() - timedelta(minutes=1)
        await db.execute("UPDATE orders_order SET expires_at = $2 WHERE id = $1", order.placed.order_id, past)
        await orders.expire_due()

    async def all_at_once(self, order: Order) -> None:
        """Paid, cancelled and expired in the same moment."""
        past = clock.now() - timedelta(minutes=1)
        await db.execute("UPDATE orders_order SET expires_at = $2 WHERE id = $1", order.placed.order_id, past)
        await asyncio.gather(
            self.pay(order, order.total, "CNY", 2), self.cancel(order), orders.expire_due(), return_exceptions=False
        )

    async def cancel(self, order: Order) -> None:
        try:
            await orders.cancel(order.placed.order_id, "buyer")
        except Refused:
            assert (await stocked.states(order.placed))[0] != "unpaid"

    # -- codes --------------------------------------------------------------------------

    async def reveal(self, order: Order, *, by_owner: bool) -> None:
        session = token_hash(order.session if by_owner else secrets.token_hex(16))
        shown = await orders.reveal(order.placed.ref, session, None, "test", BURN_HOURS if self._burns(order) else 0)
        if not by_owner:
            assert shown is None
            return
        assert shown is not None
        for code in shown[1]:
            assert code.text in self.codes
            assert self.owner.setdefault(code.text, order.placed.ref) == order.placed.ref, "one code for two orders"
            order.seen.add(code.text)

    def _burns(self, order: Order) -> bool:
        return order.sku is self.skus[1]

    async def burn(self, order: Order) -> None:
        try:
            await burn.burn_shown(order.placed.ref, token_hash(order.session))
        except Refused:
            return
        await self._sees_nothing(order)

    async def burn_due(self) -> None:
        later = clock.now() + timedelta(hours=BURN_HOURS + 1)
        await db.transaction(burn.burn_due, later)
        for order in self.orders:
            if self._burns(order) and order.seen:
                await self._sees_nothing(order)

    async def _sees_nothing(self, order: Order) -> None:
        shown = await orders.reveal(order.placed.ref, token_hash(order.session), None, "test", BURN_HOURS)
        assert shown is not None
        assert not {code.text for code in shown[1]} & order.seen, "an erased code was shown"

    async def replace(self, order: Order) -> None:
        code = await db.fetchval(
            "SELECT code.id FROM vault_code code JOIN orders_line line ON line.id = code.line_id"
            " WHERE line.order_id = $1 AND code.state = 'delivered' ORDER BY code.replaced_by NULLS FIRST, code.id",
            order.placed.order_id,
        )
        if code is not None:
            await self.staff_act(
                lambda: replacement.give_another(1, order.placed.ref, code, "bad", self.staff.staff_id), exactly=None
            )

    async def set_aside(self, order: Order, end: str) -> None:
        """A free code of that SKU becomes suspect; then it is found good, or bad, or stays so."""
        rows = await db.fetch("SELECT id, batch_id FROM vault_code WHERE sku_id = $1 ORDER BY id", order.sku.id)
        staff_id = self.staff.staff_id
        await db.transaction(quarantine.hold_batch, 1, rows[0]["batch_id"], "suspect", staff_id)
        ids = [row["id"] for row in rows]
        if end == "good":
            await db.transaction(quarantine.put_back, 1, ids, staff_id)
        if end == "bad":
            await db.transaction(quarantine.write_off, 1, ids, staff_id)

    # -- staff --------------------------------------------------------------------------

    async def staff_act(self, act: Callable[[], Awaitable[Any]], exactly: int | None = 1) -> None:
        """A person's act leaves its entry in the audit log; one that is refused leaves none."""
        before = await self._audited()
        try:
            await act()
        except Refused:
            assert await self._audited() == before
            return
        written = await self._audited() - before
        assert written == exactly if exactly is not None else written >= 0

    async def _audited(self) -> int:
        return int(await db.fetchval("SELECT count(*) FROM audit_entry"))

    async def confirm(self, order: Order) -> None:
        await self.staff_act(lambda: acts.confirm_paid(1, order.placed.ref, self.staff.staff_id, "seen", None))

    async def cancel_by_staff(self, order: Order) -> None:
        await self.staff_act(lambda: acts.cancel(1, order.placed.ref, self.staff.staff_id, None))

    async def deliver(self, order: Order) -> None:
        await self.staff_act(lambda: acts.deliver_anyway(1, order.placed.ref, self.staff.staff_id, None))

    async def refund(self, order: Order, part: float, way: str, take_codes: bool, times: int) -> None:
        """Give back some of the newest payment, from several windows at once."""

        async def one(tx: db.Tx) -> list[int]:
            row = await refunds.locked(tx, 1, order.placed.ref)
            payments = await money.payments_of(row["id"], tx)
            parts = [(one, max(1, int(one.amount.amount * part))) for one in payments[-1:]]
            return await refunds.ask(tx, row, parts, Wish(way, take_codes), self.staff)

        for answer in await asyncio.gather(*(db.transaction(one) for _ in range(times)), return_exceptions=True):
            assert isinstance(answer, list | Refused), answer

    async def decide(self, number: int, how: str, way: str) -> None:
        """Empty one row of the queue."""
        items = await db.fetch(f"{ITEMS} WHERE o.id > $1 AND item.state = 'open' ORDER BY item.id", self.base[0])
        if not items:
            return
        item, ref = items[number % len(items)].values()
        acts_ = {
            "deliver": lambda: acts.deliver_anyway(1, ref, self.staff.staff_id, None),
            "give back": lambda: db.transaction(queue.give_back, 1, item, Wish(way), self.staff),
            "keep": lambda: db.transaction(queue.keep, 1, item, "settled", self.staff),
            "seen": lambda: db.transaction(queue.seen, 1, item, "seen", self.staff),
        }
        await self.staff_act(acts_[how], exactly=None)

    # -- what must hold -----------------------------------------------------------------

    def _scope(self) -> tuple[list[int], int, int, int]:
        return [sku.id for sku in self.skus], *self.base

    async def check(self) -> None:
        row = await db.fetchrow(checks.ALL_CHECKS, *self._scope())
        assert row is not None
        broken = {checks.NAMES[number]: found for number, found in enumerate(row.values()) if found}
        assert not broken, broken
        await self._check_stock()
        await self._check_posted()
        await self._check_told()

    async def _check_stock(self) -> None:
        total = dict.fromkeys(self.imported, 0)
        for row in await db.fetch(checks.STOCK, list(self.imported)):
            assert row["state"] in ("free", "reserved", "delivered", "void", "quarantined")
            total[row["sku_id"]] += row["codes"]
        assert total == self.imported

    async def _check_posted(self) -> None:
        """The rows that stood there after the step before stand there unchanged."""
        upto, was = self.posted
        if was is not None:
            assert await db.fetchval(checks.POSTED, self.base[1], upto) == was, "a posted row changed"
        newest = await db.fetchval("SELECT coalesce(max(id), 0) FROM ledger_entry")
        self.posted = newest, await db.fetchval(checks.POSTED, self.base[1], newest)

    async def _check_told(self) -> None:
        """Every payment in the gateway's own log stands in ours once, with its sum; and no other does."""
        rows = {row["event_key"]: row["rows"] for row in await db.fetch(checks.TOLD, self.base[0])}
        assert rows.keys() == self.told.keys()
        for key, claim in self.told.items():
            (found,) = rows[key]
            assert found.partition(":")[2] == f"{claim.amount.amount}:{claim.amount.currency}", found

    async def check_at_rest(self) -> None:
        """Nothing goes on any more: every order has ended, or a person is asked about it."""
        past = clock.now() - timedelta(minutes=1)
        await db.execute("UPDATE orders_order SET expires_at = $2 WHERE id > $1", self.base[0], past)
        await orders.expire_due()
        await self.check()
        assert (
            await db.fetchval(
                "SELECT count(*) FROM vault_code WHERE sku_id = ANY($1) AND state = 'reserved'", list(self.imported)
            )
            == 0
        )
        for order in self.orders:
            await self.reveal(order, by_owner=True)


async def new_world() -> World:
    staff = Who(await stocked.staff_member())
    skus = [await stocked.sku(4), await stocked.sku(3)]
    base = await db.fetchrow(
        "SELECT (SELECT coalesce(max(id), 0) FROM orders_order), (SELECT coalesce(max(id), 0) FROM ledger_entry),"
        " (SELECT coalesce(max(id), 0) FROM ledger_balance)"
    )
    assert base is not None
    return World(staff, skus, tuple(base))


async def open_shop(database: str) -> runtime.Runtime:
    keys.use(keys.MasterKey(bytes(range(32))))
    shops.forget()
    await db.open_pool(database, size=12)
    plugins = runtime.Runtime(safe_mode=True)
    runtime.use(plugins)
    await plugins.start()
    return plugins


async def close_shop(plugins: runtime.Runtime) -> None:
    await plugins.close()
    await db.close_pool()
