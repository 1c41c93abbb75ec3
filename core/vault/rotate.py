"""New keys for what is sealed, while the shop sells.

1. A new version is added as *coming*. Every living process learns it before anything is sealed with it.
2. It becomes *active*. Every living process learns that too.
3. What older versions wrap is wrapped anew: the data keys of batches (never the codes) and the small secrets.
4. An old version goes an hour later, when nothing is wrapped by it. For batches the database itself insists.

Each step finds out where the one before stopped, so it may be killed and run again at any moment.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import asyncpg

from core import db
from core.config import Config, SetupProblem
from core.crash_point import crash_point
from core.terminal import _
from core.vault import cipher, keyring, keys
from core.vault.aead import FORMAT_2, DecryptError, DropBox
from core.vault.providers import Local, Provider, providers
from core.vault.ring import MOST_SEALS

CHUNK = 200
HOLDERS_SECONDS = 60.0
GRACE_SECONDS = 3600
STALLED_SECONDS = 120
NEW_KEY_AT = MOST_SEALS // 4 * 3
LOCK = 0x6B657973  # "keys"

NEXT_VERSION = """
SELECT greatest((SELECT max(version) FROM vault_key), (SELECT max(to_version) FROM vault_rotation)) + 1
"""

BASE = "SELECT wrapped FROM vault_key WHERE state = 'base'"
ACTIVE = "SELECT version FROM vault_key WHERE state = 'active'"
TO_DO = """
SELECT EXISTS (SELECT 1 FROM vault_rotation WHERE finished_at IS NULL
               AND moved_at < now() - make_interval(secs => $1))
    OR EXISTS (SELECT 1 FROM vault_key WHERE state = 'active' AND seals > $2
               AND NOT EXISTS (SELECT 1 FROM vault_rotation WHERE finished_at IS NULL))
"""

Say = Callable[[str], None]
Facts = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Sealed:
    """A column of blobs from ``seal_secret``. ``purpose`` is SQL for the purpose each was sealed for."""

    table: str
    column: str
    purpose: str
    key: str = "id"
    key_type: str = "bigint"
    first: Any = 0


# Every column that holds what `seal_secret` made; a test compares this list with the tables.
SEALED = (
    Sealed("hooks_plugin", "secrets", "'plugin:' || id", key_type="text", first=""),
    Sealed("partners_partner", "secret_sealed", "'partner:' || api_key"),
    Sealed("people_staff", "totp_secret", "'totp'"),
    Sealed("vault_import", "sealed_key", "'vault.import/' || id"),
    Sealed("orders_order", "token_sealed", "'order-token'"),
    Sealed("orders_gift", "token_sealed", "'gift-token'", key="order_id"),
    Sealed("supply_answer", "blob", "'supply-answer/' || ref"),
)
BATCHES = "vault_batch"


# -- the whole of it --------------------------------------------------------------------


async def rotate(config: Config, say: Say) -> Facts:
    """Bring everything under a new version, or finish the rotation that was begun. Needs a following process."""
    keys.current().check_opens_codes()
    rotation = await _begun() or await _begin(config)
    crash_point("rotate.added")
    version = rotation["to_version"]
    say(_("version %(version)s of the keys: waiting until every process knows it", version=version))
    await _known_to_all("newest", version)
    await db.transaction(_activate, version)
    crash_point("rotate.active")
    await _known_to_all("active", version)
    return await finish(version, say)


async def finish(version: int, say: Say) -> Facts:
    """Wrap anew whatever is not under ``version``, and note that it is done."""
    row = await db.fetchrow("SELECT * FROM vault_rotation WHERE to_version = $1", version)
    assert row is not None  # noqa: S101 - begun above
    await _sweep_all(version, say, row["place"], row["cursor"])
    crash_point("rotate.swept")
    done = await db.fetchrow(
        "UPDATE vault_rotation SET finished_at = now() WHERE to_version = $1 RETURNING done, unopened", version
    )
    assert done is not None  # noqa: S101 - it was there above
    left = await wrapped_by_version()
    return {"version": version, "rewrapped": done["done"], "unopened": done["unopened"], "old_versions": left}


async def _sweep_all(version: int, say: Say, place: str = "", cursor: Any = None) -> None:
    """Every place, from where a killed run stopped."""
    places = [BATCHES, *(f"{one.table}.{one.column}" for one in SEALED)]
    for name in places[places.index(place) if place in places else 0 :]:
        await _sweep(version, name, cursor if name == place else None, say)


# -- beginning and switching ------------------------------------------------------------


async def _begun() -> Any:
    return await db.fetchrow("SELECT * FROM vault_rotation WHERE finished_at IS NULL")


async def _begin(config: Config) -> Any:
    provider = providers(config)[0]
    version, base = await db.fetchval(NEXT_VERSION), await db.fetchval(BASE)
    secret = secrets.token_bytes(keys.KEY_BYTES)
    (wrapped,) = await provider.wrap([keyring.packed(version, secret)])
    try:
        return await db.transaction(_add, base, version, provider.name, wrapped, DropBox(secret, version).public_key)
    except asyncpg.UniqueViolationError:  # somebody else has just begun
        return await _begun()


async def _add(tx: db.Tx, base: bytes, version: int, provider: str, wrapped: bytes, public_key: bytes) -> Any:
    """A new master key that came meanwhile would be the only one kept, and not open what the one before wrapped."""
    await tx.execute("SELECT pg_advisory_xact_lock($1)", LOCK)
    if await tx.fetchval(BASE) != base:
        raise _changed()
    await tx.execute(
        "INSERT INTO vault_key (version, state, provider, wrapped, public_key) VALUES ($1, 'coming', $2, $3, $4)",
        version, provider, wrapped, public_key,
    )  # fmt: skip
    return await tx.fetchrow("INSERT INTO vault_rotation (to_version) VALUES ($1) RETURNING *", version)


async def _activate(tx: db.Tx, version: int) -> None:
    await tx.execute("SELECT pg_advisory_xact_lock($1)", LOCK)
    if await tx.fetchval("SELECT state FROM vault_key WHERE version = $1", version) == "coming":
        await tx.execute("UPDATE vault_key SET state = 'old', replaced_at = now() WHERE state = 'active'")
        await tx.execute("UPDATE vault_key SET state = 'active' WHERE version = $1", version)


async def _known_to_all(what: str, version: int) -> None:
    """Wait for the living processes; each looks at the keyring once a second."""
    deadline = time.monotonic() + HOLDERS_SECONDS
    while behind := await _behind(what, version):
        if time.monotonic() > deadline:
            silent = _("it does not look")
            names = "; ".join(f"{row['name']}: {row['problem'] or silent}" for row in behind)
            raise SetupProblem(
                _("These processes do not take the new key (%(names)s). Run rotate-keys again to go on.", names=names)
            )
        await asyncio.sleep(0.1)


async def _behind(what: str, version: int) -> list[Any]:
    if getattr(keys.current(), what) < version:
        return [{"name": "this process", "problem": keys.current().reason}]
    return await db.fetch(
        f"SELECT name, problem FROM vault_holder WHERE {what} < $1"  # noqa: S608 - "newest" or "active"
        " AND seen_at > now() - make_interval(secs => $2) AND seen_at < now() + make_interval(secs => $2)",
        version,
        keyring.ALIVE_SECONDS,
    )


# -- wrapping anew ----------------------------------------------------------------------


async def _sweep(version: int, place: str, cursor: Any, say: Say) -> None:
    """Everything in one place, in chunks, from behind ``cursor``."""
    one = next((one for one in SEALED if f"{one.table}.{one.column}" == place), None)
    position = cursor if cursor is not None else one.first if one else 0
    changed = 0
    while rows := await (_stale_secrets(one, version, position) if one else _stale_batches(version, position)):
        position = rows[-1]["key"]
        fresh, closed = _rewrapped(one, rows)
        changed += await db.transaction(_store, one, version, place, position, fresh, closed)
        crash_point("rotate.chunk")
        await keyring.grant(keys.current())
        say(_("%(place)s: %(changed)s wrapped anew", place=place, changed=changed))


async def _stale_batches(version: int, position: int) -> list[Any]:
    return await db.fetch(
        "SELECT id AS key, id, shop_id, sku_id, wrapped_key AS blob, key_version FROM vault_batch"
        " WHERE id > $1 AND key_version <> $2 AND wrapped_key <> '' ORDER BY id LIMIT $3",
        position, version, CHUNK,
    )  # fmt: skip


def _stale(one: Sealed) -> str:
    """SQL that is true for a blob not sealed with version $1."""
    mine = f"get_byte({one.column}, 0) = {FORMAT_2} AND substring({one.column} FROM 3 FOR 4) = $1"
    return f"length({one.column}) > 6 AND NOT ({mine})"


async def _stale_secrets(one: Sealed, version: int, position: Any) -> list[Any]:
    return await db.fetch(
        f"SELECT {one.key} AS key, {one.column} AS blob, {one.purpose} AS purpose FROM {one.table}"  # noqa: S608
        f" WHERE {one.key} > $2 AND {_stale(one)} ORDER BY {one.key} LIMIT $3",
        version.to_bytes(4, "big"), position, CHUNK,
    )  # fmt: skip


def _rewrapped(one: Sealed | None, rows: list[Any]) -> tuple[list[tuple[Any, bytes, bytes]], int]:
    """Key, old and new blob of each row that opens, and how many do not: those stay as they are."""
    fresh, closed = [], 0
    for row in rows:
        try:
            fresh.append((row["key"], row["blob"], _secret(row) if one else _data_key(row)))
        except DecryptError:
            closed += 1
    return fresh, closed


def _secret(row: Any) -> bytes:
    return cipher.seal_secret(row["purpose"], cipher.open_secret(row["purpose"], row["blob"]))


def _data_key(row: Any) -> bytes:
    return cipher.rewrap_batch_key(row["blob"], row["key_version"], row["shop_id"], row["sku_id"], row["id"])[0]


async def _store(
    tx: db.Tx,
    one: Sealed | None,
    version: int,
    place: str,
    position: Any,
    fresh: list[tuple[Any, bytes, bytes]],
    closed: int,
) -> int:
    """The new blobs, each only where the old one still stands, and how far we are, together.

    What somebody works on at this moment, such as the upload of a long import, is left to the next sweep.
    """
    table, key, key_type, column = (one.table, one.key, one.key_type, one.column) if one else _BATCH
    extra = "" if one else f", key_version = {version:d}"
    done = await tx.execute(
        f"UPDATE {table} SET {column} = fresh.new{extra}"  # noqa: S608 - names of our own tables
        f" FROM unnest($1::{key_type}[], $2::bytea[], $3::bytea[]) AS fresh (key, old, new)"
        f" WHERE {table}.{key} = fresh.key AND {table}.{column} = fresh.old AND {table}.{key} = ANY(ARRAY("
        f"SELECT {key} FROM {table} WHERE {key} = ANY($1) FOR NO KEY UPDATE SKIP LOCKED))",
        [row[0] for row in fresh], [row[1] for row in fresh], [row[2] for row in fresh],
    )  # fmt: skip
    changed = int(done.split()[-1])
    await tx.execute(
        "UPDATE vault_rotation SET place = $2, cursor = $3, done = done + $4, unopened = unopened + $5,"
        " moved_at = now()"
        " WHERE to_version = $1",
        version, place, _as_json(position), changed, closed,
    )  # fmt: skip
    return changed


_BATCH = (BATCHES, "id", "bigint", "wrapped_key")


def _as_json(position: Any) -> Any:
    return f'"{position}"' if isinstance(position, str) else position


# -- what is left under an old version --------------------------------------------------


async def wrapped_by_version() -> dict[int, int]:
    """How many things each old version still wraps."""
    active = await db.fetchval(ACTIVE)
    old = [row["version"] for row in await db.fetch("SELECT version FROM vault_key WHERE state = 'old'")]
    left = {
        version: await db.fetchval("SELECT count(*) FROM vault_batch WHERE key_version = $1", version)
        for version in old
    }
    for one in SEALED:
        rows = await db.fetch(
            f"SELECT CASE get_byte({one.column}, 0) WHEN {FORMAT_2}"  # noqa: S608 - names of our own tables
            f" THEN ('x' || encode(substring({one.column} FROM 3 FOR 4), 'hex'))::bit(32)::int ELSE 1 END AS version,"
            f" count(*) AS number FROM {one.table} WHERE {_stale(one)} GROUP BY 1",
            active.to_bytes(4, "big"),
        )
        for row in rows:
            if row["version"] in left:
                left[row["version"]] += row["number"]
    return left


async def retire(grace_seconds: float = GRACE_SECONDS) -> list[int]:
    """Forget old versions that wrap nothing any more and were replaced an hour ago. Gives their numbers."""
    gone = []
    for version, wrapped in (await wrapped_by_version()).items():
        try:
            if not wrapped and await db.transaction(_forget, version, grace_seconds):
                gone.append(version)
        except (asyncpg.ForeignKeyViolationError, asyncpg.LockNotAvailableError):
            continue  # an import under way holds it
    return gone


async def _forget(tx: db.Tx, version: int, grace_seconds: float) -> bool:
    return bool(
        await tx.fetchval(
            "DELETE FROM vault_key WHERE version = $1 AND state = 'old'"
            " AND replaced_at <= now() - make_interval(secs => $2) RETURNING true",
            version,
            grace_seconds,
        )
    )


async def tend(config: Config, say: Say) -> None:
    """What the worker does now and then: finish what was begun, renew a key before its limit, forget old ones."""
    if not keys.current().opens_codes():
        return
    if await db.fetchval(TO_DO, STALLED_SECONDS, NEW_KEY_AT):
        await rotate(config, say)
    elif any((await wrapped_by_version()).values()):
        await _sweep_all(await db.fetchval(ACTIVE), say)
    for version in await retire():
        say(_("version %(version)s of the keys wraps nothing any more and is gone", version=version))


# -- the master key itself --------------------------------------------------------------


async def rotate_master(config: Config, say: Say, *, to_file: bool = False) -> Facts:
    """Wrap the keyring anew: with a new key file, with the newest key of a transit engine, or after a move."""
    known = sorted(providers(config), key=lambda one: to_file and not isinstance(one, Local))
    first = known[0]
    new = _new_key_file(config) if isinstance(first, Local) and not config.master_key else None
    rows = await db.fetch(keyring.ROWS)
    await db.transaction(_replace_all, first.name, await _wrapped_anew(known, rows))
    crash_point("rotate.master_stored")
    if new is not None:
        keys.write(config.master_key_file, [new])
    say(_("%(number)s keys of the keyring are wrapped by the provider %(name)s", number=len(rows), name=first.name))
    return {"provider": first.name, "keys": len(rows), "key_file_changed": new is not None}


def _new_key_file(config: Config) -> keys.MasterKey:
    """Until the keyring is wrapped anew the file holds the new key and the old ones: all of them open."""
    new = keys.MasterKey(secrets.token_bytes(keys.KEY_BYTES))
    keys.write(config.master_key_file, [new, *(keys.load(config) if config.master_key_file.exists() else [])])
    crash_point("rotate.master_written")
    return new


async def _wrapped_anew(known: Sequence[Provider], rows: Sequence[Any]) -> list[tuple[int, bytes, bytes]]:
    """Version, old and new wrapping of each key."""
    first = known[0]
    here = [row for row in rows if row["provider"] == first.name]
    moved = [row for row in rows if row["provider"] != first.name]
    blobs = await first.rewrap([bytes(row["wrapped"]) for row in here]) if here else []
    if moved:
        opened = await keyring.secrets_of(known, moved)
        blobs += await first.wrap([keyring.packed(row["version"], opened[row["version"]]) for row in moved])
    return [(row["version"], row["wrapped"], blob) for row, blob in zip([*here, *moved], blobs, strict=True)]


async def _replace_all(tx: db.Tx, provider: str, rows: list[tuple[int, bytes, bytes]]) -> None:
    await tx.execute("SELECT pg_advisory_xact_lock($1)", LOCK)
    if await tx.fetchval("SELECT count(*) FROM vault_key") != len(rows):
        raise _changed()
    for version, old, new in rows:
        changed = await tx.fetchval(
            "UPDATE vault_key SET provider = $2, wrapped = $4 WHERE version = $1 AND wrapped = $3 RETURNING true",
            version, provider, old, new,
        )  # fmt: skip
        if not changed:
            raise _changed()


def _changed() -> SetupProblem:
    return SetupProblem(_("The keyring changed in the meantime. Run rotate-keys again."))


def summary(facts: Facts) -> str:
    """The facts for a person at a terminal."""
    if "provider" in facts:
        return _("%(keys)s keys are now wrapped by the master key of the provider %(provider)s.", **facts)
    lines = [_("Version %(version)s is in use; %(rewrapped)s keys and secrets were wrapped anew.", **facts)]
    lines += [
        _("Version %(version)s still wraps %(left)s.", version=version, left=left)
        if left
        else _(
            "Version %(version)s wraps nothing; the worker removes it when it was out of use for an hour.",
            version=version,
        )
        for version, left in facts["old_versions"].items()
    ]
    if facts["unopened"]:
        lines.append(_("%(unopened)s secrets open with no key and stay as they are: enter them again.", **facts))
    return "\n".join(lines)
