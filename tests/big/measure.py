"""How long the pages of a very large shop take: ``python -m tests.big.measure [--orders N] [--codes N]``.

A shop is made in a folder of its own, filled, opened behind a real web server, and asked N times for each page. Told
are the median and the longest time of each page, and the statements that took longest.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from core import db, embedded
from core.config import Config
from core.vault import keys
from core.web import lists
from tests.big.seed import Size, code, seed
from tests.console import Staff, running, signed_in

CONSOLE_MS = 150
STOREFRONT_MS = 30
STOREFRONT = ("/", "/c/c7", "/p/big-777", "/?q=777", "/?q=card")


@dataclass(frozen=True)
class Asked:
    path: str
    most: float
    form: dict[str, str] | None = None


def pages() -> list[Asked]:
    """Every list bare, with each of its choices, sorts and the search; pages of the shop window."""
    found = []
    for one in lists.known().values():
        if one.name == "offers":
            continue
        queries = [f"sort=-{column.key}" for column in one.columns if column.sort]
        queries += [
            f"{choice.name}={value}"
            for choice in one.filters
            if isinstance(choice, lists.Choice) and not callable(choice.options)
            for value in list(choice.options)[:3]
        ]
        queries += ["size=200", "page=100", "q=VBIG777", "q=b31@example.com", "q=nothing-at-all"]
        found += [Asked(one.path, CONSOLE_MS), *(Asked(f"{one.path}?{query}", CONSOLE_MS) for query in queries)]
    found += [
        Asked(f"/admin/orders?{query}", CONSOLE_MS)
        for query in ("q=PBIG777", "q=G777", "q=S771", "sku=BIG-1", "sku=BIG-77", "method=stripe&since=2026-10-01")
    ]
    found += [Asked("/admin/products?q=777", CONSOLE_MS), Asked("/admin/supply/big", CONSOLE_MS)]
    found += [Asked("/admin/supply/big?q=777", CONSOLE_MS), Asked("/admin/orders/VBIG777", CONSOLE_MS)]
    found += [Asked(f"/admin/{path}", CONSOLE_MS) for path in ("insight", "books", "books/account?account=revenue")]
    found += [Asked("/admin", CONSOLE_MS), Asked("/admin/search?q=VBIG777", CONSOLE_MS)]
    found += [Asked("/admin/search", CONSOLE_MS, {"q": text}) for text in ("b31@example.com", "777", code(1, 1))]
    found += [Asked(path, STOREFRONT_MS) for path in STOREFRONT]
    return found


async def measure(staff: Staff, asked: Asked, times: int) -> list[float]:
    taken = []
    for _ in range(times + 1):
        began = time.perf_counter()
        if asked.form is None:
            answer = await staff.http.get(asked.path)
        else:
            answer = await staff.http.post(asked.path, data={**asked.form, "csrf": staff.csrf})
        taken.append((time.perf_counter() - began) * 1000)
        assert answer.status_code in (200, 422, 303), (asked.path, answer.status_code)
    return taken[1:]


async def slowest(limit: int = 15) -> list[str]:
    rows = await db.fetch(
        "SELECT mean_exec_time, calls, query FROM pg_stat_statements WHERE calls > 2"
        " ORDER BY mean_exec_time DESC LIMIT $1",
        limit,
    )
    return [
        f"{row['mean_exec_time']:8.1f} ms × {row['calls']:5}  {' '.join(row['query'].split())[:200]}" for row in rows
    ]


async def main(config: Config, size: Size, times: int) -> int:
    await db.open_pool(str(config.database_url), size=2)
    await db.migrate()
    await db.close_pool()
    async with running(str(config.database_url), str(config.redis_url), config.home) as address:
        if not await db.fetchval("SELECT EXISTS (SELECT 1 FROM orders_order WHERE ref = 'VBIG1')"):
            await seed(size, print)
            await db.execute("UPDATE shops_shop SET test_mode = false")
        late = 0
        async with signed_in(address) as staff:
            for asked in pages():
                taken = await measure(staff, asked, times)
                median = statistics.median(taken)
                late += median > asked.most
                mark = "  <-- too slow" if median > asked.most else ""
                print(
                    f"{median:8.1f} ms  longest {max(taken):8.1f}  {asked.path}{' (posted)' * bool(asked.form)}{mark}"
                )
        print(f"\n{late} pages are too slow")
        return late


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--orders", type=int, default=Size.orders)
    parser.add_argument("--products", type=int, default=Size.products)
    parser.add_argument("--codes", type=int, default=Size.codes)
    parser.add_argument("--times", type=int, default=7)
    parser.add_argument("--home", type=Path, help="keep the shop in this folder and use it again")
    return parser.parse_args()


if __name__ == "__main__":
    given = arguments()
    home = given.home or Path(tempfile.mkdtemp(prefix="vouchsafe-big-"))
    home.mkdir(exist_ok=True)
    home.chmod(0o755)
    engines = embedded.Engines(home, say=lambda _text: None)
    engines.start()
    try:
        environ = {
            **{name: value for name, value in os.environ.items() if name == "PATH"},
            "VOUCHSAFE_HOME": str(home),
            "DATABASE_URL": engines.place.database_url,
            "REDIS_URL": engines.place.redis_url,
            "VOUCHSAFE_MASTER_KEY": "00" * 32,
        }
        config = Config.from_env(environ)
        keys.use(keys.load(config)[0])
        sys.exit(asyncio.run(main(config, Size(given.orders, given.products, given.codes), given.times)) > 0)
    finally:
        engines.stop()
        if given.home is None:
            shutil.rmtree(home, ignore_errors=True)
