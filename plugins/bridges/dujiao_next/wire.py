"""How both ends sign: HMAC-SHA256 over method, path, time and the MD5 of the raw body."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

PREFIX = "/api/v1/upstream"
CALLBACK = f"{PREFIX}/callback"
"""Callbacks are signed for this path, wherever they are sent."""
SKEW_SECONDS = 60
KEY, TIMESTAMP, SIGNATURE = "dujiao-next-api-key", "dujiao-next-timestamp", "dujiao-next-signature"


class Unsigned(Exception):
    """``code`` is the protocol's own word for what is wrong."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


def signature(secret: str, method: str, path: str, timestamp: str, body: bytes) -> str:
    digest = hashlib.md5(body, usedforsecurity=False).hexdigest()
    text = f"{method}\n{path}\n{timestamp}\n{digest}"
    return hmac.new(secret.encode(), text.encode(), hashlib.sha256).hexdigest()


def headers(key: str, secret: str, method: str, path: str, body: bytes, now: datetime) -> dict[str, str]:
    timestamp = str(int(now.timestamp()))
    return {
        "Content-Type": "application/json",
        "Dujiao-Next-Api-Key": key,
        "Dujiao-Next-Timestamp": timestamp,
        "Dujiao-Next-Signature": signature(secret, method, path, timestamp, body),
    }


def key_of(given: Mapping[str, str], now: datetime) -> str:
    """Who says to call. Proven by :func:`verify` only.

    :raises Unsigned: a header is missing, or the time is not now.
    """
    if not all(given.get(name) for name in (KEY, TIMESTAMP, SIGNATURE)):
        raise Unsigned("missing_auth_headers")
    stamp = given[TIMESTAMP]
    if not stamp.isascii() or not stamp.isdigit() or len(stamp) > 12:
        raise Unsigned("invalid_timestamp")
    if abs(int(stamp) - now.timestamp()) > SKEW_SECONDS:
        raise Unsigned("timestamp_expired")
    return given[KEY]


def verify(secret: str, method: str, paths: tuple[str, ...], given: Mapping[str, str], body: bytes) -> None:
    """:raises Unsigned: none of ``paths`` was signed with this secret."""
    if not secret or not any(
        hmac.compare_digest(signature(secret, method, path, given[TIMESTAMP], body).encode(), given[SIGNATURE].encode())
        for path in paths
    ):
        raise Unsigned("invalid_signature")


def packed(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def unpacked(body: bytes) -> dict[str, Any]:
    """:raises ValueError: it is no JSON object."""
    try:
        found = json.loads(body)
    except RecursionError:
        raise ValueError("nested too deep") from None
    if not isinstance(found, dict):
        raise ValueError("no object")
    return found
