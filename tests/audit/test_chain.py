"""The audit log cannot be changed unseen: each way to try it, as the database's superuser, and what the doctor says."""

import asyncio
import base64
import hashlib
import json
import os
import subprocess
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import asyncpg
import pytest

from core import db
from core.admin.doctor import MAY_CHANGE
from core.admin.jobs import PURPOSE
from core.audit import chain, owner, service
from core.audit.chain import Checkpoint, Verdict
from core.config import Config
from core.vault import keys
from core.vault.signing import Signer, is_signed
from tests import warm
from tests.conftest import TestEngines

ROOT = Path(__file__).resolve().parents[2]
TABLES = ("audit_entry", "audit_link", "audit_checkpoint")
MASTER_KEY = bytes(range(32))

Sql = Callable[[str], str]


@pytest.fixture
def superuser(engines: TestEngines) -> TestEngines:
    url = engines.database_url.replace("//vouchsafe@", "//postgres@")
    assert url != engines.database_url
    return replace(engines, database_url=url)


@pytest.fixture
def sql(superuser: TestEngines, database: str) -> Sql:
    """As a superuser who takes the triggers off first, and puts them back afterwards."""
    name = urlsplit(database).path[1:]

    def run(statement: str) -> str:
        off = "".join(f"ALTER TABLE {table} DISABLE TRIGGER ALL;" for table in TABLES)
        on = "".join(f"ALTER TABLE {table} ENABLE TRIGGER ALL;" for table in TABLES)
        always = "".join(
            f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER {table}_{what};"
            for table in TABLES
            for what in ("append_only", "not_emptied")
        )
        return superuser.sql(f"{off}{statement};{on}{always}", name)

    return run


@pytest.fixture
async def log(pool: None, sql: Sql, tmp_path: Path) -> AsyncIterator[Path]:
    """Ten entries in the chain, two checkpoints, and where these are kept."""
    keys.use(keys.MasterKey(MASTER_KEY))
    sql("TRUNCATE audit_checkpoint, audit_link, audit_entry RESTART IDENTITY")
    file = chain.checkpoint_file(tmp_path)
    for count in (6, 4):
        for number in range(count):
            await written(f"order:{number}", {"note": "ä", "n": number}, ip="2001:db8::1" if number % 2 else None)
        assert await chain.extend() == count
        await chain.sign_checkpoint(Signer(PURPOSE), file)
    yield file


async def written(object: str, detail: dict[str, object] | None = None, ip: str | None = None) -> None:
    async def write(tx: db.Tx) -> None:
        await service.record(tx, "staff:1", "order.looked_at", object, detail, shop_id=1, ip=ip)

    await db.transaction(write)


async def verdict(file: Path) -> Verdict:
    lines = file.read_text().splitlines() if file.exists() else []
    return await chain.look_over(lines, is_signed, Signer(PURPOSE).public_key)


async def test_a_log_nobody_touched_is_whole(log: Path) -> None:
    assert await verdict(log) == Verdict(10, 4)
    assert await chain.extend() == 0
    assert await chain.sign_checkpoint(Signer(PURPOSE), log) is None
    assert (log.stat().st_mode & 0o777, log.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    await written("order:late")
    assert await verdict(log) == Verdict(10, 4)  # it has its place within half a minute, not at once
    assert await chain.extend() == 1
    assert await verdict(log) == Verdict(11, 4)


async def test_the_hashes_are_what_the_guide_says(log: Path) -> None:
    rows = await db.fetch(chain.LINKS, 0, 2)
    first, second = rows
    facts = [1, 1, first["at"].isoformat(timespec="microseconds"), "staff:1", "order.looked_at", "order:0"]
    text = json.dumps([*facts, '{"n": 0, "note": "ä"}', None, None], separators=(",", ":"))
    row = hashlib.sha256(text.encode()).digest()
    assert first["row_hash"] == row
    assert first["hash"] == hashlib.sha256((1).to_bytes(8, "big") + bytes(32) + row).digest()
    assert second["hash"] == hashlib.sha256((2).to_bytes(8, "big") + first["hash"] + second["row_hash"]).digest()


SWAP_LINKS = """
UPDATE audit_link SET entry_id = -entry_id WHERE position IN (4, 5);
UPDATE audit_link a SET entry_id = -b.entry_id, row_hash = b.row_hash FROM audit_link b
WHERE (a.position, b.position) IN ((4, 5), (5, 4))
"""


@pytest.mark.parametrize(
    ("harm", "words", "whole"),
    [
        ("UPDATE audit_entry SET actor = 'staff:2' WHERE id = 3", "entry 3 at position 3 was altered", 2),
        ("UPDATE audit_entry SET detail = '{}' WHERE id = 10", "entry 10 at position 10 was altered", 9),
        ("UPDATE audit_entry SET at = at + interval '1 us' WHERE id = 1", "entry 1 at position 1 was altered", 0),
        ("UPDATE audit_entry SET request_id = '' WHERE id = 2", "entry 2 at position 2 was altered", 1),
        ("UPDATE audit_entry SET ip = NULL WHERE id = 2", "entry 2 at position 2 was altered", 1),
        ("DELETE FROM audit_entry WHERE id = 7", "entry 7 at position 7 is missing", 6),
        ("DELETE FROM audit_link WHERE entry_id = 7; DELETE FROM audit_entry WHERE id = 7",
         "the link at position 7 is missing", 6),
        (SWAP_LINKS, "entry 5 at position 4 does not follow the one before it", 3),
        ("DELETE FROM audit_link WHERE position > 8; DELETE FROM audit_checkpoint;"
         " DELETE FROM audit_entry WHERE id > 8",
         "the log ends at position 8, but a checkpoint was signed at 10: its end was cut off", 8),
        ("TRUNCATE audit_checkpoint, audit_link, audit_entry",
         "the log ends at position 0, but a checkpoint was signed at 10: its end was cut off", 0),
        ("UPDATE audit_checkpoint SET hash = sha256('x') WHERE position = 6",
         "the checkpoint at position 6 was not signed by this shop", 0),
        ("INSERT INTO audit_entry (id, actor, act, object, at) OVERRIDING SYSTEM VALUE"
         " VALUES (-5, 'staff:1', 'x', 'x', now() - interval '1 day')", "entry -5 has no place in the chain", 10),
    ],
    ids=lambda value: value[:40] if isinstance(value, str) else "",
)  # fmt: skip
async def test_the_first_broken_row_is_named(log: Path, sql: Sql, harm: str, words: str, whole: int) -> None:
    sql(harm)
    found = await verdict(log)
    assert (found.broken, found.entries) == (words, whole)


async def test_a_chain_made_anew_does_not_fit_what_was_signed(log: Path, sql: Sql) -> None:
    """Whoever owns the database can compute every hash again, but not the signatures in the file."""
    sql("UPDATE audit_entry SET actor = 'system' WHERE id = 2; TRUNCATE audit_link, audit_checkpoint")
    assert await chain.extend() == 10
    assert (await verdict(log)).broken == ("the log up to entry 6 at position 6 is not the one that was signed")
    log.unlink()  # without the file nobody can know
    assert await verdict(log) == Verdict(10, 0)


async def test_a_checkpoint_of_somebody_else_or_a_damaged_file(log: Path) -> None:
    good = log.read_text()
    point = Checkpoint.read(good.splitlines()[0])
    keys.use(keys.MasterKey(b"i" * 32))
    intruder = Signer(PURPOSE)
    keys.use(keys.MasterKey(MASTER_KEY))
    forged = Checkpoint(point.position, point.hash, point.at, intruder.public_key, intruder.sign(point.signed_text()))
    for line in (forged.line(), point.line().replace(point.signature.hex(), bytes(64).hex())):
        log.write_text(line + "\n")
        assert (await verdict(log)).broken == "the checkpoint at position 6 was not signed by this shop"
    for text in ("{}", "[1]", good[:-40]):
        log.write_text(text)
        assert (await verdict(log)).broken == "the checkpoint file holds a line that is no checkpoint"


async def test_many_write_and_two_chain_at_once_and_each_entry_has_one_place(log: Path) -> None:
    async def act(number: int) -> None:
        await written(f"order:{number}")
        if number % 10 == 0:
            await chain.extend()

    await asyncio.gather(*(act(number) for number in range(100)))
    await chain.extend()
    assert await verdict(log) == Verdict(110, 4)
    assert await db.fetchval("SELECT count(DISTINCT entry_id) FROM audit_link") == 110


async def test_a_transaction_that_ends_late_gets_a_later_place(log: Path, database: str) -> None:
    late = await asyncpg.connect(database)
    open_transaction = late.transaction()
    await open_transaction.start()
    await late.execute("INSERT INTO audit_entry (actor, act, object) VALUES ('system', 'a.b', 'late')")
    await written("order:early")
    assert await chain.extend() == 1
    await open_transaction.commit()
    await late.close()
    assert await chain.extend() == 1
    order = await db.fetch("SELECT entry_id FROM audit_link WHERE position > 10 ORDER BY position")
    assert [row["entry_id"] for row in order] == [12, 11]
    assert await verdict(log) == Verdict(12, 4)


@pytest.mark.parametrize("table", TABLES)
async def test_triggers_refuse_every_change(log: Path, table: str, database: str) -> None:
    """Also to a superuser, and also where other triggers are off."""
    connection = await asyncpg.connect(database.replace("//vouchsafe@", "//postgres@"))
    column = "actor" if table == "audit_entry" else "position"
    for role in ("origin", "replica"):
        await connection.execute(f"SET session_replication_role = {role}")
        for change in (f"UPDATE {table} SET {column} = DEFAULT", f"DELETE FROM {table}", f"TRUNCATE {table} CASCADE"):
            with pytest.raises(asyncpg.CheckViolationError, match="append only"):
                await connection.execute(change)
    await connection.close()
    assert await verdict(log) == Verdict(10, 4)


def hand_over() -> str:
    """The statements of the guide."""
    text = (ROOT / "docs/operator.md").read_text()
    return text.partition("## Audit\n")[2].partition("```sql\n")[2].partition("```")[0]


CHANGES = """
UPDATE {table} SET {column} = DEFAULT
DELETE FROM {table}
TRUNCATE {table} CASCADE
DROP TABLE {table} CASCADE
ALTER TABLE {table} DISABLE TRIGGER ALL
DROP TRIGGER {table}_append_only ON {table}
CREATE OR REPLACE FUNCTION audit_append_only() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'
DROP SCHEMA public CASCADE
SET ROLE vouchsafe_audit
"""


def test_the_guide_and_the_embedded_engine_hand_over_alike() -> None:
    assert hand_over() == owner.HAND_OVER.format(role="shop")


@pytest.fixture
async def handed_over(engines: TestEngines, superuser: TestEngines, database: str, log: Path) -> AsyncIterator[Config]:
    """The embedded engine as a shop has it after its first start."""
    sockets = parse_qs(urlsplit(database).query)["host"][0]
    home = log.parent.parent
    (home / "engines").mkdir()
    (home / "engines" / "sockets").symlink_to(sockets)
    config = Config.from_env({"VOUCHSAFE_HOME": str(home), "DATABASE_URL": database})
    assert await owner.hand_over(config) is True
    assert await owner.hand_over(config) is False
    yield config
    superuser.sql(
        "REASSIGN OWNED BY vouchsafe_audit TO vouchsafe; ALTER SCHEMA public OWNER TO pg_database_owner;"
        " DROP OWNED BY vouchsafe_audit; DROP ROLE vouchsafe_audit",
        urlsplit(database).path[1:],
    )


async def test_after_the_hand_over_the_role_of_the_shop_can_only_add(handed_over: Config, log: Path) -> None:
    await written("order:after")
    assert await chain.extend() == 1
    await chain.sign_checkpoint(Signer(PURPOSE), log)
    assert await verdict(log) == Verdict(11, 6)
    await db.execute("CREATE TABLE a_later_table (id int)")
    await db.execute("DROP TABLE a_later_table")
    for table in TABLES:
        column = "actor" if table == "audit_entry" else "position"
        for change in CHANGES.strip().format(table=table, column=column).splitlines():
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await db.execute(change)
    row = await db.fetchrow(MAY_CHANGE)
    assert row is not None
    assert dict(row) == {"super": False, "owner": False}
    assert await verdict(log) == Verdict(11, 6)


async def test_the_role_of_the_shop_still_dumps_all_of_it(engines: TestEngines, handed_over: Config) -> None:
    command = [f"{engines.programs}/pg_dump", "-d", str(handed_over.database_url)]
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "order.looked_at" in done.stdout


async def test_the_tables_come_back_for_a_migration(handed_over: Config) -> None:
    assert await owner.take_back(handed_over) is True
    await db.execute("ALTER TABLE audit_entry ADD COLUMN later int")
    await db.execute("ALTER TABLE audit_entry DROP COLUMN later")
    assert await owner.hand_over(handed_over) is True
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await db.execute("ALTER TABLE audit_entry ADD COLUMN later int")


async def test_a_server_of_somebody_s_own_is_left_alone(log: Path) -> None:
    for url in ("postgresql://shop@db.example.com/shop", "postgresql://vouchsafe@/vouchsafe?host=/run/postgresql"):
        config = Config.from_env({"VOUCHSAFE_HOME": str(log.parent.parent), "DATABASE_URL": url})
        assert owner.superuser_url(config) is None
        assert await owner.hand_over(config) is False


async def test_the_doctor_reads_the_whole_log(engines: TestEngines, database: str, log: Path, sql: Sql) -> None:
    home = log.parent.parent
    (home / "master.key").write_text(base64.b64encode(MASTER_KEY).decode())
    (home / "master.key").chmod(0o600)
    environ = {**os.environ, "VOUCHSAFE_HOME": str(home), "DATABASE_URL": database, "REDIS_URL": engines.redis_url}

    async def doctor() -> tuple[int, dict[str, tuple[str, str]]]:
        done = await asyncio.to_thread(warm.run, "doctor", "--audit", "--json", env=environ)
        checks = json.loads(done.stdout)["checks"]
        return done.returncode, {check["name"]: (check["state"], check["text"]) for check in checks}

    code, found = await doctor()
    assert (code, found["audit"][0], found["role"][0]) == (0, "ok", "warn")
    assert found["audit"][1].startswith("10 entries are as they were written, 2 checkpoints in ")
    sql("UPDATE audit_entry SET actor = 'staff:2' WHERE id = 3")
    code, found = await doctor()
    assert (code, found["audit"]) == (1, ("fail", "entry 3 at position 3 was altered"))
