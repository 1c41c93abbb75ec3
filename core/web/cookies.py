"""Cookies: ``__Host-`` on https, so that no sibling host can set them; plain names on http of this machine."""

from __future__ import annotations

from typing import Any

from litestar.datastructures import Cookie

SESSION = "vs"
ONLY_DESCRIBED = ("description", "documentation_only")


def name_of(name: str, secure: bool) -> str:
    return f"__Host-{name}" if secure else name


class _Cookie(Cookie):
    @property
    def dict(self) -> dict[str, Any]:
        # Litestar copies the whole cookie in depth for this, with every answer.
        return {name: value for name, value in vars(self).items() if name not in ONLY_DESCRIBED}


def make(name: str, value: str, *, secure: bool, max_age: int | None = None, readable: bool = False) -> Cookie:
    """A cookie of this host only. ``max_age`` None lives until the browser closes, 0 removes it."""
    return _Cookie(
        key=name_of(name, secure),
        value=value,
        path="/",
        max_age=max_age,
        secure=secure,
        httponly=not readable,
        samesite="lax",
    )


def read(header: bytes) -> dict[str, str]:
    """The cookies of a request; of a repeated name the first counts, as browsers send the closest first."""
    found: dict[str, str] = {}
    for item in header.decode("latin-1").split(";"):
        name, equals, value = item.strip().partition("=")
        if equals:
            found.setdefault(name, value.strip('"'))
    return found
