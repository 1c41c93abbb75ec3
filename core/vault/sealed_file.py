"""Files sealed as a stream, in constant memory: to the public half of a key, or under a passphrase.

The format is age (age-encryption.org/v1), so the ``age`` program opens a file sealed to a key. Under a passphrase, a
key made for this one file stands before it, itself sealed under the passphrase.
"""

from __future__ import annotations

from typing import IO, Any, Protocol

import pyrage

from core.vault.cipher import Secret
from core.web.i18n import gettext

UNDER_PASSPHRASE = b"vouchsafe sealed file, passphrase, 1\n"
SIZE = 4
LONGEST_KEY = 4096


class Source(Protocol):
    def read(self, size: int, /) -> bytes: ...


class CannotOpen(Exception):
    """The file does not open. The text says what a person can do; it holds no secret."""


class CannotSeal(Exception):
    """What was to be sealed could not be read, or the sealed file not be written."""


def new_key() -> tuple[Secret, str]:
    """A key of its own: the secret half opens, the public half (``age1…``) can only seal."""
    key = pyrage.x25519.Identity.generate()
    return Secret(str(key)), str(key.to_public())


def is_public_key(text: str) -> bool:
    try:
        pyrage.x25519.Recipient.from_str(text)
    except pyrage.RecipientError:
        return False
    return True


def seal(source: Source, target: IO[bytes], to: str | Secret) -> None:
    """Seal all of ``source`` into ``target``: to a public key, or under a passphrase when ``to`` is a secret.

    :raises CannotSeal: the source could not be read to its end, or the target not be written.
    """
    if isinstance(to, Secret):
        key = pyrage.x25519.Identity.generate()
        sealed = pyrage.passphrase.encrypt(str(key).encode(), to.reveal())
        target.write(UNDER_PASSPHRASE + len(sealed).to_bytes(SIZE, "big") + sealed)
        recipient = key.to_public()
    else:
        recipient = pyrage.x25519.Recipient.from_str(to)
    try:
        pyrage.encrypt_io(source, target, [recipient])
    except pyrage.EncryptError as error:
        raise CannotSeal(str(error)) from None


def key_for(source: IO[bytes], by: Secret) -> Secret:
    """The key that opens this file: ``by`` itself, or what lies in the file under the passphrase ``by``.

    :raises CannotOpen: the passphrase is another one.
    """
    if source.read(len(UNDER_PASSPHRASE)) != UNDER_PASSPHRASE:
        return by
    try:
        return Secret(pyrage.passphrase.decrypt(_sealed_key(source), by.reveal()).decode())
    except pyrage.DecryptError:
        raise CannotOpen(gettext("the passphrase is wrong, or the file is damaged")) from None


def unseal(source: IO[bytes], target: Any, key: Secret) -> None:
    """Write what is inside to ``target``.

    What was written before an error must be thrown away: the end of the file may be missing.

    :raises CannotOpen: another key, or a file that was cut or changed.
    """
    if is_under_passphrase(source):
        source.seek(len(UNDER_PASSPHRASE))
        _sealed_key(source)
    try:
        pyrage.decrypt_io(source, target, [_identity(key)])
    except pyrage.DecryptError:
        raise CannotOpen(gettext("it was sealed to another key, or it is no backup")) from None
    except OSError as error:
        if error.errno is not None:
            raise
        raise CannotOpen(gettext("the file is damaged: it was cut short or changed")) from None


def is_under_passphrase(source: IO[bytes]) -> bool:
    start = source.read(len(UNDER_PASSPHRASE))
    source.seek(0)
    return start == UNDER_PASSPHRASE


def _sealed_key(source: IO[bytes]) -> bytes:
    return source.read(min(int.from_bytes(source.read(SIZE), "big"), LONGEST_KEY))


def _identity(key: Secret) -> Any:
    try:
        return pyrage.x25519.Identity.from_str(key.reveal().strip())
    except pyrage.IdentityError:
        raise CannotOpen(gettext("this is no key: it begins with AGE-SECRET-KEY-1")) from None
