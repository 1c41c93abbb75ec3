"""htmx 4: what a request says, and what an answer may ask of the page."""

from __future__ import annotations

import json
import string
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlsplit

from litestar import Request, Response

VARY = "HX-Request, HX-Request-Type"


@dataclass(frozen=True, slots=True)
class Htmx:
    """Facts of an htmx request. The client sets them: use them for looks, never for rights."""

    boosted: bool
    partial: bool
    source: str
    target: str
    current_path: str
    history_restore: bool


def htmx(request: Request[Any, Any, Any]) -> Htmx | None:
    """None when the browser asked by itself."""
    headers = request.headers
    if headers.get("hx-request") != "true":
        return None
    return Htmx(
        boosted=headers.get("hx-boosted") == "true",
        partial=headers.get("hx-request-type") == "partial",
        source=_id(headers.get("hx-source", "")),
        target=_id(headers.get("hx-target", "")),
        current_path=_own_path(headers.get("hx-current-url", ""), headers.get("host", "")),
        history_restore=headers.get("hx-history-restore-request") == "true",
    )


def wants_fragment(request: Request[Any, Any, Any]) -> bool:
    """True when only a part of the page is to be swapped; a boosted or restored page wants all of it."""
    facts = htmx(request)
    return facts is not None and facts.partial and not facts.boosted and not facts.history_restore


def hx_response(
    response: Response[Any],
    *,
    push: str | None = None,
    replace: str | None = None,
    redirect: str | None = None,
    location: str | None = None,
    refresh: bool = False,
    retarget: str | None = None,
    reswap: str | None = None,
    reselect: str | None = None,
    triggers: dict[str, Any] | None = None,
) -> Response[Any]:
    """Add instructions for htmx to ``response``. Addresses must be paths of ours."""
    for name, path in (("Push-Url", push), ("Replace-Url", replace), ("Redirect", redirect), ("Location", location)):
        if path is not None:
            response.headers[f"HX-{name}"] = own_path(path)
    for name, value in (("Retarget", retarget), ("Reswap", reswap), ("Reselect", reselect)):
        if value is not None:
            response.headers[f"HX-{name}"] = value
    if refresh:
        response.headers["HX-Refresh"] = "true"
    if triggers:
        response.headers["HX-Trigger"] = json.dumps(triggers, default=str)
    response.headers["Vary"] = VARY
    return response


def toast(response: Response[Any], message: Any, kind: str = "success") -> Response[Any]:
    """Show ``message`` in the corner without touching the rest of the page."""
    return hx_response(response, triggers={"toast": {"text": str(message), "kind": kind}})


def own_path(path: str) -> str:
    """``path`` as a header says it, when it leads to this site, else a ValueError: none of ours sends anyone away."""
    parts = urlsplit(path)
    bad = parts.scheme or parts.netloc or not path.startswith("/") or path.startswith(("//", "/\\"))
    if bad or any(sign < " " or sign == "\\" for sign in path):
        raise ValueError("a redirect must be a path of this site")
    return path if path.isascii() else quote(path, safe=string.printable)


def safe_next(path: str | None, otherwise: str) -> str:
    """Where to go after a form said ``next=``; ``otherwise`` when it names another site."""
    try:
        return own_path(path) if path else otherwise
    except ValueError:
        return otherwise


def _id(value: str) -> str:
    """htmx names elements ``tag#id``."""
    return value.rpartition("#")[2]


def _own_path(url: str, host: str) -> str:
    parts = urlsplit(url)
    return parts.path if parts.netloc == host else ""
