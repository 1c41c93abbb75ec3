"""Fulu's signature: MD5 over the sorted characters of a JSON text and the secret.

It says nothing about the order of the characters: whoever holds one signed message can write another with the same
characters, such as two numbers that swapped digits. What comes signed like this is a hint and never proof.
"""

import hashlib
import hmac
import json
from collections.abc import Mapping
from typing import Any


def compact(value: Mapping[str, Any]) -> str:
    """JSON as Fulu signs it: no spaces, nothing escaped that need not be."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def sign(text: str, secret: str) -> str:
    return hashlib.md5(("".join(sorted(text)) + secret).encode(), usedforsecurity=False).hexdigest()


def is_signed(text: str, given: str, secret: str) -> bool:
    """Whether ``given`` fits; never with an empty secret, which anybody could sign with."""
    return bool(secret) and hmac.compare_digest(sign(text, secret).encode(), given.encode())
