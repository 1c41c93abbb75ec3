"""Own codes: made, sold, and redeemed, voided and replaced at many tills at once."""

from __future__ import annotations

import asyncio
import secrets
from typing import Any

from core import db
from core.fulfilment import replacement
from core.redemption import redeem
from core.redemption.redeem import Answer, Outcome
from core.refused import Refused
from tests import stocked
from tests.machine.base import Order
from tests.machine.gateways import Gateways
from tests.machine.goods import Goods
from tests.redemption.own import own_batch, texts, till
from tests.stocked import Sku

FACE_VALUE, TAKEN = 1000, 300
SELLS = 3
VOUCHER = """
SELECT voucher.balance, voucher.first_used_at IS NOT NULL AS used, voucher.voided_at IS NOT NULL AS voided,
       code.state, code.replaced_by, code.id
FROM redemption_voucher voucher JOIN vault_code code ON code.id = voucher.code_id WHERE code.id = $1
"""


class Vouchers(Gateways, Goods):
    def __init__(self, *facts: Any) -> None:
        super().__init__(*facts)
        self.own: dict[int, tuple[str, int | None]] = {}
        """Text and face value of each code."""

    async def sell_own(self, face_value: int | None, pay: bool) -> None:
        """A SKU with codes of our own; somebody buys two of them."""
        sku = await stocked.sku(0)
        batch = await own_batch(SELLS, what=sku, on_paper=False, face_value=face_value)
        made = await texts(batch)
        ids = await db.fetch("SELECT id FROM vault_code WHERE batch_id = $1 ORDER BY id", batch)
        self.own |= {row["id"]: (text, face_value) for row, text in zip(ids, made, strict=True)}
        self.imported[sku.id] = SELLS
        self.codes |= set(made)
        order = await self._place(Sku(sku.id, sku.code, made), 2)
        if pay:
            await self.pay(order, order.total, "CNY", 1)
            assert await self.reveal(order, by_owner=True)
            await self.redeem(await self.sold_of(order), 2, one_request=False)

    async def sold_of(self, order: Order) -> int:
        code = await self.delivered(order)
        assert code is not None
        return code

    def code_of_ours(self, number: int) -> int:
        return sorted(self.own)[-1 - number % len(self.own)]

    async def redeem(self, code_id: int, tills: int, *, one_request: bool) -> None:
        """At several tills, or the same request from one of them sent again and again."""
        (text, face_value), was = self.own[code_id], await self._voucher(code_id)
        amount = (None, None) if face_value is None else (TAKEN, "CNY")
        request = secrets.token_hex(8)
        answers = await asyncio.gather(
            *(
                redeem.redeem(
                    till("key:0" if one_request else f"key:{number}"),
                    request if one_request else secrets.token_hex(8),
                    text,
                    *amount,
                )
                for number in range(tills)
            )
        )
        worth = TAKEN if face_value else 1
        possible = was["balance"] // worth if self._works(was) else 0
        done = sum(answer.ok for answer in answers)
        if one_request:
            assert answers == answers[:1] * tills
            done = min(done, 1)
        assert done == min(possible, 1 if one_request else tills), answers
        assert (await self._voucher(code_id))["balance"] == was["balance"] - done * worth

    @staticmethod
    def _works(voucher: Any) -> bool:
        return voucher["state"] == "delivered" and not voucher["voided"] and voucher["replaced_by"] is None

    async def void(self, code_id: int) -> None:
        """While somebody redeems it. After that it is worth nothing to anybody."""
        was = await self._voucher(code_id)
        text, _face_value = self.own[code_id]
        voided, _redeemed = await asyncio.gather(
            redeem.void(till(), secrets.token_hex(8), text, "lost"), self._redeem_once(code_id)
        )
        expected = Outcome.VOID if was["voided"] else Outcome.IN_CHECKOUT if was["state"] == "reserved" else Outcome.OK
        assert voided.outcome is expected
        if was["state"] != "reserved":
            await self._is_worthless(code_id)

    async def replace_own(self, code_id: int) -> None:
        """While somebody redeems it: the buyer has the old code's worth or a new code, never both."""
        order = await self._order_of(code_id)
        if order is None:
            return
        was, staff_id = await self._voucher(code_id), self.staff[1].staff_id
        replaced, redeemed = await asyncio.gather(
            replacement.give_another(1, order.placed.ref, code_id, "bad", staff_id),
            self._redeem_once(code_id),
            return_exceptions=True,
        )
        assert isinstance(replaced, replacement.Replaced | Refused), replaced
        assert isinstance(redeemed, Answer), redeemed
        given = isinstance(replaced, replacement.Replaced) and replaced.mask != ""
        assert not (given and (redeemed.ok or was["used"])), "a used code was replaced"
        if given:
            await self._is_worthless(code_id)

    async def _redeem_once(self, code_id: int) -> Answer:
        text, face_value = self.own[code_id]
        amount = (None, None) if face_value is None else (TAKEN, "CNY")
        return await redeem.redeem(till("key:9"), secrets.token_hex(8), text, *amount)

    async def _is_worthless(self, code_id: int) -> None:
        before = (await self._voucher(code_id))["balance"]
        assert (await self._redeem_once(code_id)).outcome is Outcome.VOID
        assert (await self._voucher(code_id))["balance"] == before

    async def _voucher(self, code_id: int) -> Any:
        return await db.fetchrow(VOUCHER, code_id)

    async def _order_of(self, code_id: int) -> Order | None:
        order_id = await db.fetchval(
            "SELECT line.order_id FROM vault_code code JOIN orders_line line ON line.id = code.line_id"
            " WHERE code.id = $1",
            code_id,
        )
        return next((order for order in self.orders if order.placed.order_id == order_id), None)
