"""The keyring in the database, opened by the master key's provider, kept fresh for as long as a process lives."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import secrets
import socket
import time
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from typing import Any

from core import db, tasks
from core.config import Config
from core.outage import Outage
from core.vault import aead, cipher, keys
from core.vault.aead import DecryptError, DropBox
from core.vault.keys import KEY_BYTES, MasterKey
from core.vault.providers import KeyAway, Local, Provider, providers
from core.vault.ring import MOST_SEALS, Ring

log = logging.getLogger("vouchsafe.vault")

BASE = 0
LOOK_SECONDS = 1.0
BEAT_SECONDS = 3.0
ALIVE_SECONDS = 10
# Encryptions granted to a process at a time; what it does not use is lost, so that a killed one is never undercounted.
BLOCK = 200_000
# A process that has not read the keyring for so long no longer seals: its version may be about to go.
SEALS_FOR = 600.0

ROWS = "SELECT version, state, provider, wrapped, public_key FROM vault_key ORDER BY version"
NEWEST_BATCH = (
    "SELECT id, shop_id, sku_id, wrapped_key, key_version FROM vault_batch WHERE wrapped_key <> ''"
    " ORDER BY id DESC LIMIT 1"
)
GRANT = "UPDATE vault_key SET seals = seals + $2 WHERE version = $1 AND seals + $2 <= $3 RETURNING true"
SHOW = """
INSERT INTO vault_holder (name, active, newest, problem) VALUES ($1, $2, $3, $4)
ON CONFLICT (name) DO UPDATE SET active = $2, newest = $3, problem = $4, seen_at = now()
"""

Row = Mapping[str, Any]


class WrongKey(KeyAway):
    """The master key is there, but it is not the one of this shop."""

    def __init__(self) -> None:
        super().__init__("the stock of this shop was sealed with another master key: put the right one back")


# -- opening ----------------------------------------------------------------------------


async def unlock(config: Config, *, create: bool = False) -> bool:
    """Give this process the keys of the shop; with ``create`` a new shop gets its master key. True: it was made.

    :raises KeyAway: there is no key now.
    """
    made = create and await _make_master_key(config)
    try:
        known = providers(config)
        rows = await _rows(known)
        ring = await _opened(known, rows)
    except KeyAway:
        if made:
            config.master_key_file.unlink()
        raise
    await grant(ring)
    keys.use(ring)
    return made


async def _make_master_key(config: Config) -> bool:
    """A new key beside old stock would hide the loss of the old one."""
    if config.key_elsewhere or not await is_new():
        return False
    return keys.create(config.master_key_file)


async def is_new() -> bool:
    return bool(
        await db.fetchval(
            "SELECT NOT EXISTS (SELECT 1 FROM vault_batch WHERE wrapped_key <> '')"
            " AND EXISTS (SELECT 1 FROM vault_key WHERE version = 1 AND wrapped IS NULL)"
        )
    )


async def _rows(known: Sequence[Provider]) -> list[Row]:
    rows = await db.fetch(ROWS)
    if any(row["wrapped"] is None for row in rows):
        await _begin(known)
        rows = await db.fetch(ROWS)
    return rows


async def _begin(known: Sequence[Provider]) -> None:
    """Fill in the first keys. A key of our own is itself the first version; elsewhere we never see it."""
    batch = await db.fetchrow(NEWEST_BATCH)
    provider = next(one for one in known if isinstance(one, Local)) if batch else known[0]
    if isinstance(provider, Local):
        master = provider.masters()[0]
        base = first = master.secret
        if batch is not None:
            _check_opens(master, batch)
    else:
        base, first = secrets.token_bytes(KEY_BYTES), secrets.token_bytes(KEY_BYTES)
    wrapped = await provider.wrap([packed(BASE, base), packed(1, first)])
    await db.transaction(_keep_first, provider.name, wrapped, DropBox(first, 1).public_key)


def _check_opens(master: MasterKey, batch: Row) -> None:
    key = aead.VersionKey(master.secret, 1, "vault/wrap")
    aad = cipher.batch_aad(batch["shop_id"], batch["sku_id"], batch["id"], batch["key_version"])
    try:
        key.open(batch["wrapped_key"], aad)
    except DecryptError:
        raise WrongKey from None


async def _keep_first(tx: db.Tx, provider: str, wrapped: list[bytes], public_key: bytes) -> None:
    """Whoever comes second finds the keys of the first."""
    for version, blob in enumerate(wrapped):
        await tx.execute(
            "UPDATE vault_key SET provider = $2, wrapped = $3, public_key = $4 WHERE version = $1 AND wrapped IS NULL",
            version,
            provider,
            blob,
            public_key if version else None,
        )


def packed(version: int, secret: bytes) -> bytes:
    """What a provider wraps: the version is inside, so that rows cannot be exchanged."""
    return b"vault key" + version.to_bytes(4, "big") + secret


def unpacked(version: int, data: bytes) -> bytes:
    secret = data.removeprefix(b"vault key" + version.to_bytes(4, "big"))
    if len(secret) != KEY_BYTES:
        raise KeyAway(f"row {version} of the keyring holds something else")
    return secret


async def secrets_of(known: Sequence[Provider], rows: Iterable[Row]) -> dict[int, bytes]:
    """The keys in these rows by version, each group opened by the provider that wrapped it."""
    found: dict[int, bytes] = {}
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(row["provider"], []).append(row)
    for name, group in groups.items():
        provider = next((one for one in known if one.name == name), None)
        if provider is None:
            raise KeyAway(f"the keyring is held by the provider {name!r}, which is not set up here")
        data = await provider.unwrap([bytes(row["wrapped"]) for row in group])
        found |= {row["version"]: unpacked(row["version"], one) for row, one in zip(group, data, strict=True)}
    return found


async def _opened(known: Sequence[Provider], rows: Sequence[Row]) -> Ring:
    if any(row["wrapped"] is None for row in rows):
        raise KeyAway("the keyring has not been begun")
    found = await secrets_of(known, rows)
    ring = Ring(found.pop(BASE), found, _active(rows)["version"])
    ring.allow_seals(0)
    return ring


def _active(rows: Sequence[Row]) -> Row:
    return next(row for row in rows if row["state"] == "active")


async def grant(ring: Ring) -> None:
    """Take a block of encryptions while there are some; at the end of a key sealing stops, opening goes on."""
    if ring.is_unlocked() and ring.seals_left < BLOCK // 2:
        if await db.fetchval(GRANT, ring.active, BLOCK, MOST_SEALS):
            ring.allow_seals(ring.seals_left + BLOCK)


# -- keeping up -------------------------------------------------------------------------


class Follower:
    """Watches the keyring once a second, and the master key's provider several times within ``key_seconds``."""

    def __init__(self, config: Config, *, shown: bool = True) -> None:
        self._config = config
        self._is_shown = shown
        self._providers = providers(config)
        self._rows: list[Row] = []
        self._asked_at = float("-inf")
        self._shown: tuple[Any, ...] = ()
        self._shown_at = float("-inf")
        self._problem = ""
        self.name = f"{socket.gethostname()}-{os.getpid()}"

    async def follow(self) -> None:
        outage = Outage(log, "the keyring cannot be read now", "the keyring is read again")
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            try:
                await self.look()
                outage.is_over()
            except db.AWAY as error:
                outage.goes_on(error)
            except Exception:  # whatever it was, the process must keep following
                log.exception("the keyring cannot be followed")

    async def look(self) -> None:
        began = time.monotonic()
        rows = await db.fetch(ROWS)
        changed = rows != self._rows and not self._problem
        if changed or began - self._asked_at >= self._pause():
            await self._ask(rows, began)
        ring = keys.current()
        ring.seals_until(began + SEALS_FOR)
        if ring.is_unlocked() and not ring.opens_codes():
            ring.forget_codes(self._problem or "the master key was not seen for too long")
        await grant(ring)
        if self._is_shown:
            await self._show(ring)

    def _pause(self) -> float:
        """Seconds between two questions to the provider: often when it said no, to notice its return."""
        return min(5.0, self._config.key_seconds / 5) if self._problem else self._config.key_seconds / 5

    async def _ask(self, rows: list[Row], began: float) -> None:
        self._asked_at = began
        try:
            if any(row["wrapped"] is None for row in rows):
                rows = await _rows(self._providers)
            ring = await _opened(self._providers, rows)
        except KeyAway as away:
            self._refused(str(away), rows)
            return
        if self._problem:
            log.warning("the vault has its key again")
        self._problem, self._rows = "", rows
        before = keys.current()
        ring.allow_seals(before.seals_left if before.is_unlocked() and before.active == ring.active else 0)
        ring.confirm(began + self._config.key_seconds, began + SEALS_FOR)
        keys.use(ring)

    def _refused(self, reason: str, rows: Sequence[Row]) -> None:
        if reason != self._problem:
            log.error("the vault has no key: %s. Orders and payments go on, no code is shown.", reason)
        self._problem = reason
        if not keys.current().is_unlocked():
            active = _active(rows)
            keys.use(Ring.locked(reason, active["version"], active["public_key"]))

    async def _show(self, ring: Ring) -> None:
        """Tell the others what this process holds. One without keys holds up nobody: it knows what it reads."""
        newest = ring.newest or max(row["version"] for row in self._rows or await db.fetch(ROWS))
        shown = (ring.active, newest, self._problem)
        if shown != self._shown or time.monotonic() - self._shown_at >= BEAT_SECONDS:
            await db.execute(SHOW, self.name, *shown)
            self._shown, self._shown_at = shown, time.monotonic()


@contextlib.asynccontextmanager
async def following(config: Config, *, shown: bool = True) -> AsyncIterator[Follower]:
    """The keys of the shop for as long as this process lives. Without a key it starts all the same, locked.

    A process that is not ``shown`` is waited for by nobody; it must wait for itself.
    """
    follower = Follower(config, shown=shown)
    await follower.look()
    task = asyncio.create_task(follower.follow())
    try:
        yield follower
    finally:
        await tasks.end(task)
        with contextlib.suppress(*db.AWAY):
            await db.execute("DELETE FROM vault_holder WHERE name = $1", follower.name)


# -- how it is --------------------------------------------------------------------------


async def problems() -> list[Any]:
    """The living processes that have no key, with their reason."""
    return await db.fetch(
        "SELECT name, problem FROM vault_holder"
        " WHERE problem <> '' AND seen_at > now() - make_interval(secs => $1)"
        " AND seen_at < now() + make_interval(secs => $1) ORDER BY name",
        ALIVE_SECONDS,
    )
