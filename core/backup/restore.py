"""A backup becomes a shop again, in an empty data folder, and is looked over before it may start."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import subprocess
import tarfile
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any, Literal

import asyncpg

from core import db, embedded, engine_place
from core.backup import archive, relay
from core.backup.archive import DATABASE, FILES, FORMAT, MANIFEST, OWN_SESSION, PIECE
from core.backup.unfinished import UNFINISHED
from core.config import Config, SetupProblem
from core.crash_point import crash_point
from core.shops import service as shops
from core.terminal import _
from core.vault import cipher, keyring, keys, quarantine, sealed_file
from core.vault.cipher import DecryptError, Secret
from core.vault.keys import MasterKey
from core.vault.providers import KeyAway
from core.vault.ring import Ring
from core.web.i18n import gettext, speaking

NOT_EMPTY = "SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'v', 'S')"
BATCHES = """
SELECT batch.id, batch.shop_id, batch.sku_id, batch.wrapped_key, batch.key_version, code.id AS code_id, code.blob
FROM vault_batch batch LEFT JOIN LATERAL (
    SELECT id, blob FROM vault_code WHERE batch_id = batch.id AND length(blob) > 0 ORDER BY id DESC LIMIT 1
) AS code ON true
WHERE batch.wrapped_key <> '' ORDER BY batch.id DESC LIMIT 1000
"""
LONELY = """
SELECT count(*) FROM vault_code code LEFT JOIN orders_line line ON line.id = code.line_id
WHERE code.line_id IS NOT NULL AND line.id IS NULL
"""

State = Literal["ok", "warn", "fail"]


@dataclass(frozen=True, slots=True)
class Found:
    name: str
    state: State
    text: str

    def line(self) -> str:
        return f"{self.state:4}  {self.name:9} {self.text}"

    def facts(self) -> dict[str, str]:
        return asdict(self)


class RestoreFailed(SetupProblem):
    """The text says what to do."""


def check_empty(config: Config) -> None:
    allowed = {config.master_key_file, config.home / "lost+found"}
    if config.home.exists() and {path for path in config.home.iterdir() if path not in allowed}:
        raise RestoreFailed(
            _(
                "The data folder %(home)s is not empty, and a restore never writes over a shop. Set "
                "VOUCHSAFE_HOME to a new folder.",
                home=config.home,
            )
        )


# -- the whole of it --------------------------------------------------------------------


def restore(
    config: Config,
    file: Path,
    key: Secret,
    masters: Sequence[MasterKey] = (),
    say: Callable[[str], None] = print,
    *,
    nothing_sold_since: bool = False,
) -> list[Found]:
    """Make the shop of ``file`` in this empty data folder (and in the empty database of ``config``, if it names one).

    ``masters`` are written to the file of the master key. The shop does not start until what was found is sound.
    Codes sold after the backup look free in it: unless ``nothing_sold_since``, all free ones are set aside.

    :raises RestoreFailed: nothing was touched.
    """
    check_empty(config)
    manifest = check_file(file, key)
    if config.database_url:
        asyncio.run(_check_database_empty(config.database_url))
    engine_place.make_home(config.home)
    (config.home / UNFINISHED).touch(mode=0o600)
    if masters:
        keys.write(config.master_key_file, masters)
    with embedded.addresses(config, say) as config:
        found = asyncio.run(_bring_back(config, file, key, manifest, nothing_sold_since))
    if all(one.state != "fail" for one in found):
        (config.home / UNFINISHED).unlink()
    return found


async def _bring_back(
    config: Config, file: Path, key: Secret, manifest: dict[str, Any], nothing_sold_since: bool
) -> list[Found]:
    url = config.database_url or ""
    connection = await asyncpg.connect(url, server_settings=OWN_SESSION)
    try:
        async with relay.for_programs(connection, url) as address:
            await asyncio.to_thread(_unpack, config.home, file, key, address)
        crash_point("restore.unpacked")
        found = _compare(manifest, await archive.figures(connection))
    finally:
        await connection.close()
    await db.open_pool(url, size=2)
    try:
        await db.migrate()
        await db.execute("DELETE FROM backup_file WHERE state = 'running'")
        found += [await _lines(), *await _codes(config)]
        if not nothing_sold_since:
            found += await _hold(manifest["taken_at"])
        return found
    finally:
        await db.close_pool()


async def _check_database_empty(url: str) -> None:
    try:
        connection = await asyncpg.connect(url)
    except db.CANNOT_OPEN as error:
        raise RestoreFailed(str(db.cannot_open(error))) from None
    try:
        if await connection.fetchval(NOT_EMPTY):
            raise RestoreFailed(_("The database is not empty, and a restore never writes over a shop. Make a new one."))
    finally:
        await connection.close()


# -- reading the file -------------------------------------------------------------------


def check_file(file: Path, key: Secret) -> dict[str, Any]:
    """Read all of it once, so that nothing is touched when its end is missing or a bit of it was changed.

    :raises RestoreFailed: it does not open, or this version cannot read it.
    """
    manifest: dict[str, Any] = {}
    for name, content in entries(file, key):
        if name == MANIFEST:
            manifest = json.loads(content.read())
    if manifest.get("format") != FORMAT:
        raise RestoreFailed(
            _("%(file)s was made by another version of Vouchsafe. Restore it with that version.", file=file)
        )
    newer = {(app, name) for app, name in manifest["migrations"]} - db.known_migrations()
    if newer:
        raise RestoreFailed(
            _(
                "%(file)s was made by a newer version of Vouchsafe (%(number)s migrations are unknown here). "
                "Restore it with that version.",
                file=file,
                number=len(newer),
            )
        )
    return manifest


def entries(file: Path, key: Secret) -> Iterator[tuple[str, IO[bytes]]]:
    """Each entry of a backup while a thread opens the seal. The end of the file is checked at the end only.

    :raises RestoreFailed: it does not open, or not to its end.
    """
    reading, writing = os.pipe()
    problems: list[Exception] = []
    thread = threading.Thread(target=_unseal, args=(file, key, writing, problems))
    thread.start()
    unread = None
    try:
        with os.fdopen(reading, "rb") as stream, tarfile.open(fileobj=stream, mode="r|") as tar:
            for info in tar:
                content = tar.extractfile(info)
                if content is not None:
                    yield info.name, content
            while stream.read(PIECE):
                pass
    except tarfile.TarError as error:
        unread = error
    finally:
        thread.join()
    # a broken seal is why there is nothing more to read
    if problems or unread:
        raise RestoreFailed(
            _("%(file)s cannot be opened: %(why)s.", file=file, why=(problems or [unread])[0])
        ) from None


def _unseal(file: Path, key: Secret, writing: int, problems: list[Exception]) -> None:
    try:
        with os.fdopen(writing, "wb") as output, file.open("rb") as source:
            sealed_file.unseal(source, output, key)
    except BrokenPipeError:
        pass  # the reader wants no more, and knows why
    except (OSError, sealed_file.CannotOpen) as error:
        problems.append(error)


# -- writing the shop -------------------------------------------------------------------


def _unpack(home: Path, file: Path, key: Secret, url: str) -> None:
    with _pg_restore(url) as database:
        for name, content in entries(file, key):
            if name.startswith(DATABASE):
                crash_point("restore.half")
                database.write(content.read())
            elif name.startswith(FILES):
                _write_file(home, name.removeprefix(FILES), content)


def _write_file(home: Path, name: str, content: IO[bytes]) -> None:
    parts = PurePosixPath(name).parts
    if not parts or parts[0] == "/" or ".." in parts:
        raise RestoreFailed(_("The backup holds a file that leads out of the data folder: %(name)s.", name=repr(name)))
    path = home.joinpath(*parts)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("xb") as output:
        while piece := content.read(PIECE):
            output.write(piece)


@contextlib.contextmanager
def _pg_restore(database_url: str) -> Iterator[IO[bytes]]:
    """Everything in one transaction: killed in the middle, the database stays empty."""
    url, password = relay.without_password(database_url)
    options = ["--single-transaction", "--exit-on-error", "--no-owner", "--no-acl", f"--dbname={url}"]
    command = [engine_place.postgres_program("pg_restore"), *options]
    with tempfile.TemporaryFile() as errors:
        with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=errors, env={**os.environ, **password}) as process:
            assert process.stdin is not None  # noqa: S101 - it was asked for
            try:
                with contextlib.suppress(BrokenPipeError), process.stdin:
                    yield process.stdin
            except BaseException:
                process.kill()
                raise
        if process.returncode != 0:
            errors.seek(0)
            raise RestoreFailed(f"pg_restore: {errors.read(2000).decode(errors='replace').strip()}")


# -- looking it over --------------------------------------------------------------------


def _compare(manifest: dict[str, Any], now: dict[str, Any]) -> list[Found]:
    rows, books, stock = (_differences(manifest[name], now[name]) for name in ("rows", "books", "stock"))
    total: dict[str, int] = {}
    for account, balance in now["books"].items():
        currency = account.rpartition(":")[2]
        total[currency] = total.get(currency, 0) + balance
    entries_of_audit = now["rows"].get("audit_entry", 0)
    return [
        Found("taken", "ok", _("the backup is of %(taken_at)s, from PostgreSQL %(postgres)s", **manifest)),
        _found("rows", rows, _("%(rows)s rows in %(tables)s tables, as in the backup", **_counted(now["rows"]))),
        _found(
            "books",
            books + _unequal(total),
            _("%(number)s accounts, and the books sum to zero", number=len(now["books"])),
        ),
        _found("stock", stock, ", ".join(f"{codes} {state}" for state, codes in now["stock"].items()) or _("no codes")),
        Found("audit", "ok" if not rows else "fail", _("%(number)s entries", number=entries_of_audit)),
    ]


def _counted(rows: dict[str, int]) -> dict[str, int]:
    return {"rows": sum(rows.values()), "tables": len(rows)}


def _differences(then: dict[str, int], now: dict[str, int]) -> list[str]:
    return [
        _("%(name)s: %(then)s in the backup, %(now)s here", name=name, then=then.get(name), now=now.get(name))
        for name in sorted({*then, *now})
        if then.get(name) != now.get(name)
    ]


def _unequal(total: dict[str, int]) -> list[str]:
    return [
        _("the books in %(currency)s sum to %(left)s", currency=currency, left=left)
        for currency, left in total.items()
        if left
    ]


def _found(name: str, problems: list[str], text: str) -> Found:
    return Found(name, "fail", "; ".join(problems[:5])) if problems else Found(name, "ok", text)


async def _lines() -> Found:
    lonely = await db.fetchval(LONELY)
    problems = [_("%(number)s codes belong to no order", number=lonely)] if lonely else []
    return _found("orders", problems, _("every sold code has its order"))


async def _hold(taken_at: str) -> list[Found]:
    held = 0
    for shop in await shops.all_shops():
        with speaking(shop.locale):
            reason = gettext("Restored from the backup of %(time)s: some of these may have been sold since") % {
                "time": taken_at
            }
        held += await db.transaction(quarantine.hold_everything, shop.id, reason)
    if not held:
        return []
    text = _(
        "%(number)s free codes are set aside, for some may have been sold after the backup: look at Stock, Set aside",
        number=held,
    )
    return [Found("held", "warn", text)]


async def _codes(config: Config) -> list[Found]:
    """Codes open with the key of the shop and stay closed to any other. No code is looked at."""
    batches = await db.fetch(BATCHES)
    keys.use(Ring(*_stranger()))
    strange = sum([_opens(batch) for batch in batches])
    open_to_all = [_("%(number)s batches open with any key", number=strange)] if strange else []
    closed = _found("closed", open_to_all, _("nothing opens without it"))
    try:
        await keyring.unlock(config)
    except KeyAway as away:
        return [Found("key", "warn", _("%(why)s. No code can be shown until the key is there.", why=away)), closed]
    shut = sum([not _opens(batch) for batch in batches])
    problems = []
    if shut:
        problems = [_("%(shut)s of %(number)s batches do not open with the master key", shut=shut, number=len(batches))]
    return [_found("key", problems, _("the master key opens %(number)s batches", number=len(batches))), closed]


def _stranger() -> tuple[bytes, dict[int, bytes], int]:
    return secrets.token_bytes(32), {number: secrets.token_bytes(32) for number in range(1, 9)}, 1


def _opens(batch: Any) -> bool:
    names = ("wrapped_key", "key_version", "shop_id", "sku_id", "id")
    try:
        opened = cipher.open_batch(*(batch[name] for name in names))
        if batch["blob"]:
            opened.open(batch["code_id"], batch["blob"])
    except (DecryptError, cipher.VaultLocked):
        return False
    return True
