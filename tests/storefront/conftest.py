"""The demo shop behind a real web server, in a database of its own, with every feature and plugin switched on."""

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import httpx
import pytest

from core import db
from core.admin import demo
from core.app import create_app
from core.config import Config
from core.hooks import runtime, store
from core.shops import service as shops
from server import with_plugins
from tests.served import furnished, own_port, serving
from tests.storefront.buyer import Buyer

HOW_TO_PAY = {
    "title_en": "Bank transfer",
    "title_zh": "银行转账",
    "instructions_en": "Send {amount} to account 12345, with {order} as reference.",
    "instructions_zh": "请转账 {amount} 到账户 12345，备注 {order}。",
}
GATEWAY = {"gateway": "http://127.0.0.1:9", "pid": "1001"}


@pytest.fixture(scope="module")
async def shop(database: str, redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    """The address of the shop: test mode, three demo products, and three plugins to pay with."""
    with own_port() as (listener, address):
        config = Config.from_env(
            {
                "VOUCHSAFE_HOME": str(furnished(tmp_path_factory.mktemp("home"))),
                "VOUCHSAFE_BASE_URL": address,
                "DATABASE_URL": database,
                "REDIS_URL": redis_url,
                "VOUCHSAFE_MASTER_KEY": "00" * 32,
            }
        )
        async with serving(create_app(config, load_plugins=with_plugins), listener):
            shops.forget()
            await demo.seed()
            await db.transaction(store.save, "payments.manual", True, HOW_TO_PAY, {})
            await db.transaction(store.save, "payments.epay", True, GATEWAY, {"key": "a-merchant-key"})
            for plugin in ("payments.manual", "payments.epay"):
                await db.transaction(store.enable, plugin, True)
            await runtime.current().refresh()
            # tests buy more than people do
            await set_settings(open_orders_per_contact=100, open_orders_per_address=1000)
            yield address
        shops.forget()


async def set_settings(**changes: object) -> None:
    await db.execute("UPDATE shops_shop SET settings = settings || $1", changes)
    shops.forget()


@pytest.fixture
async def client(shop: str) -> AsyncIterator[httpx.AsyncClient]:
    """A browser that has been here never before."""
    async with httpx.AsyncClient(base_url=shop, headers={"accept-language": "en", "origin": shop}) as browser:
        yield browser


NewBuyer = Callable[..., Buyer]


@pytest.fixture
async def new_buyer(shop: str) -> AsyncIterator[NewBuyer]:
    buyers: list[Buyer] = []

    def make(language: str = "en") -> Buyer:
        headers = {"accept-language": language, "origin": shop}
        buyers.append(Buyer(httpx.AsyncClient(base_url=shop, headers=headers, timeout=20)))
        return buyers[-1]

    yield make
    for buyer in buyers:
        await buyer.http.aclose()


@pytest.fixture
async def buyer(new_buyer: NewBuyer) -> Buyer:
    return new_buyer()


@pytest.fixture
async def stock(shop: str) -> Callable[[], Awaitable[None]]:
    """Ten free codes for every demo SKU again."""
    await demo.seed()
    return demo.seed


@pytest.fixture(scope="session")
def screenshots() -> Path:
    folder = Path(__file__).resolve().parents[2] / "build" / "screenshots"
    folder.mkdir(parents=True, exist_ok=True)
    return folder
