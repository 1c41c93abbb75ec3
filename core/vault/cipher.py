"""Every use of a cipher in the vault. Nothing else in it imports ``cryptography``.

A sealed blob is: format ‖ algorithm ‖ nonce (12) ‖ ciphertext and tag. What it belongs to is bound to it as
associated data, so a blob moved to another row, batch, SKU or shop does not open.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from functools import lru_cache
from typing import NoReturn

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from core.vault import keys
from core.vault.code_text import mask, masks, normalise

__all__ = [
    "BatchCipher",
    "DecryptError",
    "OneKey",
    "Secret",
    "derive",
    "fingerprint",
    "fingerprints",
    "mask",
    "masks",
    "new_batch_key",
    "new_key",
    "open_batch",
    "open_secret",
    "seal_secret",
]

FORMAT = 1
AES_256_GCM = 1
HEADER = bytes([FORMAT, AES_256_GCM])
NONCE = 12
TAG = 16
BUCKET = 32
MAX_BYTES = 65_535
FINGERPRINT_VERSION = 1


class DecryptError(Exception):
    """A sealed value does not open. Always the same text: the reason would help only an attacker."""

    def __init__(self) -> None:
        super().__init__("this sealed value cannot be opened")


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
    """32 bytes for one purpose, always the same under the same master key."""
    return _derived(keys.current(), "app/" + purpose)


@lru_cache(maxsize=128)
def _derived(master: keys.MasterKey, purpose: str) -> bytes:
    return HKDF(hashes.SHA256(), keys.KEY_BYTES, salt=None, info=b"vouchsafe/" + purpose.encode()).derive(master.secret)


@lru_cache(maxsize=8)
def _vault_key(master: keys.MasterKey, purpose: str) -> AESGCM:
    return AESGCM(_derived(master, "vault/" + purpose))


# -- the one shape of a sealed value ----------------------------------------------------


def _fields(*values: bytes | int | str) -> bytes:
    """Values in a fixed order, each with its length in front, so that no two lists look alike."""
    raw = (v.to_bytes(8, "big") if isinstance(v, int) else v.encode() if isinstance(v, str) else v for v in values)
    return b"".join(len(v).to_bytes(4, "big") + v for v in raw)


def _seal(key: AESGCM, data: bytes, aad: bytes) -> bytes:
    nonce = os.urandom(NONCE)
    return HEADER + nonce + key.encrypt(nonce, data, aad)


def _open(key: AESGCM, blob: bytes, aad: bytes) -> bytes:
    if len(blob) < len(HEADER) + NONCE + TAG or blob[:2] != HEADER:
        raise DecryptError
    try:
        return key.decrypt(blob[2:14], blob[14:], aad)
    except InvalidTag:
        raise DecryptError from None


# -- codes ------------------------------------------------------------------------------


class BatchCipher:
    """Seals and opens the codes of one import batch with the data key of that batch."""

    __slots__ = ("_aad", "_key")

    def __init__(self, data_key: bytes, shop_id: int, sku_id: int, batch_id: int) -> None:
        self._key = AESGCM(data_key)
        # The id of the code follows as the last field.
        self._aad = _fields(HEADER[:1], HEADER[1:], shop_id, sku_id, batch_id) + (8).to_bytes(4, "big")

    def seal(self, code_id: int, code: str) -> bytes:
        return self.seal_many([code_id], [code])[0]

    def seal_many(self, code_ids: Iterable[int], codes: list[str]) -> list[bytes]:
        encrypt, aad = self._key.encrypt, self._aad
        texts = _utf8(codes)
        nonces = os.urandom(NONCE * len(texts))
        nonce_at = (nonces[at : at + NONCE] for at in range(0, len(nonces), NONCE))
        blobs = []
        for code_id, text, nonce in zip(code_ids, texts, nonce_at, strict=True):
            before, after = _frame(len(text))
            blobs.append(HEADER + nonce + encrypt(nonce, before + text + after, aad + code_id.to_bytes(8, "big")))
        return blobs

    def open(self, code_id: int, blob: bytes) -> Secret:
        padded = _open(self._key, blob, self._aad + code_id.to_bytes(8, "big"))
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
    """A fresh data key, wrapped by the master key, and the version of that master key."""
    master = keys.current()
    aad = _batch_aad(shop_id, sku_id, batch_id, master.version)
    return _seal(_vault_key(master, "wrap"), new_key(), aad), master.version


@lru_cache(maxsize=1024)
def _opened_batch(
    master: keys.MasterKey, wrapped_key: bytes, key_version: int, shop_id: int, sku_id: int, batch_id: int
) -> BatchCipher:
    aad = _batch_aad(shop_id, sku_id, batch_id, key_version)
    return BatchCipher(_open(_vault_key(master, "wrap"), wrapped_key, aad), shop_id, sku_id, batch_id)


def open_batch(wrapped_key: bytes, key_version: int, shop_id: int, sku_id: int, batch_id: int) -> BatchCipher:
    return _opened_batch(keys.current(), bytes(wrapped_key), key_version, shop_id, sku_id, batch_id)


def _batch_aad(shop_id: int, sku_id: int, batch_id: int, key_version: int) -> bytes:
    return _fields("data key", shop_id, sku_id, batch_id, key_version)


# -- fingerprints -----------------------------------------------------------------------


@lru_cache(maxsize=8)
def _hmac_states(master: keys.MasterKey) -> tuple[hashlib._Hash, hashlib._Hash]:
    """HMAC-SHA256 with its two key blocks already hashed: copying them halves the time per code."""
    block = _derived(master, "vault/code index").ljust(64, b"\0")
    inner = hashlib.sha256(bytes(byte ^ 0x36 for byte in block))
    return inner, hashlib.sha256(bytes(byte ^ 0x5C for byte in block))


def fingerprint(shop_id: int, code: str) -> bytes:
    """Tells whether this shop has seen this code, without saying anything else about it."""
    return fingerprints(shop_id, [code])[0]


def fingerprints(shop_id: int, codes: Iterable[str]) -> list[bytes]:
    inner_key, outer_key = _hmac_states(keys.current())
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
    return _seal(_vault_key(keys.current(), "secrets"), data, _fields("secret", purpose))


def open_secret(purpose: str, blob: bytes) -> bytes:
    return _open(_vault_key(keys.current(), "secrets"), blob, _fields("secret", purpose))


class OneKey:
    """Seals numbered pieces of one thing, such as a file, with a key made for it alone."""

    __slots__ = ("_key",)

    def __init__(self, key: bytes) -> None:
        self._key = AESGCM(key)

    def seal(self, place: str, number: int, data: bytes) -> bytes:
        return _seal(self._key, data, _fields(place, number))

    def open(self, place: str, number: int, blob: bytes) -> bytes:
        return _open(self._key, blob, _fields(place, number))
