"""Two walls against requests forged from other sites: where the request comes from, and a token that only
pages of this session carry."""

from __future__ import annotations

import functools
import hmac
from enum import Enum

from core.web.visit import Visit

FIELD = "csrf"
HEADER = b"x-csrf-token"


@functools.lru_cache(maxsize=16)  # a page asks for it with each of its forms
def token_for(session_cookie: str) -> str:
    return hmac.digest(session_cookie.encode(), b"csrf", "sha256").hex()


def matches(session_cookie: str, given: str) -> bool:
    return hmac.compare_digest(token_for(session_cookie).encode(), given.encode())


class Source(Enum):
    OURS = "ours"
    FOREIGN = "foreign"
    UNKNOWN = "unknown"
    """No browser said where it comes from: programs, and old browsers on pages that send no referrer."""


def source(visit: Visit, headers: dict[bytes, bytes], base_origin: str) -> Source:
    site = headers.get(b"sec-fetch-site")
    origin = headers.get(b"origin")
    if site is not None and site not in (b"same-origin", b"none"):
        return Source.FOREIGN
    if origin is not None and origin != b"null":
        ours = (visit.origin, base_origin)
        return Source.OURS if origin.decode("latin-1").lower() in ours else Source.FOREIGN
    return Source.OURS if site is not None else Source.UNKNOWN
