"""Language and colours, chosen by the visitor; and whether the server is well."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Literal

import msgspec
from litestar import Request, Response, get, post

from core import db
from core.web import cookies
from core.web.errors import FormError
from core.web.feature import Feature
from core.web.forms import Line, read_form
from core.web.hx import safe_next
from core.web.i18n import LOCALES, _
from core.web.render import see_other
from core.web.request import visit_of
from core.web.static import static_file
from core.web.visit import COLOURS_COOKIE, LANGUAGE_COOKIE

LANGUAGE = re.compile(r"([?&])lang=[^&#]*(&?)")
YEAR = 365 * 24 * 3600


class Preferences(msgspec.Struct):
    language: Line = ""
    colours: Literal["", "auto", "light", "dark"] = ""
    next: str = "/"


@post("/preferences", opt={"who": "anyone"})
async def choose(request: Request[Any, Any, Any]) -> Response[None]:
    form = await read_form(request, Preferences)
    visit = visit_of(request)
    if form.language and form.language not in LOCALES:
        raise FormError({"language": _("Please choose one of the values offered.")})
    path = safe_next(form.next, "/")
    # An address that names its language would go on in that one.
    response = see_other(LANGUAGE.sub(lambda found: found[1] if found[2] else "", path) if form.language else path)
    for name, value in ((LANGUAGE_COOKIE, form.language), (COLOURS_COOKIE, form.colours)):
        if value:
            response.cookies.append(cookies.make(name, value, secure=visit.secure, max_age=YEAR))
    return response


@get("/healthz", opt={"who": "anyone"})
async def alive() -> Response[str]:
    return Response("ok\n", media_type="text/plain", headers={"cache-control": "no-store"})


@get("/readyz", opt={"who": "anyone"})
async def ready() -> Response[str]:
    await db.fetchval("SELECT 1")
    return Response("ok\n", media_type="text/plain", headers={"cache-control": "no-store"})


feature = Feature(name="web", folder=Path(__file__).parent, buyer_routes=(choose, alive, ready, static_file))
