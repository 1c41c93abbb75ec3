"""The signature of Stripe's webhooks: HMAC-SHA256 over the time and the raw body."""

import hashlib
import hmac


def sign(secret: str, moment: int, body: bytes) -> str:
    return hmac.new(secret.encode(), f"{moment}.".encode() + body, hashlib.sha256).hexdigest()


def signed_at(header: str, secret: str, body: bytes) -> int | None:
    """When it was signed; None when no signature in the header fits, and always with an empty secret.

    There are several while a secret is being changed. Only those of the kind v1 count.
    """
    parts = [part.partition("=") for part in header.split(",")]
    moments = [value for name, _equals, value in parts if name.strip() == "t"]
    given = [value for name, _equals, value in parts if name.strip() == "v1"]
    if len(moments) != 1 or not (moments[0].isascii() and moments[0].isdigit()) or len(moments[0]) > 12 or not secret:
        return None
    right = sign(secret, int(moments[0]), body).encode()
    fits = [hmac.compare_digest(right, one.encode()) for one in given]
    return int(moments[0]) if any(fits) else None
