"""A shop whose goods come from the warehouse next door."""

import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from core import clock, db
from core.audit.person import Person
from core.catalog import service as catalog
from core.checkout.place import Placed
from core.checkout.settle import Settled, settle
from core.fulfilment import buying
from core.hooks import runtime
from core.hooks.runtime import Runtime
from core.supply import purchases, skus, sync
from core.supply.price_rule import PriceRule
from core.supply.skus import Draft
from core.vault import keys
from tests import stocked
from tests.stocked import Sku
from tests.supply.warehouse import Warehouse

STANDS = Path(__file__).parent / "stands"


@pytest.fixture(scope="module", autouse=True)
def unlocked() -> Iterator[None]:
    keys.use(keys.MasterKey(bytes(range(32))))
    sys.path.insert(0, str(STANDS.parent))
    yield
    sys.path.remove(str(STANDS.parent))


async def plugins_at(address: str, second: str = "", **more: str) -> Runtime:
    await db.execute(
        "INSERT INTO hooks_plugin (id, enabled) VALUES ('suppliers.warehouse', true) ON CONFLICT DO NOTHING"
    )
    environ = {"VOUCHSAFE_SUPPLIERS_WAREHOUSE_ADDRESS": address, **more}
    if second:
        environ["VOUCHSAFE_SUPPLIERS_WAREHOUSE_SECOND"] = second
    started = Runtime(folder=STANDS, package="stands", allowed_hosts=["127.0.0.0/8"], environ=environ)
    await started.start()
    assert "warehouse" in started.suppliers, [(one.id, one.state, one.reason) for one in started.plugins]
    return started


@dataclass
class World:
    warehouse: Warehouse
    second: Warehouse
    later: timedelta = timedelta()
    orders: list[Placed] = field(default_factory=list)

    # -- the shop -----------------------------------------------------------------------

    async def sku(self, *items: str, supplier: str = "warehouse", price: int = 1990, **draft: object) -> Sku:
        """A SKU bought by these offers of the warehouse, which are looked at first."""
        made = await stocked.sku(0, price=price)
        await self.sync()
        editor = Person(1, await stocked.staff_member())
        for item in items:
            key, _slash, number = item.rpartition("/")
            await db.transaction(skus.link, editor, made.id, await self.offer_id(number, key or supplier))
        await skus.save(editor, made.id, Draft("supplier", **draft))
        return made

    async def offer_id(self, item: str, supplier: str = "warehouse") -> int:
        return await db.fetchval("SELECT id FROM supply_offer WHERE item = $1 AND supplier = $2", item, supplier)

    async def sync(self) -> None:
        await sync.begin_due()
        for key in sorted(runtime.current().suppliers):
            await sync.look(key, (), whole=True)
        catalog.forget()

    async def order(self, sku: Sku, quantity: int = 1, answers: dict[str, str] | None = None) -> Placed:
        from core.checkout.place import place
        from core.ids import new_token
        from core.pricing.quote import Item, quote
        from core.shops import service as shops

        shop = await shops.main_shop()
        catalog.forget()
        priced = await quote(1, [Item(sku.code, quantity)])
        placed = await place(shop, priced, {sku.code: answers or {}}, stocked.buyer(), stocked.chosen(), new_token())
        self.orders.append(placed)
        return placed

    async def pay(self, placed: Placed, amount: int = 1990) -> Settled:
        return await settle("epay", stocked.paid(placed, amount), "callback")

    async def paid(self, sku: Sku, quantity: int = 1, price: int = 1990) -> Placed:
        placed = await self.order(sku, quantity)
        await self.pay(placed, price * quantity)
        return placed

    # -- its worker ---------------------------------------------------------------------

    async def work(self) -> None:
        """Send everything that was begun, as the jobs would."""
        while rows := await db.fetch("SELECT id FROM supply_purchase WHERE state = 'created' ORDER BY id"):
            for row in rows:
                await buying.go_on(row["id"])

    async def ask_all(self) -> None:
        """Let the time come when suppliers are asked again, and ask."""
        self.later += timedelta(hours=1)
        with clock.use(lambda: datetime.now(UTC) + self.later):
            for number in await purchases.due():
                await buying.go_on(number)
            await self.work()

    # -- what is there ------------------------------------------------------------------

    async def purchases(self, placed: Placed) -> list[tuple[str, str]]:
        rows = await db.fetch("SELECT ref, state FROM supply_purchase WHERE order_id = $1 ORDER BY id", placed.order_id)
        return [(row["ref"].removeprefix(placed.ref), row["state"]) for row in rows]

    async def questions(self, placed: Placed) -> list[str]:
        rows = await db.fetch(
            "SELECT kind FROM review_item WHERE order_id = $1 AND state = 'open' ORDER BY id", placed.order_id
        )
        return [row["kind"] for row in rows]

    async def masks(self, placed: Placed) -> list[str]:
        rows = await db.fetch(
            "SELECT code.mask FROM vault_code code JOIN orders_line line ON line.id = code.line_id"
            " WHERE line.order_id = $1 AND code.state = 'delivered' ORDER BY code.id",
            placed.order_id,
        )
        return [row["mask"] for row in rows]

    async def steps(self, placed: Placed) -> list[str]:
        rows = await db.fetch("SELECT kind FROM orders_event WHERE order_id = $1 ORDER BY id", placed.order_id)
        return [row["kind"] for row in rows]

    async def newest(self, placed: Placed) -> int:
        return await db.fetchval("SELECT max(id) FROM supply_purchase WHERE order_id = $1", placed.order_id)


RULE = PriceRule(follows=True, markup=5000, round_to=100)


@pytest.fixture
async def world(pool: None) -> AsyncIterator[World]:
    async with Warehouse() as first, Warehouse() as second:
        plugins = await plugins_at(first.address, second.address)
        runtime.use(plugins)
        yield World(first, second)
        await plugins.close()
        assert first.sold_once
        assert second.sold_once
