"""Standard Webhooks 1.0.0: the secret of an endpoint and the signature of a message (HMAC-SHA256)."""

from __future__ import annotations

import base64
import hashlib
import hmac
from datetime import datetime

PREFIX = "whsec_"
SALT_BYTES = 16


def secret_of(plugin_secret: bytes, salt: bytes) -> str:
    """The endpoint's secret, made anew each time it is needed: it lies in no table."""
    return PREFIX + base64.b64encode(hmac.new(plugin_secret, b"endpoint:" + salt, hashlib.sha256).digest()).decode()


def signature(secret: str, message: str, at: datetime, body: bytes) -> str:
    """``v1,…`` over id, time and body."""
    key = base64.b64decode(secret.removeprefix(PREFIX))
    signed = f"{message}.{int(at.timestamp())}.".encode() + body
    return "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()


def headers(secrets: list[str], message: str, at: datetime, body: bytes) -> dict[str, str]:
    """One signature for each secret: while one takes the place of another, both are good."""
    return {
        "content-type": "application/json",
        "webhook-id": message,
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": " ".join(signature(secret, message, at, body) for secret in secrets),
    }
