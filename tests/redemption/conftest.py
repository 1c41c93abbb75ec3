"""A shop with a vault, and nothing else running."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from core.vault import keys


@pytest.fixture(scope="module")
async def vault(pool: None) -> AsyncIterator[None]:
    keys.use(keys.MasterKey(bytes(range(32))))
    yield
