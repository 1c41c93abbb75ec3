"""Signatures of the shop: Ed25519, with a key made from one that never leaves the vault."""

from __future__ import annotations

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from core.vault import keys


class Signer:
    """Signs for one purpose.

    :raises VaultLocked: when made without a key.
    """

    def __init__(self, purpose: str) -> None:
        self._key = Ed25519PrivateKey.from_private_bytes(keys.current().derive("signing/" + purpose))

    @property
    def public_key(self) -> bytes:
        return self._key.public_key().public_bytes_raw()

    def sign(self, data: bytes) -> bytes:
        return self._key.sign(data)


def is_signed(public_key: bytes, data: bytes, signature: bytes) -> bool:
    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(signature, data)
    except (InvalidSignature, ValueError):
        return False
    return True
