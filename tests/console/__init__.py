"""The console behind a real web server, and a member of staff in front of it."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from html import unescape
from pathlib import Path

import httpx

from core import db
from core.app import create_app
from core.config import Config
from core.people import sessions
from core.shops import service as shops
from core.web import csrf
from server import with_plugins
from tests.served import furnished, own_port, serving


@asynccontextmanager
async def running(database: str, redis_url: str, home: Path, **more: str) -> AsyncIterator[str]:
    """The address of a whole shop with its plugins; opens and closes this process's pool."""
    with own_port() as (listener, address):
        environ = {
            "VOUCHSAFE_HOME": str(furnished(home)),
            "VOUCHSAFE_BASE_URL": address,
            "DATABASE_URL": database,
            "REDIS_URL": redis_url,
            "VOUCHSAFE_MASTER_KEY": "00" * 32,
            **more,
        }
        async with serving(create_app(Config.from_env(environ), load_plugins=with_plugins), listener):
            shops.forget()
            yield address
        shops.forget()


@dataclass
class Staff:
    http: httpx.AsyncClient
    csrf: str

    async def get(self, path: str, status: int = 200) -> str:
        answer = await self.http.get(path)
        assert answer.status_code == status, words(answer.text)
        return answer.text

    async def post(self, path: str, status: int = 303, **form: str) -> str:
        """The page that came, or after a redirect the page it led to."""
        answer = await self.http.post(path, data={**form, "csrf": self.csrf})
        assert answer.status_code == status, words(answer.text)
        return await self.get(answer.headers["location"]) if status == 303 else answer.text


@asynccontextmanager
async def signed_in(address: str, role: str = "owner", language: str = "en") -> AsyncIterator[Staff]:
    token = await db.transaction(_session, role)
    headers = {"accept-language": language, "origin": address}
    async with httpx.AsyncClient(base_url=address, headers=headers, cookies={"vs": token}, timeout=20) as http:
        yield Staff(http, csrf.token_for(token))


async def _session(tx: db.Tx, role: str) -> str:
    staff_id = await tx.fetchval(
        "INSERT INTO people_staff (shop_id, email, role) VALUES (1, $1, $2)"
        " ON CONFLICT (shop_id, email) DO UPDATE SET role = $2 RETURNING id",
        f"{role}@example.com",
        role,
    )
    return await sessions.create(tx, "staff", staff_id=staff_id)


def words(page: str) -> str:
    """What a person reads on a page, blanks folded."""
    inside = re.sub(r"<(script|style|head)\b.*?</\1>", " ", page, flags=re.DOTALL)
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", inside)).split())


ON_THEIR_OWN = (
    "web_limit",
    "payments_call",
    "people_session",
    "vault_holder",
    "vault_low_stock",
    "audit_link",
    "audit_checkpoint",
)
"""Tables that a request or a timer writes whatever is asked for."""


async def everything() -> dict[str, str]:
    """How many rows each table has, and how often a row was changed: the same after every refusal."""
    names = await db.fetch(
        "SELECT relname FROM pg_stat_user_tables WHERE relname <> ALL($1) ORDER BY relname", list(ON_THEIR_OWN)
    )
    newest = ", ".join(
        f"(SELECT count(*) || '/' || coalesce(max(xmin::text::bigint), 0) FROM \"{row['relname']}\")" for row in names
    )
    row = await db.fetchrow(f"SELECT {newest}")
    return dict(zip((row["relname"] for row in names), row.values(), strict=True)) if row else {}


async def audited(after: int = 0) -> list[tuple[str, str]]:
    rows = await db.fetch("SELECT act, object FROM audit_entry WHERE id > $1 ORDER BY id", after)
    return [(row["act"], row["object"]) for row in rows]


async def newest_audit() -> int:
    return int(await db.fetchval("SELECT coalesce(max(id), 0) FROM audit_entry"))
