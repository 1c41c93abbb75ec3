"""Is this installation well? One check per line, each with what to do when it is not."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

import asyncpg
from piccolo.apps.migrations.tables import Migration

from core import clock, db
from core.admin.jobs import PURPOSE
from core.audit import chain
from core.backup import service as backups
from core.config import Config, SetupProblem, Transit
from core.ledger import customers
from core.vault import cipher, keyring, keys, rotate, signing
from core.vault.providers import KeyAway
from core.vault.ring import MOST_SEALS

State = Literal["ok", "warn", "fail"]
MEGABYTE = 1 << 20


@dataclass(frozen=True)
class Check:
    name: str
    state: State
    text: str
    advice: str = ""

    def line(self) -> str:
        return f"{self.state:4}  {self.name:9} {self.text}{f' → {self.advice}' if self.advice else ''}"

    def facts(self) -> dict[str, str]:
        return asdict(self)


async def examine(config: Config) -> list[Check]:
    checks = [_disk(config.home), _address(config), _key(config), await _valkey(config.redis_url)]
    try:
        await db.open_pool(config.database_url or "", size=2)
    except (OSError, asyncpg.PostgresError) as error:
        return [*checks, Check("database", "fail", f"PostgreSQL does not answer: {error}", "Is DATABASE_URL right?")]
    try:
        return [*checks, *[check async for check in _in_database(config)]]
    finally:
        await db.close_pool()


async def examine_audit(config: Config) -> list[Check]:
    """Is the audit log what it was? Every entry is read."""
    try:
        await db.open_pool(config.database_url or "", size=2)
    except (OSError, asyncpg.PostgresError) as error:
        return [Check("database", "fail", f"PostgreSQL does not answer: {error}", "Is DATABASE_URL right?")]
    try:
        tables = await _tables()
        return [await _chain(config), await _audit_role()] if tables.state == "ok" else [tables]
    finally:
        await db.close_pool()


async def _in_database(config: Config) -> AsyncIterator[Check]:
    yield await _postgres()
    yield await _clock()
    tables = await _tables()
    yield tables
    if tables.state == "ok":
        ring = await _keyring(config)
        yield ring
        if ring.state != "fail":
            yield await _stock()
            yield await _holders()
        yield await _worker()
        yield await _queue()
        yield await _backlog()
        yield await _ledger()
        yield await _mail()
        yield await _backup()


# ── the machine ──────────────────────────────────────────────────────────────────────────────────────────────


def _disk(home: Path) -> Check:
    places = {place for place in (home, (home / "engines").resolve()) if place.exists()}
    free = min((shutil.disk_usage(place).free for place in places), default=0) // MEGABYTE
    state: State = "ok" if free > 2048 else "warn" if free > 256 else "fail"
    return Check("disk", state, f"{free} MB are free", "" if state == "ok" else "Make room before PostgreSQL stops.")


def _address(config: Config) -> Check:
    parts = urlsplit(config.base_url)
    if parts.scheme == "https" or parts.hostname in ("127.0.0.1", "localhost", "::1"):
        return Check("address", "ok", config.base_url)
    advice = "Put a TLS proxy before it and set VOUCHSAFE_BASE_URL."
    return Check("address", "warn", f"{config.base_url} is not https", advice)


def _key(config: Config) -> Check:
    if config.transit:
        return _transit(config.transit)
    file = config.master_key_file
    if not config.master_key and not file.exists():
        return Check("key", "fail", f"there is no {file}", "Put your backup back; only a new shop makes a new key.")
    mode = stat.S_IMODE(file.stat().st_mode) if not config.master_key else 0
    try:
        masters = keys.load(config)
    except SetupProblem as problem:
        return Check("key", "fail", str(problem), f"chmod 600 {file}" if mode & 0o077 else "Put your backup back.")
    if config.master_key:
        return Check("key", "ok", "the master key comes from the environment")
    if len(masters) > 1:
        return Check("key", "warn", f"{file} holds {len(masters)} keys", "Run `server.py rotate-keys --master` again.")
    owner = "yours" if file.stat().st_uid == os.geteuid() else "root's"
    return Check("key", "ok", f"{file} has mode {mode:04o} and is {owner}; keep a copy in another place")


def _transit(transit: Transit) -> Check:
    """Whether it answers is shown by the keyring below."""
    text = f"the master key is {transit.mount}/{transit.key} of {transit.url}"
    file = transit.token_file
    if file is not None and file.exists() and stat.S_IMODE(file.stat().st_mode) & 0o077:
        return Check("key", "fail", f"{file} can be read by other users", f"chmod 600 {file}")
    return Check("key", "ok", text)


async def _valkey(url: str | None) -> Check:
    import redis.asyncio  # a third of a second that other commands need not wait

    if not url:
        return Check("valkey", "fail", "no address", "Set REDIS_URL or start `server.py run`.")
    try:
        async with redis.asyncio.Redis.from_url(url, socket_connect_timeout=3, socket_timeout=3) as client:
            version = (await client.info("server"))["redis_version"]
    except (OSError, redis.RedisError) as error:
        return Check("valkey", "fail", f"Valkey does not answer: {error}", "Nothing is lost, but jobs start late.")
    return Check("valkey", "ok", f"answers (protocol of Redis {version})")


# ── the database ─────────────────────────────────────────────────────────────────────────────────────────────

DURABLE = "SELECT name, setting FROM pg_settings WHERE name IN ('fsync', 'full_page_writes', 'synchronous_commit')"


async def _postgres() -> Check:
    version = await db.fetchval("SHOW server_version")
    off = [row["name"] for row in await db.fetch(DURABLE) if row["setting"] == "off"]
    if off:
        text = f"PostgreSQL {version} runs with {', '.join(off)} off"
        return Check("database", "fail", text, "A power cut would lose orders: turn it on.")
    return Check("database", "ok", f"PostgreSQL {version} answers and writes durably")


async def _clock() -> Check:
    away = abs(await db.fetchval("SELECT clock_timestamp()") - clock.host())
    text = f"{away.total_seconds():.1f} s from the database's clock"
    if away > timedelta(seconds=30):
        return Check("clock", "fail", text, "One of the two is wrong, and the database's counts: turn NTP on at both.")
    if away > timedelta(seconds=2):
        return Check("clock", "warn", text, "Turn NTP on.")
    return Check("clock", "ok", text)


async def _tables() -> Check:
    missing = await missing_migrations()
    if missing:
        return Check("tables", "fail", f"{len(missing)} migrations are not applied", "Run `server.py migrate`.")
    return Check("tables", "ok", "all migrations are applied")


async def missing_migrations() -> set[tuple[str, str]]:
    known = db.known_migrations()
    if not await Migration.table_exists().run():
        return known
    return known - {(row["app_name"], row["name"]) for row in await db.fetch("SELECT app_name, name FROM migration")}


KEYRING = """
SELECT version, seals, (SELECT count(*) FROM vault_key WHERE state = 'old') AS old,
       EXISTS (SELECT 1 FROM vault_rotation WHERE finished_at IS NULL) AS rotating,
       (SELECT max(unopened) FROM vault_rotation WHERE to_version = version) AS unopened
FROM vault_key WHERE state = 'active'
"""


async def _keyring(config: Config) -> Check:
    """Does the master key open the keys of the shop, and are those well?"""
    try:
        await keyring.unlock(config)
    except KeyAway as away:
        advice = "Orders and payments go on; no code is shown until it is back."
        return Check("keyring", "fail", str(away), advice)
    row: Any = await db.fetchrow(KEYRING)
    if row["rotating"]:
        return Check("keyring", "warn", "a rotation of keys is not finished", "Run `server.py rotate-keys` to go on.")
    if row["seals"] > rotate.NEW_KEY_AT:
        return Check("keyring", "warn", "the key in use has sealed a lot", "Run `server.py rotate-keys`.")
    if row["unopened"]:
        text = f"{row['unopened']} stored secrets open with no key"
        return Check("keyring", "warn", text, "Enter the settings of plugins again.")
    old = f", {row['old']} older still kept" if row["old"] else ""
    return Check("keyring", "ok", f"version {row['version']} is in use{old}, {row['seals'] * 100 // MOST_SEALS} % worn")


NEWEST_BATCHES = """
SELECT DISTINCT ON (key_version) id, shop_id, sku_id, wrapped_key, key_version FROM vault_batch
WHERE wrapped_key <> '' ORDER BY key_version, id DESC
"""


async def _stock() -> Check:
    """The newest batch of every version of the keys."""
    closed = []
    for batch in await db.fetch(NEWEST_BATCHES):
        try:
            cipher.open_batch(
                batch["wrapped_key"], batch["key_version"], batch["shop_id"], batch["sku_id"], batch["id"]
            )
        except (cipher.DecryptError, cipher.VaultLocked):
            closed.append(str(batch["id"]))
    if not closed:
        return Check("stock", "ok", "the keys open the stock")
    return Check("stock", "fail", f"the keys do not open batch {', '.join(closed)}", "Put the right master.key back.")


async def _holders() -> Check:
    """What the living processes say; they may run on other machines with other files."""
    without = await keyring.problems()
    if without:
        words = "; ".join(f"{row['name']}: {row['problem']}" for row in without)
        advice = "Orders and payments go on; no code is shown until the key is back."
        return Check("unlocked", "fail", f"without a key: {words}", advice)
    return Check("unlocked", "ok", "every process that runs has its key")


async def _worker() -> Check:
    alive = await db.fetchval("SELECT count(*) FROM jobs_worker WHERE beat_at > now() - interval '60 seconds'")
    if alive:
        return Check("worker", "ok", f"{alive} at work")
    text = "no worker has shown itself for a minute"
    return Check("worker", "fail", text, "Start `server.py run` or `server.py worker`.")


async def _queue() -> Check:
    row = await db.fetchrow(
        "SELECT count(*) FILTER (WHERE state = 'failed') AS failed,"
        " count(*) FILTER (WHERE state = 'queued' AND run_at < now() - interval '5 minutes') AS late FROM jobs_job"
    )
    assert row is not None  # noqa: S101 - count() always gives a row
    if row["failed"] or row["late"]:
        text = f"{row['late']} jobs are more than five minutes late, {row['failed']} were given up"
        return Check("jobs", "warn", text, "Look at the worker's log; the reasons are in the table jobs_job.")
    return Check("jobs", "ok", "nothing is late")


async def _ledger() -> Check:
    wrong = await customers.out_of_step()
    if wrong:
        text = f"{len(wrong)} balances of buyers differ from the ledger, the first is number {wrong[0]['id']}"
        return Check("ledger", "fail", text, "Somebody changed a row by hand: compare it with its entries under Books.")
    return Check("ledger", "ok", "every balance of a buyer is what its entries say")


BACKLOG = """
SELECT count(*) FROM audit_entry entry WHERE at < now() - interval '10 minutes'
AND id > (SELECT coalesce(max(entry_id), 0) FROM audit_link)
"""


async def _backlog() -> Check:
    """Looks at the end only; `doctor --audit` reads all of it."""
    waiting = await db.fetchval(BACKLOG)
    if waiting:
        return Check(
            "audit", "warn", f"{waiting} entries of the audit log have no place in its chain", "Is a worker up?"
        )
    return Check("audit", "ok", "the audit log is chained")


async def _chain(config: Config) -> Check:
    file = chain.checkpoint_file(config.home)
    lines = file.read_text().splitlines() if file.exists() else []
    try:
        await keyring.unlock(config)
        public_key = signing.Signer(PURPOSE).public_key
    except (KeyAway, cipher.VaultLocked):
        public_key = None
    verdict = await chain.look_over(lines, signing.is_signed, public_key)
    if verdict.broken:
        advice = "Compare with a backup; nobody but an intruder or a damaged disk changes this log."
        return Check("audit", "fail", verdict.broken, advice)
    text = f"{verdict.entries} entries are as they were written, {len(lines)} checkpoints in {file}"
    if public_key is None:
        return Check("audit", "warn", text, "Without its key the shop cannot tell whose signatures these are.")
    return Check("audit", "ok", text)


MAY_CHANGE = """
SELECT rolsuper AS super, pg_has_role(rolname, relowner, 'MEMBER') AS owner
FROM pg_roles, pg_class WHERE rolname = current_user AND pg_class.oid = 'audit_entry'::regclass
"""


async def _audit_role() -> Check:
    row: Any = await db.fetchrow(MAY_CHANGE)
    if not row["super"] and not row["owner"]:
        return Check("role", "ok", "the shop's own database role cannot change the audit log")
    why = "is a superuser" if row["super"] else "owns these tables"
    text = f"triggers refuse changes, but the shop's database role {why}: only the chain and its checkpoints prove it"
    return Check("role", "warn", text, "Keep copies of the checkpoint file elsewhere; see the guide, Audit.")


async def _mail() -> Check:
    row: Any = await db.fetchrow("SELECT settings FROM hooks_plugin WHERE id = 'notifiers.smtp' AND enabled")
    failed = await db.fetchval(
        "SELECT count(*) FROM messages_message WHERE state = 'failed' AND created_at > now() - interval '1 day'"
    )
    if row is None:
        return Check("mail", "warn", "no mail goes out", "Enable notifiers.smtp under Plugins in the admin.")
    if failed:
        return Check("mail", "warn", f"{failed} messages failed since yesterday", "See Messages in the admin.")
    return Check("mail", "ok", "the SMTP notifier is enabled")


async def _backup() -> Check:
    now = await backups.standing()
    if now.last_error:
        return Check("backup", "fail", f"the last one failed: {now.last_error}", "Make one with `server.py backup`.")
    when = f"the last good one is of {now.last_good:%Y-%m-%d %H:%M} UTC" if now.last_good else "none was ever made"
    if now.late:
        return Check("backup", "warn", when, "Plan them under Backups in the admin.")
    return Check("backup", "ok", when)
