"""kill -9 in the middle of an import, and the memory a big one takes; each in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from core import db
from core.vault import import_service
from core.vault.import_service import Mapping
from tests.vault.conftest import in_pieces

ROOT = Path(__file__).resolve().parents[2]
START = """
import asyncio, json, resource, sys
from core import db
from core.vault import import_run, import_service, keys
from core.vault.import_run import BatchFacts, Meter
from core.vault.import_service import Mapping

async def do_import(import_id):
    facts = BatchFacts(name="from a process")
    await db.transaction(import_run.run_import, import_id, facts, None, Meter(), import_run.no_guard)

async def start(url):
    keys.use(keys.MasterKey(bytes(range(32))))
    await db.open_pool(url, size=2)
"""
IMPORT = """
async def main():
    await start(sys.argv[1])
    await do_import(int(sys.argv[2]))
    await db.close_pool()
asyncio.run(main())
"""
MEMORY = """
async def codes(prefix, lines):
    for at in range(0, lines, 1000):
        yield "".join(f"{prefix}-{n:012}-{n:04x}\\n" for n in range(at, at + 1000)).encode()

async def whole(sku_id, prefix, lines):
    import_id = await import_service.stage(1, codes(prefix, lines), "big.txt", sku_id)
    await db.transaction(import_service.begin, 1, import_id, "checking", Mapping())
    await db.transaction(import_run.run_check, import_id, Meter(), import_run.no_guard)
    await db.transaction(import_service.begin, 1, import_id, "importing")
    await do_import(import_id)
    report = await import_service.report(1, import_id)
    assert report.findings.counts.new == lines, report
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024

async def main():
    await start(sys.argv[1])
    sizes = [await whole(int(sys.argv[2]), "FIRST", 100_000), await whole(int(sys.argv[2]), "SECOND", 250_000)]
    await db.close_pool()
    print(json.dumps(sizes))
asyncio.run(main())
"""


def run(script: str, *args: str, crash_at: str = "") -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "VOUCHSAFE_CRASH_AT": crash_at or "nowhere"}
    return subprocess.run(
        [sys.executable, "-c", START + script, *args], cwd=ROOT, env=environment, capture_output=True, text=True
    )


@pytest.mark.parametrize("crash_at", ["import_chunk_stored", "import_before_commit"])
async def test_a_killed_import_leaves_nothing_and_starts_again(sku_id: int, database: str, crash_at: str) -> None:
    lines = [f"{crash_at}-{n:06}" for n in range(60_000)]
    import_id = await import_service.stage(1, in_pieces("\n".join(lines).encode()), "codes.txt", sku_id)
    await db.transaction(import_service.begin, 1, import_id, "importing", Mapping())
    killed = run(IMPORT, database, str(import_id), crash_at=crash_at)
    assert killed.returncode == -9, killed.stderr
    assert await db.fetchval("SELECT count(*) FROM vault_code WHERE sku_id = $1", sku_id) == 0
    assert await db.fetchval("SELECT count(*) FROM vault_batch WHERE sku_id = $1", sku_id) == 0
    assert (await import_service.report(1, import_id)).state == "importing"

    again = run(IMPORT, database, str(import_id))
    assert again.returncode == 0, again.stderr
    report = await import_service.report(1, import_id)
    assert report.findings is not None
    assert (report.state, report.findings.counts.new) == ("done", 60_000)
    assert await db.fetchval("SELECT count(*) FROM vault_code WHERE sku_id = $1 AND state = 'free'", sku_id) == 60_000
    once_more = run(IMPORT, database, str(import_id))
    assert once_more.returncode == 0, once_more.stderr
    assert await db.fetchval("SELECT count(*) FROM vault_code WHERE sku_id = $1", sku_id) == 60_000
    assert await db.fetchval("SELECT count(*) FROM vault_batch WHERE sku_id = $1", sku_id) == 1


async def test_memory_does_not_grow_with_the_file(sku_id: int, database: str) -> None:
    done = run(MEMORY, database, str(sku_id))
    assert done.returncode == 0, done.stderr
    small, large = json.loads(done.stdout)
    assert large - small < 40, (small, large)
