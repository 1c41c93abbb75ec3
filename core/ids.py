"""Names for things: short public references, and secret tokens that are stored only as a hash."""

from __future__ import annotations

import hashlib
import secrets

# Crockford base 32: no I, L, O, U, so that a reference survives being read aloud.
ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


def new_ref(prefix: str, length: int = 12) -> str:
    """A public reference such as ``V7K2M9QX41ZT``; 12 signs are 60 random bits. Not a secret."""
    bits = secrets.randbits(5 * length)
    return prefix + "".join(ALPHABET[(bits >> 5 * i) & 31] for i in range(length))


def new_token() -> str:
    """A secret of 256 random bits, safe in a URL or a cookie."""
    return secrets.token_urlsafe(32)


def token_hash(token: str) -> bytes:
    """What is stored of a token. The token has full entropy, so a plain hash cannot be guessed back."""
    return hashlib.sha256(token.encode()).digest()
