"""What buyers and staff do with codes, and new keys for them."""

from __future__ import annotations

import asyncio
import secrets
from datetime import timedelta

import pytest

from core import clock, db
from core.config import Config
from core.fulfilment import replacement
from core.ids import token_hash
from core.orders import service as orders
from core.refused import Refused
from core.vault import burn, keyring, keys, quarantine, rotate
from core.vault.ring import VaultLocked
from tests.machine.base import Base, Order

BURN_HOURS = 2
CONFIG = Config.from_env({"VOUCHSAFE_MASTER_KEY": bytes(range(32)).hex()})
DELIVERED = """
SELECT code.id FROM vault_code code JOIN orders_line line ON line.id = code.line_id
WHERE line.order_id = $1 AND code.state = 'delivered' ORDER BY code.replaced_by NULLS FIRST, code.id
"""


class Goods(Base):
    async def reveal(self, order: Order, *, by_owner: bool) -> list[str]:
        session = token_hash(order.session if by_owner else secrets.token_hex(16))
        shown = await orders.reveal(order.placed.ref, session, None, "test")
        if not by_owner:
            assert shown is None
            return []
        assert shown is not None
        for code in shown[1]:
            assert code.text in self.codes
            assert self.owner.setdefault(code.text, order.placed.ref) == order.placed.ref, "one code for two orders"
            order.seen.add(code.text)
        return sorted(code.text for code in shown[1])

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
        shown = await orders.reveal(order.placed.ref, token_hash(order.session), None, "test")
        assert shown is not None
        assert not {code.text for code in shown[1]} & order.seen, "an erased code was shown"

    async def replace(self, order: Order) -> None:
        code, staff_id = await self.delivered(order), self.staff[order.shop_id].staff_id
        if code is not None:
            await self.staff_act(
                lambda: replacement.give_another(order.shop_id, order.placed.ref, code, "bad", staff_id), exactly=None
            )

    async def delivered(self, order: Order) -> int | None:
        """A code of this order, one that was not replaced where there is one."""
        return await db.fetchval(DELIVERED, order.placed.order_id)

    async def set_aside(self, order: Order, end: str) -> None:
        """A free code of that SKU becomes suspect; then it is found good, or bad, or stays so."""
        rows = await db.fetch("SELECT id, batch_id FROM vault_code WHERE sku_id = $1 ORDER BY id", order.sku.id)
        shop_id, staff_id = order.shop_id, self.staff[order.shop_id].staff_id
        await db.transaction(quarantine.hold_batch, shop_id, rows[0]["batch_id"], "suspect", staff_id)
        ids = [row["id"] for row in rows]
        if end == "good":
            await db.transaction(quarantine.put_back, shop_id, ids, staff_id)
        if end == "bad":
            await db.transaction(quarantine.write_off, shop_id, ids, staff_id)

    # -- new keys -----------------------------------------------------------------------

    async def rotate_keys(self, which: int, buyers: int) -> None:
        """Under a crowd of buyers; what could be read before can be read after, and the old key opens nothing new."""
        # of earlier examples nothing has to be wrapped anew
        await db.execute("UPDATE orders_order SET token_sealed = '' WHERE id <= $1", self.scope.order)
        await db.execute(
            "UPDATE vault_batch SET wrapped_key = '', key_version = 0 WHERE key_version > 0 AND sku_id <> ALL($1)",
            list(self.imported),
        )
        before = [await self.reveal(order, by_owner=True) for order in self.orders]
        old, known = keys.current(), list(self.orders)
        facts, _crowd = await asyncio.gather(self._rotate(), self.crowd(which, buyers))
        assert facts["unopened"] == 0
        # an order that was sealed before and arrived after its table was gone through; the worker looks for it too
        await rotate.tend(CONFIG, lambda _words: None)
        assert await rotate.retire(0) == [old.active]
        await keyring.unlock(CONFIG)
        await self.bring_in(which, 1)
        wrapped = await db.fetch(
            "SELECT DISTINCT key_version FROM vault_batch WHERE sku_id = ANY($1)", self._scope()[0]
        )
        assert [row["key_version"] for row in wrapped] == [facts["version"]]
        with pytest.raises(VaultLocked):
            old.wrap_key(facts["version"])
        assert [await self.reveal(order, by_owner=True) for order in known] == before

    async def _rotate(self) -> rotate.Facts:
        """Step by step as ``rotate-keys`` does it, without its pauses for other processes."""
        follower, version = keyring.Follower(CONFIG, shown=False), (await rotate._begin(CONFIG))["to_version"]
        await follower.look()
        await db.transaction(rotate._activate, version)
        await follower.look()
        return await rotate.finish(version, lambda _words: None)
