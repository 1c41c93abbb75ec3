"""What a buyer did before, counted in the database for whoever checks an order.

Rules are asked side by side: what they want to know in one moment goes to the database in one statement.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from ipaddress import ip_address, ip_network
from typing import Any

from core import clock, db
from core.hooks.views import Counted, FoundBy
from core.money import Money
from core.people import contact_proof, forgotten

# $1 to $6 are the buyer, the same in every question. An address range is asked for by its ends: the index on
# addresses knows no "within".
BUYER = """
WITH buyer AS (SELECT $1::bigint AS shop_id, $2::bpchar AS currency, $3::text[] AS names, $4::bytea AS session_hash,
                      $5::inet AS ip, $6::inet AS network)
"""
FOUND_BY: Mapping[FoundBy, str] = {
    "contact": "o.contact = ANY($3)",
    "account": "o.contact = (SELECT contact FROM people_contact_proof WHERE session_hash = $4 AND shop_id = $1"
    " AND expires_at > {now} ORDER BY expires_at DESC LIMIT 1)",
    "device": "o.id = ANY(ARRAY(SELECT order_id FROM orders_access WHERE session_hash = $4 AND how = 'bought'))",
    "address": "o.ip = $5",
    "network": "o.ip BETWEEN host(network($6))::inet AND host(broadcast($6))::inet",
}
COUNT = """
SELECT {number} AS number, count(*) AS orders, count(*) FILTER (WHERE o.payment_state = 'paid') AS paid,
       coalesce(sum(o.total) FILTER (WHERE o.payment_state = 'paid' AND o.currency = $2), 0)::bigint AS spent,
       count(DISTINCT o.contact) AS contacts
FROM (SELECT * FROM orders_order o WHERE o.shop_id = $1 AND o.created_at >= {since} AND """
ENOUGH = " LIMIT 500) AS o"
"""Nobody needs to know more exactly how many too many are, and counting them all is what an attack would make dear."""
OF_VALUE = """o.currency = $2 AND EXISTS (
    SELECT 1 FROM orders_line line WHERE line.order_id = o.id AND coalesce(line.list_price, line.unit_price) = {value})
"""
FAILED = """
SELECT {number} AS number, count(*) AS orders, 0, 0, 0
FROM (SELECT 1 FROM orders_order o JOIN payments_attempt attempt ON attempt.order_id = o.id AND attempt.state = 'failed'
WHERE o.shop_id = $1 AND o.created_at >= {since} AND """
EVER_PAID = """
SELECT {number} AS number, count(*) AS orders, 0, 0, 0 FROM (
    SELECT 1 FROM orders_order WHERE shop_id = $1 AND contact = ANY($3) AND paid_at IS NOT NULL LIMIT 1) AS one
"""


@dataclass(frozen=True, slots=True)
class _Question:
    """A part of the statement, with the values it wants beside the buyer."""

    sql: str
    since: datetime | None = None
    value: int | None = None
    now: datetime | None = None


class History:
    """See :class:`core.hooks.views.OrderHistory`. ``ip`` is empty when it says nothing about the buyer."""

    def __init__(self, shop_id: int, contact: str, ip: str, session_hash: bytes, currency: str) -> None:
        self.shop_id = shop_id
        self.session_hash = session_hash
        self.currency = currency
        names = forgotten.names(shop_id, contact)
        self._buyer = (shop_id, currency, names, session_hash, ip or None, network_of(ip) or None)
        self._now = clock.now()
        self._answers: dict[_Question, asyncio.Future[Any]] = {}
        self._new: list[_Question] = []
        self._asking: set[asyncio.Task[None]] = set()

    async def by_contact(self, since: datetime) -> int:
        return (await self._count("contact", since)).orders

    async def by_address(self, since: datetime) -> int:
        return (await self._count("address", since)).orders

    async def count(self, by: FoundBy, within: timedelta) -> Counted:
        return await self._count(by, self._now - within)

    async def _count(self, by: FoundBy, since: datetime) -> Counted:
        return self._counted(await self._answer(self._of(COUNT, by, since)))

    async def of_value(self, face_value: Money, within: timedelta) -> Counted:
        if face_value.currency != self.currency:
            return Counted(0, 0, Money(0, self.currency), 0)
        question = _Question(COUNT + OF_VALUE + ENOUGH, self._now - within, value=face_value.amount)
        return self._counted(await self._answer(question))

    async def failed_payments(self, by: FoundBy, within: timedelta) -> int:
        return int((await self._answer(self._of(FAILED, by, self._now - within)))["orders"])

    async def account(self) -> str:
        return next(iter(await contact_proof.proven(self.shop_id, self.session_hash)), "")

    async def is_first(self) -> bool:
        return int((await self._answer(_Question(EVER_PAID)))["orders"]) == 0

    def _of(self, sql: str, by: FoundBy, since: datetime) -> _Question:
        return _Question(sql + FOUND_BY[by] + ENOUGH, since, now=self._now if by == "account" else None)

    def _counted(self, row: Any) -> Counted:
        return Counted(row["orders"], row["paid"], Money(row["spent"], self.currency), row["contacts"])

    # -- asking -------------------------------------------------------------------------

    async def _answer(self, question: _Question) -> Any:
        """Shielded: who gives up waiting must not take the answer from the others."""
        if question not in self._answers:
            self._answers[question] = asyncio.get_running_loop().create_future()
            self._new.append(question)
            if len(self._new) == 1:
                task = asyncio.create_task(self._ask())
                self._asking.add(task)
                task.add_done_callback(self._asking.discard)
        return await asyncio.shield(self._answers[question])

    async def _ask(self) -> None:
        for _turn in range(3):
            await asyncio.sleep(0)  # let all who are at it say what they want to know
        asked, self._new = self._new, []
        try:
            sql, values = _statement(asked)
            rows = {row["number"]: row for row in await db.fetch(BUYER + sql, *self._buyer, *values)}
        except Exception as error:  # noqa: BLE001  it is raised where the answer is waited for
            for question in asked:
                self._answers[question].set_exception(error)
            return
        for number, question in enumerate(asked):
            self._answers[question].set_result(rows[number])


def _statement(questions: list[_Question]) -> tuple[str, list[Any]]:
    parts, values = [], []
    for number, question in enumerate(questions):
        places = {}
        for name in ("since", "value", "now"):
            value = getattr(question, name)
            if value is not None:
                values.append(value)
                places[name] = f"${len(values) + 6}"
        parts.append(question.sql.format(number=number, **places))
    return " UNION ALL ".join(parts), values


def telling_address(ip: str) -> str:
    """The address, or nothing: behind a proxy that was not named, every buyer comes from loopback."""
    return ip if ip and not ip_address(ip).is_loopback else ""


def network_of(ip: str) -> str:
    """The neighbourhood one person or company may have many addresses in."""
    if not ip:
        return ""
    return str(ip_network(f"{ip}/{24 if ip_address(ip).version == 4 else 64}", strict=False))
