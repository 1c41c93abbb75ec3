"""htmx 4: what a request says, and what an answer may ask of the page."""

from __future__ import annotations

import json
import string
from typing import Any
from urllib.parse import quote, urlsplit

from litestar import Request, Response

VARY = "HX-Request, HX-Request-Type"


def wants_fragment(request: Request[Any, Any, Any]) -> bool:
    """True when only a part of the page is to be swapped; a boosted or restored page wants all of it."""
    said = dict(request.scope["headers"])
    if said.get(b"hx-request") != b"true" or said.get(b"hx-request-type") != b"partial":
        return False
    return b"true" not in (said.get(b"hx-boosted"), said.get(b"hx-history-restore-request"))


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
    """Add instructions for htmx to ``response``, each the header of its name (``HX-Push-Url``, ``HX-Trigger``, …), and
    give it back.

    :raises ValueError: an address that is no path of this site.
    """
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
    """Show ``message`` in the corner without touching the rest of the page; ``kind`` as in :func:`flash`."""
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
