from collections.abc import Iterator

import pytest

from core.hooks import runtime
from core.vault import keys


@pytest.fixture(scope="module", autouse=True)
def unlocked() -> Iterator[None]:
    keys.use(keys.MasterKey(bytes(range(32))))
    yield


@pytest.fixture(scope="module", autouse=True)
async def plugins(pool) -> None:
    plugins = runtime.Runtime(safe_mode=True)
    runtime.use(plugins)
    await plugins.start()
