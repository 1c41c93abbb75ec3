"""Money that buyers keep with the shop: put in, paid from, given back to, taken out."""

from __future__ import annotations

import asyncio
import secrets
from typing import Any

import asyncpg

from core import db
from core.checkout.settle import Outcome, settle
from core.ids import token_hash
from core.ledger import customers
from core.ledger.customers import NotEnough
from core.money import Money
from core.payments import service as payments
from core.payments.method import Claim, ClaimState, GatewayRefused
from core.payments.purse import AttemptPurse
from core.people import contact_proof
from core.refused import Refused
from plugins.payments.balance import Balance
from tests.machine.base import PRICE, Base, Order

METHOD = Balance()
CHANGE = 500


class Balances(Base):
    async def put_in(self, order: Order, amount: int, clicks: int) -> None:
        """Staff put money in, or take it out; the form is sent as often as somebody clicks."""
        shop_id, contact, key = order.shop_id, order.buyer.contact, secrets.token_hex(8)
        staff_id, held = self.staff[shop_id].staff_id, await self.kept(order)

        async def click(tx: db.Tx) -> None:
            money = Money(amount, "CNY")
            await customers.change_by_staff(
                tx, shop_id, contact, money, cash=True, staff_id=staff_id, reason="counter", key=key
            )

        answers = await asyncio.gather(*(db.transaction(click) for _ in range(clicks)), return_exceptions=True)
        assert all(answer is None or isinstance(answer, asyncpg.UniqueViolationError | NotEnough) for answer in answers)
        if held + amount >= 0:
            self.put[shop_id, contact] = self.put.get((shop_id, contact), 0) + amount
        else:
            assert all(isinstance(answer, NotEnough) for answer in answers), answers

    async def kept(self, order: Order) -> int:
        found = await customers.of_contact(order.shop_id, order.buyer.contact)
        return sum(one.money.amount for one in found if one.money.currency == "CNY")

    async def pay_from_balance(self, order: Order, top_up: int, windows: int) -> None:
        """From several windows, each with an attempt of its own: it is taken once."""
        if top_up:
            await self.put_in(order, top_up, 1)
        await self._prove(order)
        held = await self.kept(order)
        row = await db.fetchrow("SELECT payment_state, expires_at > now() AS lives FROM orders_order WHERE id = $1",
                                order.placed.order_id)  # fmt: skip
        can = row["payment_state"] == "unpaid" and row["lives"] and held >= order.total
        paid = await asyncio.gather(*(self._pay_from_balance(order) for _ in range(windows)))
        assert sum(paid) <= int(can)
        assert await self.kept(order) == held - sum(paid) * order.total

    async def spend_at_once(self, which: int, enough: int) -> None:
        """Three orders of one buyer, each in two windows, from what suffices for some of them."""
        await self.bring_in(which, 3)
        contact = f"{secrets.token_hex(6)}@example.com"
        mine = [await self._place(self.skus[which], 1, contact) for _ in range(3)]
        await self.put_in(mine[0], enough * PRICE + CHANGE, 1)
        for order in mine:
            await self._prove(order)
        paid = await asyncio.gather(*(self._pay_from_balance(order) for order in [*mine, *mine]))
        assert sum(paid) == enough, paid
        assert await self.kept(mine[0]) == CHANGE

    async def _prove(self, order: Order) -> None:
        token = await contact_proof.new_link(order.shop_id, order.buyer.contact)
        await db.transaction(contact_proof.prove, order.shop_id, token, token_hash(order.session))

    async def _pay_from_balance(self, order: Order) -> bool:
        try:
            ref = await db.transaction(payments.begin, order.placed.order_id, METHOD, "")
            purse = AttemptPurse(ref, token_hash(order.session))
            await purse.take()
        except (Refused, GatewayRefused):
            return False
        assert await purse.taken()
        amount = await db.fetchval("SELECT amount FROM payments_attempt WHERE ref = $1", ref)
        claim = Claim(ref, ClaimState.PAID, Money(amount, "CNY"), ref, f"{ref}:paid")
        told: list[Any] = await asyncio.gather(*(settle(METHOD.key, claim, "query") for _ in range(2)))
        assert [one.outcome for one in told].count(Outcome.REPEAT) == 1, told
        return True
