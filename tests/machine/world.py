"""One example's world, made of all that may happen in it, and the shop of the whole run."""

from __future__ import annotations

import asyncio
import json

import asyncpg

from core import db
from core.audit.person import Person
from core.hooks import runtime
from core.ledger import customers
from core.shops import service as shops
from core.vault import keyring
from tests import stocked
from tests.machine.balances import Balances
from tests.machine.base import Scope
from tests.machine.goods import BURN_HOURS, CONFIG
from tests.machine.offers import Offers
from tests.machine.staff import Staff
from tests.machine.vouchers import Vouchers

OTHER_SHOP = 2
BEGINS = """
SELECT (SELECT coalesce(max(id), 0) FROM orders_order), (SELECT coalesce(max(id), 0) FROM ledger_entry),
       (SELECT coalesce(max(id), 0) FROM ledger_balance)
"""
# Always the same large question: not planned anew each time, and never by reading whole tables of older examples.
LOOKING = {"plan_cache_mode": "force_generic_plan", "enable_seqscan": "off", "jit": "off"}


class World(Balances, Offers, Vouchers, Staff):
    async def hold(self, which: int, pay: bool) -> None:
        order = await self.place_held(which)
        if pay:
            await self.pay(order, order.total, "CNY", 2)

    async def check_at_rest(self) -> None:
        await super().check_at_rest()
        assert await customers.out_of_step() == []
        for order in self.orders:
            await self.reveal(order, by_owner=True)


class Shop:
    """What all examples of a run share."""

    def __init__(self, plugins: runtime.Runtime, staff: dict[int, Person], eye: asyncpg.Connection) -> None:
        self.plugins, self.staff, self.eye = plugins, staff, eye

    async def world(self) -> World:
        skus = await asyncio.gather(stocked.sku(4), stocked.sku(3), stocked.sku(2, shop_id=OTHER_SHOP))
        await db.execute("UPDATE catalog_sku SET burn_hours = $2 WHERE id = $1", skus[1].id, BURN_HOURS)
        begins = await self.eye.fetchrow(BEGINS)
        assert begins is not None
        return World(self.staff, skus, Scope(*begins), self.eye)

    async def close(self) -> None:
        await self.eye.close()
        await self.plugins.close()
        await db.close_pool()


async def open_shop(database: str) -> Shop:
    await db.open_pool(database, size=12)
    await keyring.unlock(CONFIG)
    await db.execute("INSERT INTO shops_shop (code, name, host) VALUES ('second', 'Second', 'second.test')")
    shops.forget()
    staff = {1: Person(1, await stocked.staff_member()), OTHER_SHOP: Person(OTHER_SHOP, await _clerk(OTHER_SHOP))}
    plugins = runtime.Runtime(safe_mode=True)
    runtime.use(plugins)
    await plugins.start()
    return Shop(plugins, staff, await _connection(database))


async def _clerk(shop_id: int) -> int:
    sql = "INSERT INTO people_staff (shop_id, email, role) VALUES ($1, 'b@b.cd', 'owner') RETURNING id"
    return int(await db.fetchval(sql, shop_id))


async def _connection(database: str) -> asyncpg.Connection:
    connection = await asyncpg.connect(database, server_settings=LOOKING)
    await connection.set_type_codec("json", encoder=json.dumps, decoder=json.loads, schema="pg_catalog")
    return connection
