"""The console behind a real web server, asked by its name: passkeys belong to names, not to addresses."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from html import unescape

import httpx
import pytest

from core import db
from core.people import staff
from core.web import csrf
from tests import console

PASSWORD = "seven quiet otters 41"


@pytest.fixture(scope="module")
async def address(database: str, redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    async with console.running(database, redis_url, tmp_path_factory.mktemp("home")) as address:
        yield address


@pytest.fixture
async def boss(address: str) -> int:
    """The one owner of the shop, with a password and nothing else."""
    await db.execute("DELETE FROM people_link")
    await db.execute("DELETE FROM people_staff")
    await db.execute("DELETE FROM web_limit")
    return await staff.create_admin("boss@example.com", PASSWORD)


class Browser:
    """A browser without scripts."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self.http = http
        self.origin = http.headers["origin"]

    async def get(self, path: str, status: int = 200) -> str:
        answer = await self.http.get(path)
        assert answer.status_code == status, console.words(answer.text)
        return answer.text

    async def post(self, path: str, status: int = 303, **form: str) -> str:
        """What was answered; after a redirect the page it led to."""
        cookie = self.http.cookies.get("vs")
        token = csrf.token_for(cookie) if cookie else ""
        answer = await self.http.post(path, data={**form, "csrf": token})
        assert answer.status_code == status, (answer.status_code, console.words(answer.text))
        return await self.get(answer.headers["location"]) if status == 303 else answer.text

    async def sign_in(self, status: int = 303, **form: str) -> str:
        return await self.post("/admin/sign-in", status, **{"email": "boss@example.com", "password": PASSWORD, **form})

    async def signed_in(self) -> bool:
        return (await self.http.get("/admin/account")).status_code == 200


def browser_at(address: str) -> httpx.AsyncClient:
    host = address.removeprefix("http://").replace("127.0.0.1", "localhost")
    headers = {"host": host, "origin": f"http://{host}", "accept-language": "en"}
    return httpx.AsyncClient(base_url=address, headers=headers, timeout=20)


@pytest.fixture
async def browser(address: str) -> AsyncIterator[Browser]:
    async with browser_at(address) as http:
        yield Browser(http)


@pytest.fixture
async def other(address: str) -> AsyncIterator[Browser]:
    async with browser_at(address) as http:
        yield Browser(http)


def options_in(page: str) -> str:
    """What the page would tell the device."""
    return unescape(re.search(r'<vs-passkey mode="\w+" options="([^"]+)"', page)[1])
