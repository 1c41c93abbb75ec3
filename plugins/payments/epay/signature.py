"""What EPay signs, and the MD5 signature of V1, over the values exactly as they are sent or were received."""

import hashlib
import hmac
from collections.abc import Mapping

UNSIGNED = frozenset({"sign", "sign_type"})


def signed_text(params: Mapping[str, str]) -> str:
    pairs = sorted((name, value) for name, value in params.items() if value and name not in UNSIGNED)
    return "&".join(f"{name}={value}" for name, value in pairs)


def sign(params: Mapping[str, str], key: str) -> str:
    return hashlib.md5(f"{signed_text(params)}{key}".encode(), usedforsecurity=False).hexdigest()


def is_signed(params: Mapping[str, str], key: str) -> bool:
    """Whether ``sign`` fits; never with an empty key, which anybody could sign with."""
    given = params.get("sign", "")
    return bool(key) and hmac.compare_digest(sign(params, key).encode(), given.encode())
