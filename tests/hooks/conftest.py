"""A runtime on the plugins that are broken on purpose, and the decisions of an operator in the database."""

import sys
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from core import db
from core.hooks import store
from core.hooks.runtime import Runtime
from core.hooks.views import LineToCheck, OrderToCheck
from core.money import Money
from core.vault import keys

TESTS = Path(__file__).resolve().parent.parent
BROKEN = TESTS / "plugins_broken"


@pytest.fixture(autouse=True, scope="session")
def broken_plugins_can_be_imported() -> Iterator[None]:
    sys.path.insert(0, str(TESTS))
    yield
    sys.path.remove(str(TESTS))


@pytest.fixture(autouse=True, scope="module")
def vault_key() -> None:
    keys.use(keys.MasterKey(b"k" * 32))


@pytest.fixture
async def operator(pool: None) -> "Operator":
    await db.execute("DELETE FROM hooks_plugin")
    await db.execute("UPDATE shops_shop SET test_mode = true, currency = 'CNY'")
    return Operator()


class Operator:
    """Decides about plugins as another process of the same shop would."""

    async def enables(self, *plugins: str) -> None:
        for plugin in plugins:
            await db.transaction(store.enable, plugin, True)

    async def disables(self, plugin: str) -> None:
        await db.transaction(store.enable, plugin, False)

    async def saves(self, plugin: str, settings: dict[str, Any], secrets: dict[str, str]) -> None:
        await db.transaction(store.save, plugin, True, settings, secrets)


StartRuntime = Callable[..., Awaitable[Runtime]]


@pytest.fixture
async def start(operator: Operator) -> Any:
    """Enable these plugins and give the started runtime."""
    started: list[Runtime] = []

    async def make(*enabled: str, **options: Any) -> Runtime:
        await operator.enables(*enabled)
        options = {"environ": {}, "base_url": "https://shop.example", **options}
        runtime = Runtime(folder=BROKEN, package="plugins_broken", **options)
        started.append(runtime)
        await runtime.start()
        return runtime

    yield make
    for runtime in started:
        await runtime.close()


class NoHistory:
    async def by_contact(self, since: Any) -> int:
        return 0

    async def by_address(self, since: Any) -> int:
        return 0


@pytest.fixture
def order() -> OrderToCheck:
    price = Money(1990, "CNY")
    return OrderToCheck(
        contact="buyer@example.com",
        contact_kind="email",
        ip="203.0.113.7",
        agent="Mozilla",
        locale="en",
        total=price,
        lines=(LineToCheck("SKU-1", "A month", 1, price, price, price),),
        answers={},
        history=NoHistory(),
    )
