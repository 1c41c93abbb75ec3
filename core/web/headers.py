"""The security headers of every response."""

from __future__ import annotations

from collections.abc import Iterable

Raw = list[tuple[bytes, bytes]]

NO_STORE = (b"cache-control", b"no-store")
NO_REFERRER = (b"referrer-policy", b"no-referrer")
NO_INDEX = (b"x-robots-tag", b"noindex")
PERMISSIONS = ", ".join(
    f"{name}=()"
    for name in (
        "accelerometer",
        "camera",
        "display-capture",
        "geolocation",
        "gyroscope",
        "magnetometer",
        "microphone",
        "midi",
        "payment",
        "usb",
    )
)


def content_security_policy(gateways: Iterable[str] = (), *, framed: bool = False, frames: bool = False) -> str:
    """Nothing inline, nothing foreign; forms may also go to the enabled gateways, that is how buyers pay.

    ``framed``: the shop's own console may show the page in a frame. ``frames``: the page shows such frames.
    """
    form_action = " ".join(["'self'", *sorted(set(gateways))])
    ancestors = "'self'" if framed else "'none'"
    return (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        f"form-action {form_action}; base-uri 'none'; frame-ancestors {ancestors}"
        + ("; frame-src 'self'" if frames else "")
    )


def security_headers(*, https: bool, gateways: Iterable[str] = (), framed: bool = False, frames: bool = False) -> Raw:
    """All but referrer and cache policy, which differ for public and private pages."""
    policy = content_security_policy(gateways, framed=framed, frames=frames)
    headers = [
        (b"content-security-policy", policy.encode()),
        (b"x-content-type-options", b"nosniff"),
        (b"cross-origin-opener-policy", b"same-origin"),
        (b"cross-origin-resource-policy", b"same-origin"),
        (b"permissions-policy", PERMISSIONS.encode()),
        (b"x-frame-options", b"SAMEORIGIN" if framed else b"DENY"),
    ]
    if https:
        headers.append((b"strict-transport-security", b"max-age=31536000; includeSubDomains"))
    return headers
