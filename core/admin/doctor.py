"""Is this installation well? One check per line, each with what to do when it is not."""

from __future__ import annotations

import shutil
import stat
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from core import clock, db
from core.admin import outside_words
from core.admin.checks import Check, State
from core.admin.jobs import PURPOSE
from core.audit import chain
from core.backup import service as backups
from core.catalog import notes as delivery_notes
from core.config import Config, SetupProblem, Transit
from core.ledger import customers
from core.shops import service as shops
from core.vault import cipher, keyring, keys, rotate, signing
from core.vault.providers import KeyAway
from core.vault.ring import MOST_SEALS
from core.web.i18n import _

MEGABYTE = 1 << 20
GO_ON = _("Orders and payments go on; no code is shown until the key is back.")


async def examine(config: Config) -> list[Check]:
    checks = await of_machine(config)
    try:
        await db.open_pool(config.database_url or "", size=2)
    except db.CANNOT_OPEN as error:
        return [*checks, _away(error)]
    try:
        return [*checks, *[check async for check in in_database(config)]]
    finally:
        await db.close_pool()


def without_engines(config: Config, problem: SetupProblem) -> list[Check]:
    """When our own PostgreSQL or Valkey does not start, which may be for one of the first three."""
    advice = _("Their logs are in the folder engines of the data folder.")
    return [_disk(config.home), _address(config), _key(config), Check("engines", "fail", str(problem), advice)]


async def of_machine(config: Config) -> list[Check]:
    """What can be said without the database."""
    return [_disk(config.home), _address(config), _key(config), await _valkey(config.redis_url)]


async def examine_audit(config: Config) -> list[Check]:
    """Is the audit log what it was? Every entry is read."""
    try:
        await db.open_pool(config.database_url or "", size=2)
    except db.CANNOT_OPEN as error:
        return [_away(error)]
    try:
        tables = await _tables()
        return [await _chain(config), await _audit_role()] if tables.state == "ok" else [tables]
    finally:
        await db.close_pool()


def _away(error: Exception) -> Check:
    text = _("PostgreSQL does not answer: %(error)s", error=error)
    advice = _("Ask again in a moment.") if isinstance(error, db.NOT_YET) else _("Is DATABASE_URL right?")
    return Check("database", "fail", text, advice)


async def in_database(config: Config) -> AsyncIterator[Check]:
    yield await _postgres()
    yield await _clock()
    tables = await _tables()
    yield tables
    if tables.state == "ok":
        for check in await outside_words.checks(config.base_url):
            yield check
        ring = await _keyring(config)
        yield ring
        if ring.state != "fail":
            yield await _stock()
            yield await _holders()
        yield await _worker()
        yield await _queue()
        yield await _scheduled()
        yield await _backlog()
        yield await _ledger()
        yield await _suppliers()
        yield await _notes(config)
        yield await _mail()
        yield await _backup()
        yield await _copy_of_key(config)
        yield await _mode()


# ── the machine ──────────────────────────────────────────────────────────────────────────────────────────────


def _disk(home: Path) -> Check:
    places = {_there(home), _there((home / "engines").resolve())}
    free = min(shutil.disk_usage(place).free for place in places) // MEGABYTE
    state: State = "ok" if free > 2048 else "warn" if free > 256 else "fail"
    advice = "" if state == "ok" else _("Make room before PostgreSQL stops.")
    return Check("disk", state, _("%(free)s MB are free", free=free), advice)


def _there(folder: Path) -> Path:
    """The folder, or what there is of the way to it: a shop with engines elsewhere may need none of its own."""
    return next(place for place in (folder, *folder.absolute().parents) if place.exists())


def _address(config: Config) -> Check:
    parts = urlsplit(config.base_url)
    if parts.scheme == "https" or parts.hostname in ("127.0.0.1", "localhost", "::1"):
        return Check("address", "ok", config.base_url)
    advice = _("Put a TLS proxy before it and set VOUCHSAFE_BASE_URL.")
    return Check("address", "warn", _("%(address)s is not https", address=config.base_url), advice)


def _key(config: Config) -> Check:
    if config.transit:
        return _transit(config.transit)
    if config.key_provider:
        return Check("key", "ok", _("the key provider %(name)s keeps the master key", name=config.key_provider))
    file = config.master_key_file
    if not config.master_key and not file.exists():
        return Check(
            "key",
            "fail",
            _("there is no %(file)s", file=file),
            _("Put your backup back; only a new shop makes a new key."),
        )
    mode = stat.S_IMODE(file.stat().st_mode) if not config.master_key else 0
    try:
        masters = keys.load(config)
    except SetupProblem as problem:
        advice = f"chmod 600 {file}" if mode & 0o077 else _("Put your backup back.")
        return Check("key", "fail", str(problem), advice)
    if config.master_key:
        return Check("key", "ok", _("the master key comes from the environment"))
    if len(masters) > 1:
        text = _("%(file)s holds %(number)s keys", file=file, number=len(masters))
        return Check("key", "warn", text, _("Run `server.py rotate-keys --master` again."))
    return Check("key", "ok", _("%(file)s is there, with mode %(mode)s", file=file, mode=f"{mode:04o}"))


def _transit(transit: Transit) -> Check:
    """Whether it answers is shown by the keyring below."""
    text = _("the master key is %(key)s of %(url)s", key=f"{transit.mount}/{transit.key}", url=transit.url)
    file = transit.token_file
    if file is not None and file.exists() and stat.S_IMODE(file.stat().st_mode) & 0o077:
        return Check("key", "fail", _("%(file)s can be read by other users", file=file), f"chmod 600 {file}")
    return Check("key", "ok", text)


async def _valkey(url: str | None) -> Check:
    import redis.asyncio  # a third of a second that other commands need not wait

    if not url:
        return Check("valkey", "fail", _("no address"), _("Set REDIS_URL or start `server.py run`."))
    try:
        async with redis.asyncio.Redis.from_url(url, socket_connect_timeout=3, socket_timeout=3) as client:
            version = (await client.info("server"))["redis_version"]
    except (OSError, redis.RedisError) as error:
        text = _("Valkey does not answer: %(error)s", error=error)
        return Check("valkey", "fail", text, _("Nothing is lost, but jobs start late."))
    return Check("valkey", "ok", _("answers (protocol of Redis %(version)s)", version=version))


# ── the database ─────────────────────────────────────────────────────────────────────────────────────────────

DURABLE = "SELECT name, setting FROM pg_settings WHERE name IN ('fsync', 'full_page_writes', 'synchronous_commit')"


async def _postgres() -> Check:
    version = await db.fetchval("SHOW server_version")
    off = [row["name"] for row in await db.fetch(DURABLE) if row["setting"] == "off"]
    if off:
        text = _("PostgreSQL %(version)s runs with %(names)s off", version=version, names=", ".join(off))
        return Check("database", "fail", text, _("A power cut would lose orders: turn it on."))
    return Check("database", "ok", _("PostgreSQL %(version)s answers and writes durably", version=version))


async def _clock() -> Check:
    away = abs(await db.fetchval("SELECT clock_timestamp()") - clock.host())
    text = _("%(seconds)s s from the database's clock", seconds=f"{away.total_seconds():.1f}")
    if away > timedelta(seconds=30):
        advice = _("One of the two is wrong, and the database's counts: turn NTP on at both.")
        return Check("clock", "fail", text, advice)
    if away > timedelta(seconds=2):
        return Check("clock", "warn", text, _("Turn NTP on."))
    return Check("clock", "ok", text)


async def _tables() -> Check:
    missing = await db.missing_migrations()
    if missing:
        text = _("%(number)s migrations are not applied", number=len(missing))
        return Check("tables", "fail", text, _("Run `server.py migrate`."))
    return Check("tables", "ok", _("all migrations are applied"))


KEYRING = """
SELECT version, seals, (SELECT count(*) FROM vault_key WHERE state = 'old') AS old,
       EXISTS (SELECT 1 FROM vault_rotation WHERE finished_at IS NULL) AS rotating,
       (SELECT max(unopened) FROM vault_rotation WHERE to_version = version) AS unopened
FROM vault_key WHERE state = 'active'
"""


async def _keyring(config: Config) -> Check:
    """Does the master key open the keys of the shop, and are those well?"""
    try:
        if not keys.current().is_unlocked():
            await keyring.unlock(config)
    except KeyAway as away:
        return Check("keyring", "fail", str(away), GO_ON)
    row: Any = await db.fetchrow(KEYRING)
    if row["rotating"]:
        text = _("a rotation of keys is not finished")
        return Check("keyring", "warn", text, _("Run `server.py rotate-keys` to go on."))
    if row["seals"] > rotate.NEW_KEY_AT:
        return Check("keyring", "warn", _("the key in use has sealed a lot"), _("Run `server.py rotate-keys`."))
    if row["unopened"]:
        text = _("%(number)s stored secrets open with no key", number=row["unopened"])
        return Check("keyring", "warn", text, _("Enter the settings of plugins again."))
    worn = row["seals"] * 100 // MOST_SEALS
    text = _("version %(version)s is in use, %(old)s older kept, %(worn)s %% worn", **{**row, "worn": worn})
    return Check("keyring", "ok", text)


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
        return Check("stock", "ok", _("the keys open the stock"))
    text = _("the keys do not open batch %(batches)s", batches=", ".join(closed))
    return Check("stock", "fail", text, _("Put the right master.key back."))


async def _holders() -> Check:
    """What the living processes say; they may run on other machines with other files."""
    without = await keyring.problems()
    if without:
        words = "; ".join(f"{row['name']}: {row['problem']}" for row in without)
        return Check("unlocked", "fail", _("without a key: %(processes)s", processes=words), GO_ON)
    return Check("unlocked", "ok", _("every process that runs has its key"))


async def _worker() -> Check:
    # a beat in the future is of a dead worker's wrong clock
    alive = await db.fetchval(
        "SELECT count(*) FROM jobs_worker WHERE beat_at > now() - interval '60 seconds'"
        " AND beat_at < now() + interval '60 seconds'"
    )
    if alive:
        return Check("worker", "ok", _("%(number)s at work", number=alive))
    text = _("no worker has shown itself for a minute")
    return Check("worker", "fail", text, _("Start `server.py run` or `server.py worker`."))


async def _queue() -> Check:
    row = await db.fetchrow(
        "SELECT count(*) FILTER (WHERE state = 'failed') AS failed,"
        " count(*) FILTER (WHERE state = 'queued' AND run_at < now() - interval '5 minutes') AS late FROM jobs_job"
    )
    assert row is not None  # noqa: S101 - count() always gives a row
    if row["failed"] or row["late"]:
        text = _("%(late)s jobs are more than five minutes late, %(failed)s were given up", **row)
        return Check("jobs", "warn", text, _("Look at the page Jobs and at the worker's log."))
    return Check("jobs", "ok", _("nothing is late"))


SCHEDULED = """
SELECT substr(key, 7) AS name, error FROM jobs_job WHERE starts_with(key, 'every:')
AND (error <> '' OR run_at < now() - interval '10 minutes' OR lease_until < now() - interval '10 minutes') ORDER BY 1
"""


async def _scheduled() -> Check:
    """Each scheduled job is one row: what is due for ten minutes, or broke off the last time, is told."""
    wrong = [row["name"] for row in await db.fetch(SCHEDULED)]
    if wrong:
        text = _("these did not run or broke off: %(names)s", names=", ".join(wrong))
        return Check("scheduled", "warn", text, _("Look at the page Jobs and at the worker's log."))
    return Check("scheduled", "ok", _("every scheduled job runs"))


async def _ledger() -> Check:
    wrong = await customers.out_of_step()
    if wrong:
        text = _(
            "%(number)s balances of buyers differ from the ledger, the first is number %(first)s",
            number=len(wrong),
            first=wrong[0]["id"],
        )
        advice = _("Somebody changed a row by hand: compare it with its entries under Books.")
        return Check("ledger", "fail", text, advice)
    return Check("ledger", "ok", _("every balance of a buyer is what its entries say"))


SUPPLIERS = """
SELECT key, sync_error <> '' OR failures > 0 AS away, balance IS NOT NULL AND balance < low_balance AS low
FROM supply_supplier ORDER BY key
"""


async def _suppliers() -> Check:
    found = await db.fetch(SUPPLIERS)
    away = [row["key"] for row in found if row["away"]]
    low = [row["key"] for row in found if row["low"]]
    if away:
        text = _("these did not answer well the last time: %(names)s", names=", ".join(away))
        return Check("suppliers", "warn", text, _("Look at the supplier's page."))
    if low:
        return Check("suppliers", "warn", _("the balance is low at %(names)s", names=", ".join(low)), _("Fill it up."))
    return Check(
        "suppliers", "ok", _("%(number)s suppliers, all well", number=len(found)) if found else _("none is used")
    )


NOTES = """
SELECT shop_id, slug, delivery_note FROM catalog_product
WHERE state = 'listed' AND delivery_note::text ~ '\\{[{%#]' ORDER BY slug
"""


async def _notes(config: Config) -> Check:
    """Checked when they were saved; those that are older, or were brought in, may have braces that mean nothing."""
    wrong = []
    for row in await db.fetch(NOTES):
        shop = await shops.by_id(row["shop_id"])
        texts = row["delivery_note"].items()
        if any(delivery_notes.wrong(text, shop, config.base_url, language) for language, text in texts):
            wrong.append(row["slug"])
    if wrong:
        text = _("these products' delivery notes do not work: %(names)s", names=", ".join(wrong))
        return Check(
            "notes", "warn", text, _("Buyers see them as they are written. Open the product and mend its note.")
        )
    return Check("notes", "ok", _("every delivery note can be filled in"))


BACKLOG = """
SELECT count(*) FROM audit_entry entry WHERE at < now() - interval '10 minutes'
AND id > (SELECT coalesce(max(entry_id), 0) FROM audit_link)
"""


async def _backlog() -> Check:
    """Looks at the end only; `doctor --audit` reads all of it."""
    waiting = await db.fetchval(BACKLOG)
    if waiting:
        text = _("%(number)s entries of the audit log have no place in its chain", number=waiting)
        return Check("audit", "warn", text, _("Is a worker up?"))
    return Check("audit", "ok", _("the audit log is chained"))


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
        advice = _("Compare with a backup; nobody but an intruder or a damaged disk changes this log.")
        return Check("audit", "fail", verdict.broken, advice)
    text = _(
        "%(entries)s entries are as they were written, %(checkpoints)s checkpoints in %(file)s",
        entries=verdict.entries,
        checkpoints=len(lines),
        file=file,
    )
    if public_key is None:
        return Check("audit", "warn", text, _("Without its key the shop cannot tell whose signatures these are."))
    return Check("audit", "ok", text)


MAY_CHANGE = """
SELECT rolsuper AS super, pg_has_role(rolname, relowner, 'MEMBER') AS owner
FROM pg_roles, pg_class WHERE rolname = current_user AND pg_class.oid = 'audit_entry'::regclass
"""


async def _audit_role() -> Check:
    row: Any = await db.fetchrow(MAY_CHANGE)
    if not row["super"] and not row["owner"]:
        return Check("role", "ok", _("the shop's own database role cannot change the audit log"))
    why = _("is a superuser") if row["super"] else _("owns these tables")
    text = _(
        "triggers refuse changes, but the shop's database role %(why)s: only the chain and its checkpoints prove it",
        why=why,
    )
    return Check("role", "warn", text, _("Keep copies of the checkpoint file elsewhere; see the guide, Audit."))


async def _mail() -> Check:
    row: Any = await db.fetchrow("SELECT settings FROM hooks_plugin WHERE id = 'notifiers.smtp' AND enabled")
    failed = await db.fetchval(
        "SELECT count(*) FROM messages_message WHERE state = 'failed' AND created_at > now() - interval '1 day'"
    )
    if row is None:
        return Check("mail", "warn", _("no mail goes out"), _("Enable notifiers.smtp under Plugins in the admin."))
    if failed:
        text = _("%(number)s messages failed since yesterday", number=failed)
        return Check("mail", "warn", text, _("See Messages in the admin."))
    return Check("mail", "ok", _("the SMTP notifier is enabled"))


async def _backup() -> Check:
    now = await backups.standing()
    if now.last_error:
        text = _("the last one failed: %(error)s", error=now.last_error)
        return Check("backup", "fail", text, _("Make one with `server.py backup`."))
    when = _("none was ever made")
    if now.last_good:
        when = _("the last good one is of %(when)s UTC", when=f"{now.last_good:%Y-%m-%d %H:%M}")
    if now.late:
        return Check("backup", "warn", when, _("Plan them under Backups in the admin."))
    return Check("backup", "ok", when)


async def _copy_of_key(config: Config) -> Check:
    """Nobody can look whether a copy lies elsewhere: somebody has to say so."""
    if config.key_elsewhere:
        return Check("key copy", "ok", _("the key is kept outside of this machine's files"))
    if await db.fetchval("SELECT bool_or((settings ->> 'key_kept')::boolean) FROM shops_shop"):
        return Check("key copy", "ok", _("somebody said that a copy is kept elsewhere"))
    text = _("nobody has said that a copy of %(file)s is kept elsewhere", file=config.master_key_file)
    return Check("key copy", "warn", text, _("Copy it to another place, then say so on the page Health."))


async def _mode() -> Check:
    shops = await db.fetch(
        "SELECT name, test_mode, (settings ->> 'coming_soon')::boolean AS hidden FROM shops_shop ORDER BY id"
    )
    tried = [row["name"] for row in shops if row["test_mode"] and not row["hidden"]]
    if tried:
        text = _("anybody can take codes without paying in %(shops)s", shops=", ".join(tried))
        return Check("mode", "warn", text, _("Open the shop, or show “Coming soon”."))
    waiting = [row["name"] for row in shops if row["test_mode"]]
    if waiting:
        return Check("mode", "ok", _("not open yet: %(shops)s", shops=", ".join(waiting)))
    return Check("mode", "ok", _("open for real"))
