"""Orders with a discount that may be used a few times only, and orders that risk rules hold."""

from __future__ import annotations

import asyncio
import secrets

from core.checkout.discounts import UsedUp
from core.checkout.place import SoldOut, TooManyOpen
from core.money import Money
from core.pricing.promotion import Cap
from core.pricing.quote import Discount
from core.review.assess import NOTHING_FOUND, Decision, Finding, Verdict
from core.review.risk import Evidence
from core.web.i18n import _
from tests.machine.base import Base, Order
from tests.machine.checks import MOST_USES

OFF = 500
FINDING = Finding("machine", {"en": "Machine"}, Evidence(60, _("somebody should look at it")))
HELD = Verdict(Decision.REVIEW, 60, (FINDING,))


class Offers(Base):
    async def discounted(self, which: int, buyers: int) -> None:
        """As many as come at once for the last uses of a discount, with codes enough for all."""
        await self.bring_in(which, buyers)
        sku = self.skus[which]
        key = f"{self.scope.order}:{sku.shop_id}"
        cap = Cap(key, MOST_USES)
        discount = Discount("machine", key, {"en": "Few"}, Money(-OFF, "CNY"), caps=(cap,))
        used = await self.eye.fetchval("SELECT coalesce(sum(used), 0) FROM orders_cap WHERE key = $1", key)
        answers = await asyncio.gather(
            *(self._place(sku, 1, discount=discount) for _ in range(buyers)), return_exceptions=True
        )
        served = sum(isinstance(answer, Order) for answer in answers)
        assert all(isinstance(answer, Order | UsedUp) for answer in answers), answers
        assert served >= min(buyers, MOST_USES - used), answers

    async def greedy(self, which: int) -> None:
        """One buyer with many windows open, and enough codes for all of them.

        Ordinary orders of one buyer take turns; those that a rule holds do not, and only the database stops them.
        """
        await self.bring_in(which, 5)
        contact = f"{secrets.token_hex(6)}@example.com"
        sku = self.skus[which]
        verdicts = 3 * (NOTHING_FOUND, HELD)
        windows = (self._place(sku, 1, contact, verdict=verdict) for verdict in verdicts)
        answers = await asyncio.gather(*windows, return_exceptions=True)
        assert all(isinstance(answer, Order | SoldOut | TooManyOpen) for answer in answers), answers

    async def place_held(self, which: int) -> Order:
        await self.bring_in(which, 1)
        return await self._place(self.skus[which], 1, verdict=HELD)
