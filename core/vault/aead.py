"""Blobs and the ciphers that make them. Only this file and ``cipher`` import ``cryptography``.

Format 1:  1 ‖ algorithm ‖ nonce (12) ‖ ciphertext and tag. The row beside it names the key.
Format 2:  2 ‖ algorithm ‖ version of the key (4) ‖ the sealed bytes; these first six bytes are authenticated too.

Both must open for ever: tests/vault/blobs.json holds some of each.
"""

from __future__ import annotations

import os
from functools import lru_cache

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes, hpke
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, AESGCMSIV
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

FORMAT_1 = 1
FORMAT_2 = 2
AES_256_GCM = 1
AES_256_GCM_SIV = 2
TO_PUBLIC_KEY = 3
KEY_BYTES = 32
NONCE = 12
TAG = 16
HEADER_2 = 6

Cipher = AESGCM | AESGCMSIV
CIPHERS: dict[int, type[AESGCM] | type[AESGCMSIV]] = {AES_256_GCM: AESGCM, AES_256_GCM_SIV: AESGCMSIV}
SUITE = hpke.Suite(hpke.KEM.X25519, hpke.KDF.HKDF_SHA256, hpke.AEAD.AES_256_GCM)


class DecryptError(Exception):
    """A sealed value does not open. Always the same text: the reason would help only an attacker."""

    def __init__(self) -> None:
        super().__init__("this sealed value cannot be opened")


def derived(secret: bytes, purpose: str) -> bytes:
    return HKDF(hashes.SHA256(), KEY_BYTES, salt=None, info=b"vouchsafe/" + purpose.encode()).derive(secret)


def fields(*values: bytes | int | str) -> bytes:
    """Values in a fixed order, each with its length in front, so that no two lists look alike."""
    raw = (v.to_bytes(8, "big") if isinstance(v, int) else v.encode() if isinstance(v, str) else v for v in values)
    return b"".join(len(v).to_bytes(4, "big") + v for v in raw)


def header_2(algorithm: int, version: int) -> bytes:
    return bytes([FORMAT_2, algorithm]) + version.to_bytes(4, "big")


def version_of(blob: bytes) -> int | None:
    """The version of the key a blob of format 2 was sealed with; None: the row has to say it."""
    return int.from_bytes(blob[2:HEADER_2], "big") if blob[:1] == bytes([FORMAT_2]) else None


def decrypt(cipher: Cipher, nonce: bytes, data: bytes, aad: bytes) -> bytes:
    if len(nonce) != NONCE or len(data) < TAG:
        raise DecryptError
    try:
        return cipher.decrypt(nonce, data, aad)
    except InvalidTag:
        raise DecryptError from None


def open_format_1(ciphers: dict[int, Cipher], blob: bytes, aad: bytes) -> bytes:
    cipher = ciphers.get(blob[1]) if len(blob) >= 2 + NONCE + TAG and blob[0] == FORMAT_1 else None
    if cipher is None:
        raise DecryptError
    return decrypt(cipher, blob[2:14], blob[14:], aad)


class VersionKey:
    """One version of a key, for one purpose: a key of its own for each algorithm."""

    __slots__ = ("_headers", "ciphers", "version")

    def __init__(self, secret: bytes, version: int, purpose: str) -> None:
        self.version = version
        self.ciphers: dict[int, Cipher] = {
            AES_256_GCM: AESGCM(derived(secret, purpose)),
            AES_256_GCM_SIV: AESGCMSIV(derived(secret, f"{purpose}/{AES_256_GCM_SIV}")),
        }
        self._headers = {algorithm: header_2(algorithm, version) for algorithm in self.ciphers}

    def seal(self, data: bytes, aad: bytes, algorithm: int = AES_256_GCM_SIV) -> bytes:
        """Many processes seal with this key for years, so a nonce that repeats must not matter: GCM-SIV."""
        nonce, header = os.urandom(NONCE), self._headers[algorithm]
        return header + nonce + self.ciphers[algorithm].encrypt(nonce, data, header + aad)

    def open(self, blob: bytes, aad: bytes) -> bytes:
        if version_of(blob) is None:
            return open_format_1(self.ciphers, blob, aad)
        header, nonce, data = blob[:HEADER_2], blob[HEADER_2 : HEADER_2 + NONCE], blob[HEADER_2 + NONCE :]
        cipher = self.ciphers.get(header[1]) if len(header) == HEADER_2 else None
        if cipher is None or version_of(blob) != self.version:
            raise DecryptError
        return decrypt(cipher, nonce, data, header + aad)


class DropBox:
    """A box anybody may drop something into and only the holder of the key can open (HPKE, RFC 9180)."""

    __slots__ = ("_key", "version")

    def __init__(self, secret: bytes, version: int) -> None:
        self._key = X25519PrivateKey.from_private_bytes(derived(secret, "vault/drop box"))
        self.version = version

    @property
    def public_key(self) -> bytes:
        return self._key.public_key().public_bytes_raw()

    def open(self, blob: bytes, aad: bytes) -> bytes:
        header = header_2(TO_PUBLIC_KEY, self.version)
        if blob[:HEADER_2] != header:
            raise DecryptError
        try:
            return SUITE.decrypt(blob[HEADER_2:], self._key, info=header + aad)
        except (InvalidTag, ValueError):
            raise DecryptError from None


def drop(public_key: bytes, version: int, data: bytes, aad: bytes) -> bytes:
    header = header_2(TO_PUBLIC_KEY, version)
    return header + SUITE.encrypt(data, _public(public_key), info=header + aad)


@lru_cache(maxsize=8)
def _public(raw: bytes) -> X25519PublicKey:
    return X25519PublicKey.from_public_bytes(raw)
