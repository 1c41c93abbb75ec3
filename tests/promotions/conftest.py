import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from core import db
from core.hooks import runtime, store
from core.vault import keys

HERE = Path(__file__).resolve().parent


@pytest.fixture(scope="module", autouse=True)
def unlocked() -> Iterator[None]:
    keys.use(keys.MasterKey(bytes(range(32))))
    sys.path.insert(0, str(HERE))
    yield
    sys.path.remove(str(HERE))


async def running(plugins: runtime.Runtime, *ids: str) -> runtime.Runtime:
    """These plugins are on, and no others."""
    runtime.use(plugins)
    await plugins.start()
    for one in plugins.plugins:
        await db.transaction(store.enable, one.id, one.id in ids)
    await plugins.refresh()
    assert {one.id: str(one.reason) for one in plugins.plugins if one.state == "active" or one.reason} == dict.fromkeys(
        ids, ""
    )
    return plugins


@pytest.fixture(scope="module")
async def coupon_plugin(pool: None) -> AsyncIterator[runtime.Runtime]:
    plugins = await running(runtime.Runtime(), "promotions.coupon")
    yield plugins
    await plugins.close()


@pytest.fixture(scope="module")
async def moody_plugin(pool: None) -> AsyncIterator[runtime.Runtime]:
    plugins = await running(runtime.Runtime(folder=HERE / "odd", package="odd"), "promotions.moody")
    yield plugins
    await plugins.close()
