"""What a buyer did before, counted in the database for whoever checks an order."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from ipaddress import ip_address, ip_network

from core import clock, db
from core.hooks.views import Counted, FoundBy
from core.money import Money
from core.people import contact_proof

# An address range is asked for by its ends: the index on addresses knows no "within".
FOUND_BY = {
    "contact": "o.contact = $2",
    "account": "o.contact = $2",
    "device": "o.id = ANY(ARRAY(SELECT order_id FROM orders_access WHERE session_hash = $2 AND how = 'bought'))",
    "address": "o.ip = $2",
    "network": "o.ip BETWEEN host(network($2::inet))::inet AND host(broadcast($2::inet))::inet",
}
COUNT = """
SELECT count(*) AS orders, count(*) FILTER (WHERE o.payment_state = 'paid') AS paid,
       coalesce(sum(o.total) FILTER (WHERE o.payment_state = 'paid' AND o.currency = $4), 0)::bigint AS spent,
       count(DISTINCT o.contact) AS contacts
FROM orders_order o WHERE o.shop_id = $1 AND o.created_at >= $3 AND {}
"""
OF_VALUE = """EXISTS (
    SELECT 1 FROM orders_line line WHERE line.order_id = o.id AND coalesce(line.list_price, line.unit_price) = $2)
    AND o.currency = $4
"""
FAILED = """
SELECT count(*) FROM orders_order o JOIN payments_attempt attempt ON attempt.order_id = o.id
WHERE o.shop_id = $1 AND o.created_at >= $3 AND attempt.state = 'failed' AND {}
"""
EVER_PAID = """
SELECT EXISTS (SELECT 1 FROM orders_order WHERE shop_id = $1 AND contact = $2 AND paid_at IS NOT NULL)
"""


@dataclass(frozen=True, slots=True)
class History:
    """See :class:`core.hooks.views.OrderHistory`. ``ip`` is empty when it says nothing about the buyer."""

    shop_id: int
    contact: str
    ip: str
    session_hash: bytes
    currency: str

    async def by_contact(self, since: datetime) -> int:
        return (await self._counted("contact", since)).orders

    async def by_address(self, since: datetime) -> int:
        return (await self._counted("address", since)).orders

    async def count(self, by: FoundBy, within: timedelta) -> Counted:
        return await self._counted(by, clock.now() - within)

    async def _counted(self, by: FoundBy, since: datetime) -> Counted:
        key = await self._key(by)
        return await self._ask(FOUND_BY[by], key, since) if key else Counted(0, 0, Money(0, self.currency), 0)

    async def of_value(self, face_value: Money, within: timedelta) -> Counted:
        if face_value.currency != self.currency:
            return Counted(0, 0, Money(0, self.currency), 0)
        return await self._ask(OF_VALUE, face_value.amount, clock.now() - within)

    async def _ask(self, found: str, key: str | bytes | int, since: datetime) -> Counted:
        [row] = await db.fetch(COUNT.format(found), self.shop_id, key, since, self.currency)
        return Counted(row["orders"], row["paid"], Money(row["spent"], self.currency), row["contacts"])

    async def failed_payments(self, by: FoundBy, within: timedelta) -> int:
        key = await self._key(by)
        since = clock.now() - within
        return await db.fetchval(FAILED.format(FOUND_BY[by]), self.shop_id, key, since) if key else 0

    async def account(self) -> str:
        return next(iter(await contact_proof.proven(self.shop_id, self.session_hash)), "")

    async def is_first(self) -> bool:
        return not await db.fetchval(EVER_PAID, self.shop_id, self.contact)

    async def _key(self, by: FoundBy) -> str | bytes:
        """What the orders share with this one; empty when that is not known."""
        if by == "account":
            return await self.account()
        return {
            "contact": self.contact,
            "device": self.session_hash,
            "address": self.ip,
            "network": network_of(self.ip),
        }[by]


def telling_address(ip: str) -> str:
    """The address, or nothing: behind a proxy that was not named, every buyer comes from loopback."""
    return ip if ip and not ip_address(ip).is_loopback else ""


def network_of(ip: str) -> str:
    """The neighbourhood one person or company may have many addresses in."""
    if not ip:
        return ""
    return str(ip_network(f"{ip}/{24 if ip_address(ip).version == 4 else 64}", strict=False))
