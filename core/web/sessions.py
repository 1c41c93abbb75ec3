"""The cookie side of sessions: setting and removing it on a response."""

from __future__ import annotations

from typing import Any

from litestar import Response

from core.web import cookies, csrf
from core.web import visit as visits


def begin(response: Response[Any], token: str, *, max_age: int | None = None) -> Response[Any]:
    """Hand a new session to the browser; programs read their CSRF token from the header.

    ``max_age`` in seconds lets it outlive the browser window.
    """
    visit = visits.current()
    secure = bool(visit and visit.secure)
    response.cookies.append(cookies.make(cookies.SESSION, token, secure=secure, max_age=max_age))
    response.headers["X-CSRF-Token"] = csrf.token_for(token)
    return response


def finish(response: Response[Any]) -> Response[Any]:
    """Take the session away from the browser, and with it what the browser kept of its pages."""
    visit = visits.current()
    response.cookies.append(cookies.make(cookies.SESSION, "", secure=bool(visit and visit.secure), max_age=0))
    response.headers["Clear-Site-Data"] = '"cache", "storage"'
    return response
