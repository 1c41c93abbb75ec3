"""The master key in its file or in the environment, and the keys this process uses."""

from __future__ import annotations

import base64
import binascii
import os
import re
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from core.config import SetupProblem
from core.vault.ring import Ring
from core.web.i18n import _

KEY_BYTES = 32
HEX_KEY = re.compile(r"[0-9a-fA-F]{64}")


class KeyFileError(SetupProblem):
    """The master key cannot be used. The text says why and what to do; it never holds the key."""


class MasterKey:
    """32 secret bytes and their version number. Prints without the secret."""

    __slots__ = ("secret", "version")

    def __init__(self, secret: bytes, version: int = 1) -> None:
        if len(secret) != KEY_BYTES:
            raise KeyFileError(_("the master key must be %(bytes)s bytes long", bytes=KEY_BYTES))
        self.secret = secret
        self.version = version

    def __repr__(self) -> str:
        return f"MasterKey(version={self.version})"

    def __reduce__(self) -> str:
        raise TypeError("a master key is never pickled")


class KeyConfig(Protocol):
    @property
    def master_key(self) -> str | None: ...

    @property
    def master_key_file(self) -> Path: ...


_current = Ring.locked("no master key was loaded")


def use(keys: MasterKey | Ring) -> None:
    """Make these the keys of this process. A single key stands for all of them, as in a shop that never rotated."""
    global _current
    _current = Ring(keys.secret, {keys.version: keys.secret}, keys.version) if isinstance(keys, MasterKey) else keys


def current() -> Ring:
    return _current


def load(config: KeyConfig) -> list[MasterKey]:
    """The master keys that are there: the first seals, all of them open.

    :raises KeyFileError: there is none, or it cannot be used.
    """
    if config.master_key:
        return [MasterKey(_decode(text.strip(), "VOUCHSAFE_MASTER_KEY")) for text in config.master_key.split(",")]
    return [MasterKey(_decode(line, str(config.master_key_file))) for line in _read(config.master_key_file)]


def create(path: Path) -> bool:
    """Write a new key unless the file is there. Several processes may try at once: the link decides."""
    if path.exists():
        return False
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft = _draft(path, [secrets.token_bytes(KEY_BYTES)])
    try:
        os.link(draft, path)
    except FileExistsError:
        return False
    finally:
        draft.unlink()
    _keep(path.parent)
    return True


def write(path: Path, masters: Sequence[MasterKey]) -> None:
    """Put these keys in place of those in the file; at every moment it holds either the old or the new ones."""
    _draft(path, [master.secret for master in masters]).rename(path)
    _keep(path.parent)


def as_text(masters: Sequence[MasterKey]) -> bytes:
    return b"".join(base64.b64encode(master.secret) + b"\n" for master in masters)


def from_text(text: bytes, source: str) -> list[MasterKey]:
    return [MasterKey(_decode(line, source)) for line in text.decode("ascii", "replace").split()]


def _draft(path: Path, secret_keys: Sequence[bytes]) -> Path:
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.writelines(base64.b64encode(secret) + b"\n" for secret in secret_keys)
        file.flush()
        os.fsync(file.fileno())
    return draft


def _keep(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _read(path: Path) -> list[str]:
    try:
        with path.open("rb") as file:
            _check_access(path, os.fstat(file.fileno()))
            text = file.read(1024).decode("ascii", "replace")
    except OSError as error:
        raise KeyFileError(
            _("the master key file %(path)s cannot be read: %(why)s", path=path, why=error.strerror)
        ) from None
    return text.split() or [""]


def _check_access(path: Path, facts: os.stat_result) -> None:
    if facts.st_mode & 0o077:
        raise KeyFileError(
            _("the master key file %(path)s can be read by other users; run: chmod 600 %(path)s", path=path)
        )
    if facts.st_uid not in (0, os.geteuid()):
        raise KeyFileError(_("the master key file %(path)s belongs to another user", path=path))


def _decode(text: str, source: str) -> bytes:
    if HEX_KEY.fullmatch(text):
        return bytes.fromhex(text)
    try:
        key = base64.b64decode(text, altchars=b"-_" if {"-", "_"} & set(text) else None, validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != KEY_BYTES:
        raise KeyFileError(
            _(
                "%(source)s does not hold a master key (%(bytes)s bytes as base64 or hex)",
                source=source,
                bytes=KEY_BYTES,
            )
        )
    return key
