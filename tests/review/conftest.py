"""A shop whose risk rules say what a test tells them."""

import sys
from pathlib import Path

import pytest

from core import db
from core.hooks import runtime, store
from core.hooks.manager import State
from core.hooks.runtime import Runtime
from core.vault import keys

HERE = Path(__file__).resolve().parent


@pytest.fixture(scope="module")
async def plugins(pool):
    sys.path.insert(0, str(HERE))
    keys.use(keys.MasterKey(bytes(range(32))))
    plugins = Runtime(folder=HERE / "risky_plugins", package="risky_plugins", environ={})
    runtime.use(plugins)
    await plugins.start()
    yield plugins
    await plugins.close()
    sys.path.remove(str(HERE))


@pytest.fixture
def says(plugins):
    """Tell the three rules what to say: ``await says("score 40", "review 0")``."""

    async def tell(*words):
        settings = dict(zip(("one", "two", "three"), words, strict=False))
        await db.transaction(store.save, "risk.says", True, settings, {})
        await plugins.refresh()
        assert plugins.plugin("risk.says").state is State.ACTIVE, plugins.plugin("risk.says").reason

    return tell
