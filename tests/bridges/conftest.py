from collections.abc import AsyncIterator

import pytest

from tests import console
from tests.console import Staff


@pytest.fixture(scope="module")
async def address(database: str, redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    async with console.running(database, redis_url, tmp_path_factory.mktemp("home")) as address:
        yield address


@pytest.fixture
async def staff(address: str) -> AsyncIterator[Staff]:
    async with console.signed_in(address) as staff:
        yield staff
