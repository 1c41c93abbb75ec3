"""Where a purchase's time goes: py-spy on one web process while 16 buyers buy, and PostgreSQL's statements.

`profile.py` profiles the web process, `profile.py --sql` lists the statements with what each costs a purchase
and the plan PostgreSQL would choose for it without knowing the values. `--floor` looks at the bare program.
"""

import argparse
import asyncio
import collections
import itertools
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import uvloop

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from core import engine_place
from tests.bench import driver
from tests.bench.shops import Floor, Ours, Shop

RATE = 250
PURCHASES_MOST = 30_000
OURS = ("core", "plugins", "themes")
# "2026-11-22 15:00:00 UTC [12] LOG:  duration: 0.123 ms  execute __asyncpg_stmt_5__: SELECT ..."
SPENT = re.compile(r"LOG: +duration: ([\d.]+) ms +(parse|bind|execute|statement)(?: [^:]*)?: (.*)", re.DOTALL)
NEW_LINE = re.compile(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", re.MULTILINE)


# ── Python ───────────────────────────────────────────────────────────────────────────────────────────────────


async def sample(shop: Shop, seconds: float) -> tuple[list[tuple[list[str], int]], driver.Load]:
    """Stacks of the first web process with how often each was seen."""
    pid = next(process.pid for role, process in shop.tree if role == "web")
    out = shop.home / "stacks.txt"
    await driver.crowd(shop.till, 16, 300)
    load = asyncio.create_task(driver.crowd(shop.till, 16, PURCHASES_MOST, seconds + 2))
    spy = await asyncio.create_subprocess_exec(
        str(Path(sys.executable).with_name("py-spy")),
        *("record", "--pid", str(pid), "--duration", str(int(seconds)), "--rate", str(RATE)),
        *("--format", "raw", "--nonblocking", "--output", str(out)),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    _, said = await spy.communicate()
    if not out.exists():
        raise RuntimeError(f"py-spy saw nothing: {said.decode()[-500:]}")
    stacks = []
    for line in out.read_text().splitlines():
        frames, _, count = line.rpartition(" ")
        stacks.append((frames.split(";"), int(count)))
    return stacks, await load


def package(frame: str) -> str:
    """Which package a frame `function (path:line)` belongs to; of our own code, which feature."""
    parts = function(frame).rpartition(" (")[2].rstrip(")").removesuffix(".py").split("/")
    return ".".join(parts[:3] if parts[0] == "plugins" else parts[:2]) if parts[0] in OURS else parts[0]


def function(frame: str) -> str:
    """The frame without its line number."""
    return re.sub(r":\d+\)$", ")", frame)


def show_stacks(stacks: list[tuple[list[str], int]], load: driver.Load, seconds: float, top: int) -> None:
    total = sum(count for _, count in stacks)
    tables = {title: collections.Counter[str]() for title in ("own by package", "whole by package", "own", "whole")}
    for frames, count in stacks:
        tables["own by package"][package(frames[-1])] += count
        tables["own"][function(frames[-1])] += count
        for name in {package(frame) for frame in frames}:
            tables["whole by package"][name] += count
        for name in {function(frame) for frame in frames}:
            tables["whole"][name] += count
    each = 1000 * total / RATE / (load.per_second * seconds)
    print(f"{load.per_second:.0f} purchases/s under the profiler, {each:.2f} ms busy for each")
    for title, counter in tables.items():
        print(f"\n{title}")
        for name, count in counter.most_common(top):
            print(f"  {100 * count / total:6.1f} %  {each * count / total:6.3f} ms  {name}")


# ── PostgreSQL ───────────────────────────────────────────────────────────────────────────────────────────────


def place_of(shop: Shop) -> engine_place.Place:
    return engine_place.prepare_place(shop.home, lambda text: None)


async def log_statements(shop: Shop) -> None:
    """Every statement with its time into the log of this throw-away cluster."""
    admin = await asyncpg.connect(place_of(shop).database_url.replace("vouchsafe@", "postgres@"))
    for setting in ("log_min_duration_statement = 0", "log_error_verbosity = default"):
        await admin.execute(f"ALTER SYSTEM SET {setting}")
    await admin.execute("SELECT pg_reload_conf()")
    await admin.close()


def entries(shop: Shop) -> Iterator[tuple[str, float, str]]:
    for log in sorted((place_of(shop).folder / "logs").glob("postgres-*.log")):
        text = log.read_text(errors="replace")
        starts = [match.start() for match in NEW_LINE.finditer(text)] + [len(text)]
        for begin, end in itertools.pairwise(starts):
            if found := SPENT.search(text[begin:end]):
                yield found[2], float(found[1]), " ".join(found[3].split())


async def statements(shop: Shop, purchases: int, top: int) -> None:
    await driver.crowd(shop.till, 16, 200)
    await shop.tree.quiet()
    await log_statements(shop)
    load = await driver.crowd(shop.till, 4, purchases)
    await shop.tree.quiet()
    spent: dict[str, float] = collections.defaultdict(float)
    planned: dict[str, float] = collections.defaultdict(float)
    calls: dict[str, int] = collections.defaultdict(int)
    for phase, ms, text in entries(shop):
        spent[text] += ms
        planned[text] += ms * (phase in ("parse", "bind"))
        calls[text] += phase in ("execute", "statement")
    made = len(load.purchases)
    print(f"{sum(spent.values()) / made:.2f} ms of statements a purchase ({sum(calls.values()) / made:.1f} of them)\n")
    for text, ms in sorted(spent.items(), key=lambda item: -item[1])[:top]:
        print(f"{ms / made:7.3f} ms, to plan {planned[text] / made:6.3f}  {calls[text] / made:6.2f} x  {text[:150]}")
        for line in whole_reads(place_of(shop), text):
            print(f"{'':20} !! {line}")


def whole_reads(place: engine_place.Place, text: str) -> list[str]:
    """Lines of the plan that read a whole table or index."""
    psql = [place.postgres_bin / "psql", "-XAtq", place.database_url, "-c", f"EXPLAIN (GENERIC_PLAN) {text}"]
    plan = subprocess.run(psql, capture_output=True, text=True, stdin=subprocess.DEVNULL).stdout.splitlines()
    return [
        line.strip()
        for line, after in zip(plan, [*plan[1:], ""], strict=False)
        if "Seq Scan" in line or (" Scan using " in line and "Index Cond" not in after)
    ]


def main() -> None:
    options = argparse.ArgumentParser(prog="profile.py", description=__doc__)
    options.add_argument("--floor", action="store_true")
    options.add_argument("--sql", action="store_true")
    options.add_argument("--seconds", type=float, default=8)
    options.add_argument("--top", type=int, default=40)
    given = options.parse_args()
    shop = (Floor if given.floor else Ours)(1, driver.make_codes(PURCHASES_MOST + 1000))
    try:
        shop.prepare()
        shop.start()
        if given.sql:
            uvloop.run(statements(shop, 500, given.top))
        else:
            show_stacks(*uvloop.run(sample(shop, given.seconds)), given.seconds, given.top)
    finally:
        shop.remove()


if __name__ == "__main__":
    main()
