"""The application behind a real web server, with a small feature of sample pages."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest
from litestar import Litestar

from core import db
from core.app import create_app
from core.config import Config
from core.people import sessions
from core.shops import service as shops
from tests.served import furnished, own_port, serving

from .sample import feature as sample

PROXY = "127.0.0.1"


@asynccontextmanager
async def served(app: Litestar, host: str = "127.0.0.1") -> AsyncIterator[str]:
    """The address of ``app`` on a port of its own."""
    with own_port(host) as (listener, address):
        async with serving(app, listener):
            yield address


@pytest.fixture(scope="module")
def environment(database: str, redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    home = furnished(tmp_path_factory.mktemp("home"))
    return {
        "VOUCHSAFE_HOME": str(home),
        "DATABASE_URL": database,
        "REDIS_URL": redis_url,
        "VOUCHSAFE_MASTER_KEY": "00" * 32,
    }


@pytest.fixture(scope="module")
def app(environment: dict[str, str]) -> Litestar:
    return create_app(Config.from_env(environment), names=(), extra_features=[sample])


@pytest.fixture(scope="module")
async def site(app: Litestar) -> AsyncIterator[str]:
    shops.forget()
    async with served(app) as address:
        await db.execute("CREATE TABLE sample_order (sku text, quantity int)")
        yield address


@pytest.fixture
async def client(site: str) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=site, headers={"accept-language": "en"}) as browser:
        yield browser


async def orders() -> int:
    """How many rows the sample pages have written: unchanged after every refusal."""
    return await db.fetchval("SELECT count(*) FROM sample_order")


async def staff_cookie(role: str = "owner") -> str:
    return await db.transaction(_staff_session, role)


async def _staff_session(tx: db.Tx, role: str) -> str:
    insert = """
        INSERT INTO people_staff (shop_id, email, role, name) VALUES (1, $1 || '@shop.test', $1, 'Wang')
        ON CONFLICT (shop_id, email) DO UPDATE SET name = 'Wang' RETURNING id
    """
    return await sessions.create(tx, "staff", staff_id=await tx.fetchval(insert, role))
