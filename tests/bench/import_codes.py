"""`import_codes`: a file of codes into stock, against bare AES-GCM and COPY on the same machine.

Ours is everything an import does: sealing the upload, reading it, fingerprints, sealing each code, duplicates,
all indexes. The floor encrypts the same codes and copies rows as wide as ours into a table with nothing but a primary
key; what stands for a fingerprint there is random. Both begin each round with an empty table.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import asyncpg
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from core import db, embedded
from core.vault import import_run, import_service, keys
from core.vault.import_copy import COLUMNS
from core.vault.import_run import BatchFacts, Meter

ROUNDS = 3


async def main(rows: int) -> dict[str, Any]:
    """Codes a second, ours and the floor, medians of rounds in turn; starts a PostgreSQL of its own."""
    os.environ["PICCOLO_CONF"] = "core.piccolo_conf"
    with tempfile.TemporaryDirectory(prefix="vouchsafe-bench-") as name:
        home = Path(name)
        home.chmod(0o711)
        engines = embedded.Engines(home)
        await asyncio.to_thread(engines.start)
        try:
            return await _rounds(engines.place.database_url, rows)
        finally:
            await asyncio.to_thread(engines.stop)


async def _rounds(url: str, rows: int) -> dict[str, Any]:
    keys.use(keys.MasterKey(os.urandom(32)))
    await db.open_pool(url, size=4)
    bare = await asyncpg.connect(url)
    ours, floor = [], []
    try:
        await db.migrate()
        sku_id = await _sku()
        for _ in range(ROUNDS):
            floor.append(rows / await _floor(bare, _codes(rows)))
            ours.append(rows / await _ours(sku_id, _codes(rows)))
            await bare.execute("TRUNCATE vault_code CASCADE")
    finally:
        await bare.close()
        await db.close_pool()
    x, y = statistics.median(ours), statistics.median(floor)
    return {"ours": round(x), "floor": round(y), "ratio": round(x / y, 3), "unit": "codes/s"}


async def _sku() -> int:
    product_id = await db.fetchval(
        "INSERT INTO catalog_product (shop_id, slug, title) VALUES (1, 'bench', '{}') RETURNING id"
    )
    return await db.fetchval(
        "INSERT INTO catalog_sku (shop_id, product_id, code, title, price, currency)"
        " VALUES (1, $1, 'BENCH', '{}', 100, 'CNY') RETURNING id",
        product_id,
    )


def _codes(rows: int) -> list[str]:
    text = secrets.token_hex(8 * rows).upper()
    return ["-".join((text[i : i + 4], text[i + 4 : i + 8], text[i + 8 : i + 16])) for i in range(0, 16 * rows, 16)]


async def _floor(connection: asyncpg.Connection, codes: list[str]) -> float:
    started = time.perf_counter()
    await connection.execute("DROP TABLE IF EXISTS bare_code")
    await connection.execute("CREATE TABLE bare_code (LIKE vault_code INCLUDING DEFAULTS, PRIMARY KEY (id))")
    key = AESGCM(os.urandom(32))

    def rows() -> Iterator[tuple[int, int, int, int, int, bytes, bytes, str]]:
        for number, code in enumerate(codes):
            nonce = os.urandom(12)
            blob = nonce + key.encrypt(nonce, code.encode(), b"%d" % number)
            yield 1, 1, 1, number, number, os.urandom(32), blob, code[-4:]

    await connection.copy_records_to_table("bare_code", records=rows(), columns=COLUMNS)
    return time.perf_counter() - started


async def _ours(sku_id: int, codes: list[str]) -> float:
    file = "\n".join(codes).encode()
    started = time.perf_counter()
    import_id = await import_service.stage(1, _pieces(file), "codes.txt", sku_id)
    mapping = (await import_service.preview(1, import_id)).mapping
    await db.transaction(import_service.begin, 1, import_id, "importing", mapping)
    facts = BatchFacts(name="bench")
    await db.transaction(import_run.run_import, import_id, facts, None, Meter(), import_run.no_guard)
    seconds = time.perf_counter() - started
    stored = (await import_service.report(1, import_id)).findings
    if stored is None or stored.counts.new != len(codes):
        raise RuntimeError("the import did not take every code")
    return seconds


async def _pieces(file: bytes) -> AsyncIterator[bytes]:
    for at in range(0, len(file), 1 << 16):
        yield file[at : at + (1 << 16)]


if __name__ == "__main__":
    print(asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 200_000)))
