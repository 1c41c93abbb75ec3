"""What gateways and time do to an order."""

from __future__ import annotations

import asyncio
import secrets

from core import clock, db
from core.checkout.settle import Outcome, settle
from core.money import Money
from core.orders import service as orders
from core.payments.method import Claim, ClaimState
from core.refused import Refused
from tests import stocked
from tests.machine.base import PRICE, Base, Order
from tests.machine.checks import MOMENT


class Gateways(Base):
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
        told = await self.changes_nothing(lambda: settle("epay", changed, "callback"))
        assert told.outcome is Outcome.REPEAT

    async def stranger(self) -> None:
        claim = Claim("V0000000000000-1", ClaimState.PAID, Money(PRICE, "CNY"), "G", secrets.token_hex(8))
        alarms = await db.fetchval("SELECT count(*) FROM audit_alarm")
        told = await self.changes_nothing(lambda: settle("epay", claim, "callback"))
        assert told.outcome is Outcome.UNKNOWN_ATTEMPT
        assert await db.fetchval("SELECT count(*) FROM audit_alarm") == alarms + 1

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
        await self._time_is_over(order)
        await orders.expire_due()

    async def all_at_once(self, order: Order) -> None:
        """Paid, cancelled and expired in the same moment."""
        await self._time_is_over(order)
        await asyncio.gather(self.pay(order, order.total, "CNY", 2), self.cancel(order), orders.expire_due())

    async def _time_is_over(self, order: Order) -> None:
        past = clock.now() - MOMENT
        await db.execute("UPDATE orders_order SET expires_at = $2 WHERE id = $1", order.placed.order_id, past)

    async def cancel(self, order: Order) -> None:
        try:
            await orders.cancel(order.placed.order_id, "buyer")
        except Refused:
            assert (await stocked.states(order.placed))[0] != "unpaid"
