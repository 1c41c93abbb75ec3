"""A buyer over HTTP, as a browser without JavaScript would do it, and a look at what the database then holds."""

import asyncio
import html
import re
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import httpx

from core import db

MUSIC = "DEMO-MUSIC-1M"
NIMBUS = "DEMO-NIMBUS-200"
CODE = re.compile(r"DEMO(?:-[0-9A-Z]{4}){3}")


@dataclass
class Buyer:
    http: httpx.AsyncClient
    contact: str = field(default_factory=lambda: f"{secrets.token_hex(6)}@example.com")
    csrf: str = ""

    def form(self, sku: str = MUSIC, **changes: str) -> dict[str, str]:
        form = {
            "sku": sku,
            "quantity": "1",
            "contact": self.contact,
            "method": "sandbox",
            "key": secrets.token_hex(12),
        }
        return {**form, **changes}

    async def place(self, sku: str = MUSIC, **changes: str) -> str:
        """The order's path."""
        answer = await self.post("/checkout", self.form(sku, **changes))
        assert answer.status_code == 303, answer.text
        return answer.headers["location"]

    async def post(self, path: str, form: dict[str, str] | None = None, **headers: str) -> httpx.Response:
        answer = await self.http.post(path, data={**(form or {}), "csrf": self.csrf}, headers=headers)
        self.csrf = answer.headers.get("x-csrf-token", self.csrf)
        return answer

    async def get(self, path: str, **headers: str) -> httpx.Response:
        return await self.http.get(path, headers=headers)

    async def pay(self, order: str, outcome: str = "paid") -> httpx.Response:
        """Go to the test gateway and choose how the payment ends there."""
        page = (await self.get(order)).text
        link = re.search(r'href="([^"]*/pay/sandbox/notify[^"]*)"', page)
        assert link, page
        gateway = (await self.http.get(html.unescape(link[1]))).text
        action, fields = next(
            (action, fields)
            for action, fields in re.findall(r'<form method="post" action="([^"]+)">(.*?)</form>', gateway, re.DOTALL)
            if f'id="{outcome}"' in fields
        )
        pairs = re.findall(r'name="([^"]+)" value="([^"]*)"', fields)
        data = {name: html.unescape(value) for name, value in pairs}
        return await self.http.post(html.unescape(action), data=data)

    async def bought(self, sku: str = MUSIC, **changes: str) -> str:
        order = await self.place(sku, **changes)
        await self.pay(order)
        return order

    async def reveal(self, order: str) -> list[str]:
        answer = await self.post(f"{order}/reveal")
        assert answer.status_code == 200, answer.text
        return sorted(set(CODE.findall(answer.text)))


def heading(page: str) -> str:
    """The words of the page's first heading."""
    found = re.search(r"<h1[^>]*>(.*?)</h1>", page, re.DOTALL)
    assert found, page
    return html.unescape(re.sub(r"<[^>]+>", "", found[1])).strip()


async def facts(order: str) -> dict[str, Any]:
    """What the database holds of an order."""
    row = await db.fetchrow(
        """
        SELECT payment_state AS payment, fulfilment_state AS fulfilment, paid,
            (SELECT array_agg(method || ' ' || state ORDER BY id) FROM payments_attempt WHERE order_id = o.id)
                AS attempts,
            (SELECT count(*) FROM vault_code code JOIN orders_line line ON line.id = code.line_id
             WHERE line.order_id = o.id AND code.state = 'reserved') AS reserved,
            (SELECT count(*) FROM vault_code code JOIN orders_line line ON line.id = code.line_id
             WHERE line.order_id = o.id AND code.state = 'delivered') AS delivered,
            (SELECT count(*) FROM vault_reveal reveal JOIN orders_line line ON line.id = reveal.line_id
             WHERE line.order_id = o.id) AS reveals
        FROM orders_order o WHERE ref = $1
        """,
        order.removeprefix("/o/"),
    )
    assert row is not None
    return dict(row)


async def counts() -> dict[str, int]:
    """How much there is of what a purchase writes: unchanged after every refusal."""
    row = await db.fetchrow(
        """
        SELECT (SELECT count(*) FROM orders_order) AS orders, (SELECT count(*) FROM payments_attempt) AS attempts,
               (SELECT count(*) FROM payments_event) AS events, (SELECT count(*) FROM vault_reveal) AS reveals,
               (SELECT count(*) FROM orders_access) AS accesses,
               (SELECT count(*) FROM vault_code WHERE state = 'free') AS free
        """
    )
    assert row is not None
    return dict(row)


async def alarms() -> list[str]:
    return [row["kind"] for row in await db.fetch("SELECT kind FROM audit_alarm ORDER BY id")]


async def until(look: Callable[[], Awaitable[bool]], seconds: float = 10) -> None:
    """Ask again until it is so: what a page shows may be a second or two old by design."""
    async with asyncio.timeout(seconds):
        while not await look():
            await asyncio.sleep(0.05)
