"""The whole shop behind a real web server, one for a module, and staff in front of its console."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack

import pytest

from core import db
from core.shops import service as shops
from tests import console
from tests.console import Staff

SignIn = Callable[..., object]


@pytest.fixture(scope="module")
async def address(database: str, redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    async with console.running(database, redis_url, tmp_path_factory.mktemp("home")) as address:
        yield address


@pytest.fixture
async def sign_in(address: str) -> AsyncIterator[SignIn]:
    """``await sign_in("support")``: a signed-in member of staff with that role."""
    async with AsyncExitStack() as stack:

        async def enter(role: str = "owner", language: str = "en") -> Staff:
            return await stack.enter_async_context(console.signed_in(address, role, language))

        yield enter


@pytest.fixture
async def staff(sign_in: SignIn) -> Staff:
    return await sign_in()


@pytest.fixture
async def real(address: str) -> None:
    """The shop is open, and nobody is told to wait."""
    await db.execute(
        "UPDATE shops_shop SET test_mode = false,"
        ' settings = settings || \'{"open_orders_per_contact": 1000, "open_orders_per_address": 1000}\''
    )
    shops.forget()
