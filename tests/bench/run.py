"""`make bench`: our shop against the bare program, in turns, in the same run.

Prints a table and writes build/bench.json. Rounds alternate between the two and the medians count, because
the machine may be busy with other things; the ratio is what to look at. Only loopback is used.
"""

import argparse
import asyncio
import json
import signal
import statistics
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import uvloop

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.bench import driver
from tests.bench.driver import WrongShop
from tests.bench.shops import ROOT, Floor, Ours, Shop, Tree

MS = 1000.0


@dataclass(frozen=True)
class Sizes:
    rounds: int = 5
    c16: int = 1500
    c1: int = 300
    pages: int = 6000
    warm_up: int = 200
    seconds: float = 10.0

    @property
    def codes(self) -> int:
        return self.warm_up + self.rounds * (self.c16 + self.c1) + self.c16


SMOKE = Sizes(rounds=1, c16=32, c1=3, pages=50, warm_up=4)


@dataclass
class Results:
    """Every value measured, by measure and shop, and the CPU a purchase took, by shop and role."""

    values: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    units: dict[str, str] = field(default_factory=dict)
    cpu: dict[str, list[dict[str, float]]] = field(default_factory=dict)
    memory: dict[str, dict[str, dict[str, float]]] = field(default_factory=dict)

    def add(self, measure: str, shop: Shop, value: float, unit: str) -> None:
        self.values.setdefault(measure, {}).setdefault(shop.name, []).append(value)
        self.units[measure] = unit

    def table(self) -> dict[str, dict[str, Any]]:
        return {
            measure: compared(
                statistics.median(values["ours"]), statistics.median(values["floor"]), self.units[measure]
            )
            for measure, values in self.values.items()
        }


def compared(ours: float, floor: float, unit: str) -> dict[str, Any]:
    return {"ours": round(ours, 3), "floor": round(floor, 3), "ratio": round(ours / floor, 4), "unit": unit}


async def one_round(shop: Shop, sizes: Sizes, results: Results) -> None:
    await shop.tree.quiet()
    cpu, own = shop.tree.cpu(), time.process_time()
    load = await driver.crowd(shop.till, 16, sizes.c16, sizes.seconds)
    own = time.process_time() - own
    results.add("purchase_c16", shop, load.per_second, "purchases/s")
    results.add("callback_p99_c16", shop, MS * load.quantile("readable", 0.99), "ms")
    await shop.tree.quiet()
    used = {role: seconds - cpu.get(role, 0.0) for role, seconds in shop.tree.cpu().items()}
    results.add("purchase_cpu_c16", shop, MS * sum(used.values()) / len(load.purchases), "ms CPU/purchase")
    results.cpu.setdefault(shop.name, []).append(
        {role: MS * seconds / len(load.purchases) for role, seconds in {**used, "(driver)": own}.items()}
    )

    load = await driver.crowd(shop.till, 1, sizes.c1, sizes.seconds)
    results.add("purchase_c1", shop, load.per_second, "purchases/s")
    results.add("purchase_p50_c1", shop, MS * load.quantile("whole", 0.5), "ms")
    for part in ("place", "settle", "read"):
        results.add(f"{part}_p50_c1", shop, MS * load.quantile(part, 0.5), "ms")
    await shop.tree.quiet()

    results.add("product_page", shop, await driver.visits(shop.till, 16, sizes.pages, sizes.seconds), "requests/s")


async def memory_under_load(shop: Shop, sizes: Sizes, results: Results) -> None:
    """Apart from the timed rounds, because looking costs time."""
    load = asyncio.create_task(driver.crowd(shop.till, 16, sizes.c16, sizes.seconds))
    most: dict[str, float] = {}
    while not load.done():
        now = await asyncio.to_thread(shop.tree.memory)
        most = max(most, now, key=lambda memory: sum(memory.values()))
        await asyncio.sleep(0.2)
    await load
    results.add("memory_load", shop, sum(most.values()), "MB PSS")
    results.memory[shop.name]["load"] = most


async def measure(shops: list[Shop], sizes: Sizes, results: Results) -> None:
    for shop in shops:
        await shop.tree.quiet()
        rest = shop.tree.memory()
        results.add("memory_rest", shop, sum(rest.values()), "MB PSS")
        results.memory[shop.name] = {"rest": rest}
    for shop in shops:
        await driver.crowd(shop.till, 4, sizes.warm_up)
        await driver.visits(shop.till, 4, sizes.warm_up)
    for number in range(sizes.rounds):
        for shop in shops if number % 2 else reversed(shops):
            await one_round(shop, sizes, results)
        print(f"round {number + 1} of {sizes.rounds} done", file=sys.stderr)
    for shop in shops:
        await memory_under_load(shop, sizes, results)


def purchases(web_processes: int, sizes: Sizes, results: Results) -> None:
    codes = driver.make_codes(sizes.codes)
    shops: list[Shop] = []
    try:
        for kind in (Floor, Ours):
            shop = kind(web_processes, codes)
            shops.append(shop)
            shop.prepare()
        for shop in shops:
            for _ in range(sizes.rounds - 1):
                results.add("cold_start", shop, shop.start(), "s")
                shop.stop()
            results.add("cold_start", shop, shop.start(), "s")
        uvloop.run(measure(shops, sizes, results))
    finally:
        for shop in shops:
            shop.remove()


def show(table: dict[str, dict[str, Any]], results: Results) -> None:
    print(f"\n{'':<20}{'ours':>12}{'floor':>12}{'ratio':>8}  unit")
    for name, row in table.items():
        print(f"{name:<20}{row['ours']:>12,.2f}{row['floor']:>12,.2f}{row['ratio']:>8.2f}  {row['unit']}")
    for title, parts in (("ms CPU per purchase, 16 at once", _medians(results.cpu)), ("MB", results.memory)):
        print(f"\n{title}")
        for shop, numbers in parts.items():
            for when, by_role in numbers.items():
                text = "  ".join(f"{role} {value:.2f}" for role, value in sorted(by_role.items()))
                print(f"  {shop:<6}{when:<5} {text}")


def _medians(cpu: dict[str, list[dict[str, float]]]) -> dict[str, dict[str, dict[str, float]]]:
    return {
        shop: {"": {role: statistics.median(one.get(role, 0.0) for one in rounds) for role in rounds[0]}}
        for shop, rounds in cpu.items()
    }


def main(words: list[str] | None = None) -> int:
    options = argparse.ArgumentParser(prog="run.py", description=__doc__)
    options.add_argument(
        "--rows", type=int, default=1_000_000, help="codes to import for import_codes; 0 leaves it out"
    )
    options.add_argument(
        "--stock", type=int, default=5_000_000, help="codes in stock for purchase_stock; 0 leaves it out"
    )
    options.add_argument("--no-plugins", dest="plugins", action="store_false", help="leave purchase_plugins out")
    options.add_argument("--processes", type=int, default=1, help="web processes of both shops")
    options.add_argument("--rounds", type=int, default=Sizes.rounds)
    options.add_argument("--smoke", action="store_true", help="a few of everything: does the bench work?")
    options.add_argument("out", type=Path, nargs="?", default=ROOT / "build" / "bench.json")
    given = options.parse_args(words)
    sizes = SMOKE if given.smoke else Sizes(rounds=given.rounds)
    if given.smoke:
        Tree.patience = 0.0
    signal.signal(signal.SIGTERM, signal.default_int_handler)

    results = Results()
    try:
        purchases(given.processes, sizes, results)
        table = results.table()
        if given.rows:
            from tests.bench import import_codes

            table["import_codes"] = asyncio.run(import_codes.main(given.rows))
        if given.stock:
            from tests.bench import stock

            table["purchase_stock"] = stock.main(given.stock, given.processes, sizes.rounds, sizes.c16, sizes.warm_up)
        if given.plugins:
            from tests.bench import plugged

            table["purchase_plugins"] = plugged.main(sizes.rounds, sizes.c1, sizes.warm_up)
    except WrongShop as problem:
        print(f"bench stopped, this shop is wrong: {problem}", file=sys.stderr)
        return 1
    show(table, results)
    given.out.parent.mkdir(parents=True, exist_ok=True)
    given.out.write_text(json.dumps(table, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
