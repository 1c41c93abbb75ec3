"""What `server.py backup` and `server.py restore` do with their options."""

from __future__ import annotations

import argparse
import io
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from core import db
from core.backup import archive, restore, service
from core.config import Config, SetupProblem
from core.terminal import _
from core.vault import keys, sealed_file
from core.vault.cipher import Secret

Facts = dict[str, Any]


def new_key(file: Path) -> Facts:
    """A key for backups: its secret half into a file, its public half for everybody."""
    secret, public = sealed_file.new_key()
    if file.exists():
        raise SetupProblem(_("%(file)s is there already.", file=file))
    with archive.appearing_whole(file) as output:
        output.write(f"{secret.reveal()}\n".encode())
    return {"key_file": str(file), "public_key": public}


def recipient(args: argparse.Namespace) -> str | Secret | None:
    """To whom the options seal; None: to the key of the shop's own plan."""
    if args.passphrase_stdin:
        return _from_stdin()
    if args.to and not sealed_file.is_public_key(args.to):
        raise SetupProblem(
            _(
                "%(key)s is no public key. It begins with age1; `server.py backup --new-key FILE` makes one.",
                key=args.to,
            )
        )
    return str(args.to) if args.to else None


async def take(config: Config, args: argparse.Namespace, to: str | Secret | None) -> Facts:
    if not await db.fetchval("SELECT to_regclass('backup_plan') IS NOT NULL"):
        raise SetupProblem(_("There is no shop here yet: start it once, then back it up."))
    to = to or (await service.plan()).public_key
    if not to:
        raise SetupProblem(_("Say to whom the backup is sealed: --to PUBLIC_KEY or --passphrase-stdin."))
    file = _file(config, args.file)
    made = await service.take(config, file, to, planned=args.planned)
    facts = {
        "file": str(made.file),
        "size": made.size,
        "seconds": round(made.seconds, 1),
        "taken_at": made.taken_at.isoformat(),
        "rows": made.manifest["rows"],
        "stock": made.manifest["stock"],
    }
    if args.with_keys:
        facts["keys_file"] = str(_keep_keys(config, Path(args.with_keys), to))
    return facts


def _file(config: Config, given: str | None) -> Path:
    return Path(given).absolute() if given else archive.default_file(config)


def _keep_keys(config: Config, file: Path, to: str | Secret) -> Path:
    """The master key in a sealed file of its own."""
    if config.transit or config.key_provider:
        keeper = config.key_provider or _("the transit engine")
        raise SetupProblem(
            _("The backup was made. The master key is held by %(keeper)s: back that up instead.", keeper=keeper)
        )
    if file.exists():
        raise SetupProblem(_("The backup was made, but %(file)s is there already: no key was written.", file=file))
    source = archive.Stream(iter([keys.as_text(keys.load(config))]))
    archive.write(file, source, to)
    return file


def restored(config: Config, args: argparse.Namespace, say: Callable[[str], None]) -> list[restore.Found]:
    file = Path(args.file)
    if not file.is_file():
        raise SetupProblem(_("There is no file %(file)s.", file=file))
    by = _opener(file, args)
    masters = keys.from_text(_opened(Path(args.keys), by), args.keys) if args.keys else []
    return restore.restore(config, file, _key(file, by), masters, say, nothing_sold_since=args.nothing_sold_since)


def _opener(file: Path, args: argparse.Namespace) -> Secret:
    with file.open("rb") as source:
        under_passphrase = sealed_file.is_under_passphrase(source)
    if under_passphrase and not args.passphrase_stdin:
        raise SetupProblem(_("%(file)s is sealed under a passphrase: give --passphrase-stdin.", file=file))
    if under_passphrase:
        return _from_stdin()
    if not args.key_file:
        raise SetupProblem(_("%(file)s is sealed to a key: give its secret half by --key-file FILE.", file=file))
    try:
        lines = Path(args.key_file).read_text().splitlines()
    except OSError as error:
        raise SetupProblem(
            _("The key file %(file)s cannot be read: %(why)s.", file=args.key_file, why=error.strerror)
        ) from None
    return Secret(next((line for line in lines if line.startswith("AGE-SECRET-KEY-")), ""))


def _key(file: Path, by: Secret) -> Secret:
    try:
        with file.open("rb") as source:
            return sealed_file.key_for(source, by)
    except (OSError, sealed_file.CannotOpen) as error:
        raise SetupProblem(_("%(file)s cannot be opened: %(why)s.", file=file, why=error)) from None


def _opened(file: Path, by: Secret) -> bytes:
    key, output = _key(file, by), io.BytesIO()
    try:
        with file.open("rb") as source:
            sealed_file.unseal(source, output, key)
    except (OSError, sealed_file.CannotOpen) as error:
        raise SetupProblem(_("%(file)s cannot be opened: %(why)s.", file=file, why=error)) from None
    return output.getvalue()


def _from_stdin() -> Secret:
    text = sys.stdin.readline().rstrip("\n")
    if not text:
        raise SetupProblem(_("No passphrase came on standard input."))
    return Secret(text)
