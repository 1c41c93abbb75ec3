"""What the vault seals and opens: codes with the data key of their batch, other secrets with a key of the ring.

What a blob belongs to is bound to it as associated data, so one moved to another row, batch, SKU or shop does not open.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from functools import lru_cache
from typing import NoReturn

from core.vault import aead, keys
from core.vault.aead import AES_256_GCM, NONCE, DecryptError, fields, version_of
from core.vault.code_text import mask, masks, normalise
from core.vault.ring import MOST_SEALS, KeyWorn, VaultLocked

__all__ = [
    "MOST_SEALS",
    "BatchCipher",
    "DecryptError",
    "KeyWorn",
    "OneKey",
    "Secret",
    "VaultLocked",
    "derive",
    "fingerprint",
    "fingerprints",
    "mask",
    "masks",
    "new_batch_key",
    "new_key",
    "open_batch",
    "open_secret",
    "rewrap_batch_key",
    "seal_secret",
]

FIRST_VERSION = 1
BUCKET = 32
MAX_BYTES = 65_535
FINGERPRINT_VERSION = 1
# What a process without a key may seal all the same: orders go on. Whoever can write to the database can forge
# such a blob, so it must be of no use to them.
DROPPED = frozenset({"order-token"})


class Secret:
    """Text that shows itself only when asked by name."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        return self._text

    def __repr__(self) -> str:
        return "Secret(••••)"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return repr(self)

    def __reduce__(self) -> NoReturn:
        raise TypeError("a secret is never pickled")


# -- keys -------------------------------------------------------------------------------


def new_key() -> bytes:
    return os.urandom(keys.KEY_BYTES)


def derive(purpose: str) -> bytes:
    """32 bytes for one purpose, always the same, however often keys are rotated."""
    return keys.current().derive(purpose)


# -- codes ------------------------------------------------------------------------------


class BatchCipher:
    """Seals and opens the codes of one import batch with the data key of that batch.

    ``sealed`` counts what this key has sealed; a batch that is added to later must go on counting.
    """

    __slots__ = ("_aads", "_ciphers", "_encrypt", "_header", "sealed")

    def __init__(
        self, data_key: bytes, shop_id: int, sku_id: int, batch_id: int, algorithm: int = AES_256_GCM, sealed: int = 0
    ) -> None:
        self._ciphers = {number: cipher(data_key) for number, cipher in aead.CIPHERS.items()}
        # The id of the code follows as the last field.
        self._aads = {
            number: fields(bytes([aead.FORMAT_1]), bytes([number]), shop_id, sku_id, batch_id) + (8).to_bytes(4, "big")
            for number in self._ciphers
        }
        self._header = bytes([aead.FORMAT_1, algorithm])
        self._encrypt = self._ciphers[algorithm].encrypt
        self.sealed = sealed

    def seal(self, code_id: int, code: str) -> bytes:
        return self.seal_many([code_id], [code])[0]

    def seal_many(self, code_ids: Iterable[int], codes: list[str]) -> list[bytes]:
        encrypt, header, aad = self._encrypt, self._header, self._aads[self._header[1]]
        texts = _utf8(codes)
        if self.sealed + len(texts) > MOST_SEALS:
            raise KeyWorn
        self.sealed += len(texts)
        nonces = os.urandom(NONCE * len(texts))
        nonce_at = (nonces[at : at + NONCE] for at in range(0, len(nonces), NONCE))
        blobs = []
        for code_id, text, nonce in zip(code_ids, texts, nonce_at, strict=True):
            before, after = _frame(len(text))
            blobs.append(header + nonce + encrypt(nonce, before + text + after, aad + code_id.to_bytes(8, "big")))
        return blobs

    def open(self, code_id: int, blob: bytes) -> Secret:
        aad = self._aads.get(blob[1] if len(blob) > 1 else 0, b"")
        padded = aead.open_format_1(self._ciphers, blob, aad + code_id.to_bytes(8, "big"))
        return Secret(padded[2 : 2 + int.from_bytes(padded[:2], "big")].decode())


@lru_cache(maxsize=MAX_BYTES)
def _frame(size: int) -> tuple[bytes, bytes]:
    """What goes before and after a text: its length, and zeros, so that lengths in steps of 32 tell nothing."""
    return size.to_bytes(2, "big"), bytes(-(size + 2) % BUCKET)


def _utf8(codes: list[str]) -> list[bytes]:
    try:
        return [code.encode() for code in codes]
    except UnicodeEncodeError:
        # Its message would carry the code.
        raise ValueError("a code holds half a sign and cannot be stored") from None


def new_batch_key(shop_id: int, sku_id: int, batch_id: int) -> tuple[bytes, int]:
    """A fresh data key, wrapped by the active key of the vault, and the version of that key."""
    return _wrapped(new_key(), shop_id, sku_id, batch_id)


def open_batch(
    wrapped_key: bytes, key_version: int, shop_id: int, sku_id: int, batch_id: int, sealed: int = 0
) -> BatchCipher:
    """:raises VaultLocked: the key of the vault is away, or this process has not learned of that version yet."""
    wrapped_key = bytes(wrapped_key)

    def make() -> BatchCipher:
        data_key = _unwrapped(wrapped_key, key_version, shop_id, sku_id, batch_id)
        return BatchCipher(data_key, shop_id, sku_id, batch_id, sealed=sealed)

    if sealed:
        return make()
    return keys.current().batch((wrapped_key, key_version, shop_id, sku_id, batch_id), make)


def rewrap_batch_key(
    wrapped_key: bytes, key_version: int, shop_id: int, sku_id: int, batch_id: int
) -> tuple[bytes, int]:
    """The same data key under the active key of the vault. No code is touched."""
    data_key = _unwrapped(bytes(wrapped_key), key_version, shop_id, sku_id, batch_id)
    return _wrapped(data_key, shop_id, sku_id, batch_id)


def _wrapped(data_key: bytes, shop_id: int, sku_id: int, batch_id: int) -> tuple[bytes, int]:
    ring = keys.current()
    key = ring.wrap_key(ring.active)
    ring.spend()
    return key.seal(data_key, batch_aad(shop_id, sku_id, batch_id, ring.active)), ring.active


def _unwrapped(wrapped_key: bytes, key_version: int, shop_id: int, sku_id: int, batch_id: int) -> bytes:
    key = keys.current().wrap_key(key_version)
    return key.open(wrapped_key, batch_aad(shop_id, sku_id, batch_id, key_version))


def batch_aad(shop_id: int, sku_id: int, batch_id: int, key_version: int) -> bytes:
    return fields("data key", shop_id, sku_id, batch_id, key_version)


# -- fingerprints -----------------------------------------------------------------------


def fingerprint(shop_id: int, code: str) -> bytes:
    """Tells whether this shop has seen this code, without saying anything else about it."""
    return fingerprints(shop_id, [code])[0]


def fingerprints(shop_id: int, codes: Iterable[str]) -> list[bytes]:
    inner_key, outer_key = keys.current().index()
    inner_key = inner_key.copy()
    inner_key.update(bytes([FINGERPRINT_VERSION]) + shop_id.to_bytes(8, "big"))
    found = []
    for text in _utf8([normalise(code) for code in codes]):
        inner, outer = inner_key.copy(), outer_key.copy()
        inner.update(text)
        outer.update(inner.digest())
        found.append(outer.digest())
    return found


# -- other secrets ----------------------------------------------------------------------


def seal_secret(purpose: str, data: bytes) -> bytes:
    """Seal a setting, a second-factor key and the like. It opens only under the same purpose."""
    ring, aad = keys.current(), fields("secret", purpose)
    if purpose in DROPPED and ring.public_key and not ring.can_seal():
        return aead.drop(ring.public_key, ring.active, data, aad)
    ring.spend()
    return ring.secrets_key(ring.active).seal(data, aad)


def open_secret(purpose: str, blob: bytes) -> bytes:
    """:raises VaultLocked: the key of the vault is away, or this process has not learned of that version yet."""
    ring, aad = keys.current(), fields("secret", purpose)
    version = version_of(blob)
    if version is None:
        return ring.secrets_key(FIRST_VERSION).open(blob, aad)
    if blob[1:2] == bytes([aead.TO_PUBLIC_KEY]) and purpose in DROPPED:
        return ring.box(version).open(blob, aad)
    return ring.secrets_key(version).open(blob, aad)


class OneKey:
    """Seals numbered pieces of one thing, such as a file, with a key made for it alone."""

    __slots__ = ("_ciphers", "_sealed")

    def __init__(self, key: bytes) -> None:
        self._ciphers = {number: cipher(key) for number, cipher in aead.CIPHERS.items()}
        self._sealed = 0

    def seal(self, place: str, number: int, data: bytes) -> bytes:
        if self._sealed >= MOST_SEALS:
            raise KeyWorn
        self._sealed += 1
        nonce = os.urandom(NONCE)
        header = bytes([aead.FORMAT_1, AES_256_GCM])
        return header + nonce + self._ciphers[AES_256_GCM].encrypt(nonce, data, fields(place, number))

    def open(self, place: str, number: int, blob: bytes) -> bytes:
        return aead.open_format_1(self._ciphers, blob, fields(place, number))
