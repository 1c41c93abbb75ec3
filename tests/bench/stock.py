"""`purchase_stock`: purchases a second with a big stock against the same shop with a small one, in turns."""

import statistics
from typing import Any

import uvloop

from tests.bench import driver
from tests.bench.shops import Ours, Shop

SMALL = 10_000


def main(codes: int, web_processes: int, rounds: int, purchases: int, warm_up: int) -> dict[str, Any]:
    """Medians of the rounds: ``ours`` is the big stock, ``floor`` the small one."""
    small = max(SMALL, warm_up + rounds * purchases)
    shops = [Ours(web_processes, driver.make_codes(count)) for count in (small, max(codes, small))]
    try:
        for shop in shops:
            shop.open()
        speeds = uvloop.run(_measure(shops, rounds, purchases, warm_up))
    finally:
        for shop in shops:
            shop.remove()
    few, many = (statistics.median(speed) for speed in speeds)
    return {"ours": round(many, 1), "floor": round(few, 1), "ratio": round(many / few, 3), "unit": "purchases/s"}


async def _measure(shops: list[Ours], rounds: int, purchases: int, warm_up: int) -> list[list[float]]:
    for shop in shops:
        await driver.crowd(shop.till, 4, warm_up)
    speeds: list[list[float]] = [[] for _ in shops]
    for number in range(rounds):
        for at, shop in list(enumerate(shops))[:: 1 if number % 2 else -1]:
            speeds[at].append(await _round(shop, purchases))
    return speeds


async def _round(shop: Shop, purchases: int) -> float:
    await shop.tree.quiet()
    return (await driver.crowd(shop.till, 16, purchases)).per_second
