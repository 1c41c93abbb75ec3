"""A vault with a key, and an SKU to bring codes to."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Iterator

import pytest

from core import db
from core.vault import keys

_numbers = itertools.count(1)


@pytest.fixture(scope="module", autouse=True)
def master_key() -> Iterator[keys.MasterKey]:
    master = keys.MasterKey(bytes(range(32)))
    keys.use(master)
    yield master


@pytest.fixture
async def sku_id(pool: None) -> int:
    """A new SKU of the main shop."""
    return await new_sku()


async def new_sku() -> int:
    number = next(_numbers)
    product_id = await db.fetchval(
        "INSERT INTO catalog_product (shop_id, slug, title) VALUES (1, $1, '{}') RETURNING id", f"product-{number}"
    )
    return await db.fetchval(
        "INSERT INTO catalog_sku (shop_id, product_id, code, title, price, currency)"
        " VALUES (1, $1, $2, '{}', 100, 'CNY') RETURNING id",
        product_id,
        f"SKU-{number}",
    )


async def in_pieces(data: bytes, size: int = 60_000) -> AsyncIterator[bytes]:
    for at in range(0, len(data), size):
        yield data[at : at + size]
