"""A fake EPay gateway, and plugin contexts as the shop makes them."""

import logging
import os
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import pytest

from core import clock
from core.api import Attempt, CallbackRequest, Money, PluginContext, PluginHttp
from core.hooks.database import PluginDb
from core.hooks.http import AllowedHosts
from core.vault import keys
from core.web.i18n import _
from tests.gateways.running import FakeEpay, fake_epay

SHOP = "http://127.0.0.1:9"


@pytest.fixture(scope="session")
def the_gateway() -> Iterator[FakeEpay]:
    with fake_epay() as gateway:
        yield gateway


@pytest.fixture
def gateway(the_gateway: FakeEpay) -> FakeEpay:
    """The fake EPay gateway, healthy again."""
    the_gateway.script()
    return the_gateway


@pytest.fixture(scope="module")
def master_key() -> None:
    keys.use(keys.MasterKey(os.urandom(keys.KEY_BYTES)))


MakeContext = Callable[..., PluginContext[Any]]


@pytest.fixture
async def context(master_key: None) -> Any:
    opened: list[PluginHttp] = []

    def make(plugin: str, settings: Any = None, currency: str = "CNY") -> PluginContext[Any]:
        http = PluginHttp(plugin, allowed=AllowedHosts(["127.0.0.0/8"]))
        opened.append(http)
        return PluginContext(
            plugin=plugin,
            settings=settings,
            http=http,
            db=PluginDb(plugin),
            clock=clock,
            log=logging.getLogger(f"vouchsafe.plugins.{plugin}"),
            base_url=SHOP,
            currency=currency,
            test_mode=True,
            translate=_,
        )

    yield make
    for http in opened:
        await http.close()


def an_attempt(ref: str, method: str = "epay", **changes: Any) -> Attempt:
    now = datetime.now(UTC)
    facts: dict[str, Any] = {
        "ref": ref,
        "order_ref": ref.partition("-")[0],
        "amount": Money(100, "CNY"),
        "title": "VIP会员",
        "option": "alipay" if method == "epay" else "",
        "locale": "zh-CN",
        "client_ip": "203.0.113.7",
        "device": "pc",
        "notify_url": f"{SHOP}/pay/{method}/notify",
        "return_url": f"{SHOP}/pay/{method}/return?order={ref.partition('-')[0]}",
        "created_at": now,
        "expires_at": now + timedelta(minutes=15),
    }
    return Attempt(**{**facts, **changes})


def a_call(address: str, method: str = "GET", body: bytes = b"") -> CallbackRequest:
    """What the shop's door hands to a method when ``address`` is called."""
    return CallbackRequest(method, urlsplit(address).query.encode(), body, {}, "198.51.100.1")
