"""The bench works and stops at a wrong shop. It says nothing about speed."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.bench import driver
from tests.bench.shops import ROOT, Floor

MEASURES = {
    "product_page",
    "purchase_c1",
    "purchase_c16",
    "purchase_p50_c1",
    "callback_p99_c16",
    "memory_rest",
    "memory_load",
    "cold_start",
    "import_codes",
    "purchase_stock",
    "purchase_plugins",
}


@pytest.fixture(scope="module")
def floor() -> Iterator[Floor]:
    shop = Floor(1, driver.make_codes(30))
    try:
        shop.prepare()
        shop.start()
        yield shop
    finally:
        shop.remove()


def test_a_whole_run_writes_every_measure(tmp_path: Path) -> None:
    out = tmp_path / "bench.json"
    command = [sys.executable, "tests/bench/run.py", "--smoke", "--rows", "2000", "--stock", "12000", str(out)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    table = json.loads(out.read_text())
    assert table.keys() >= MEASURES
    for row in table.values():
        assert row.keys() >= {"ours", "floor", "ratio", "unit"}
        assert row["ours"] > 0 and row["floor"] > 0


async def test_every_purchase_gets_a_code_of_its_own(floor: Floor) -> None:
    before = len(floor.till.sold)
    load = await driver.crowd(floor.till, 4, 10)
    assert len(load.purchases) == 10
    assert len(floor.till.sold) - before == 10
    assert floor.till.sold.keys() <= set(floor.codes)


async def test_a_code_that_was_never_imported_stops_the_bench(floor: Floor) -> None:
    till = driver.Till("stranger", floor.till.url, floor.till.sku, set(), floor.till.pid, floor.till.key)
    with pytest.raises(driver.WrongShop, match="a code nobody imported"):
        await driver.crowd(till, 1, 1)


async def test_a_callback_with_a_wrong_signature_stops_the_bench(floor: Floor) -> None:
    till = driver.Till("forged", floor.till.url, floor.till.sku, set(floor.codes), floor.till.pid, "another key")
    with pytest.raises(driver.WrongShop, match="callback"):
        await driver.crowd(till, 1, 1)


def test_a_code_given_twice_stops_the_bench() -> None:
    (code,) = driver.make_codes(1)
    till = driver.Till("twice", "", "", {code}, "", "")
    till.take(code, "first")
    with pytest.raises(driver.WrongShop, match="first and second"):
        till.take(code, "second")
