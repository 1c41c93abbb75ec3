"""Pages and fragments out of templates, in the look of the shop (or of the console)."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from jinja2 import TemplateError
from litestar import Request, Response
from litestar.datastructures import Cookie
from markupsafe import Markup, escape

from core.web import cookies, csrf, flash, once, slots
from core.web import visit as visits
from core.web.door import CACHE_ME
from core.web.errors import Answer, CannotDraw
from core.web.feature import Feature
from core.web.hx import VARY
from core.web.i18n import html_lang
from core.web.request import visit_of
from core.web.themes import Look, Themes
from core.web.visit import Visit

log = logging.getLogger("vouchsafe.web")

More = Callable[[], Sequence[Feature]]

CONSOLE = "console"
HTML = "text/html"


def page(
    request: Request[Any, Any, Any],
    name: str,
    context: Mapping[str, Any] | None = None,
    status: int = 200,
    *,
    cache: bool = False,
    headers: dict[str, str] | None = None,
) -> Response[str]:
    """A whole page: the template ``name`` drawn with ``context``, ``visit``, ``shop`` and ``flash``.

    ``cache=True`` is for pages that look the same to everyone: kept for two seconds.
    """
    visit = visit_of(request)
    said = flash.read(visit.flash)
    text = _draw(request, visit, name, {**(context or {}), "flash": said})
    sent = dict(headers or {})
    if cache:
        sent[CACHE_ME.decode()] = "1"
    else:
        text = once.filled(text)
    gone: list[Cookie] = [cookies.make(flash.COOKIE, "", secure=visit.secure, max_age=0)] if visit.flash else []
    return Response(text, status_code=status, media_type=HTML, headers=sent, cookies=gone)


def as_in_shop(request: Request[Any, Any, Any], name: str, context: Mapping[str, Any]) -> Response[str]:
    """A page of the storefront inside the console, in the shop's own look."""
    visit = visit_of(request)
    themes: Themes = request.app.state.themes
    look = themes.look(visit.dress.theme if visit.dress else visit.shop.theme)
    text = look.render(name, {"visit": visit, "shop": visit.shop, "flash": None, **context})
    return Response(once.filled(text), media_type=HTML)


def fragment(
    request: Request[Any, Any, Any], name: str, context: Mapping[str, Any] | None = None, status: int = 200
) -> Response[str]:
    """A part of a page, for htmx to swap in."""
    text = fragment_text(request, name, context)
    return Response(text, status_code=status, media_type=HTML, headers={"Vary": VARY})


def fragment_text(request: Request[Any, Any, Any], name: str, context: Mapping[str, Any] | None = None) -> str:
    """The same as text, for server-sent events. Plugins show nothing in it."""
    visit = visit_of(request)
    return once.filled(_draw(request, visit, name, context or {}))


def see_other(path: str) -> Response[None]:
    """After a POST: go and look there (status 303).

    :raises ValueError: ``path`` is no path of this site.
    """
    from core.web.hx import own_path

    return Response(None, status_code=303, headers={"Location": own_path(path)}, media_type=HTML)


def look_of(request: Request[Any, Any, Any], visit: Visit) -> Look:
    themes: Themes = request.app.state.themes
    if visit.surface == "console":
        return themes.look(CONSOLE)
    return themes.look(visit.dress.theme if visit.dress else visit.shop.theme)


def _draw(request: Request[Any, Any, Any], visit: Visit, name: str, context: Mapping[str, Any]) -> str:
    given = {"visit": visit, "shop": visit.shop, "flash": None, **context}
    look = look_of(request, visit)
    try:
        return look.render(name, given)
    except Exception as error:  # whatever a theme does wrong, buyers still get the page
        usual = request.app.state.themes.usual
        if visit.dress is None or visit.surface == "console" or look is usual:
            raise
        if visit.dress.draft:
            visit.undrawn = look.place_of(error)
            raise CannotDraw(visit.undrawn) from error
        log.exception("theme %s cannot draw %s, %s does", look.theme.id, name, usual.theme.id)
        visit.dress = replace(visit.dress, theme=usual.theme.id, settings={}, stylesheet="")
        return str(usual.render(name, given))


# -- errors -----------------------------------------------------------------------------


def error_page(request: Request[Any, Any, Any], answer: Answer) -> Response[Any]:
    visit = visit_of(request)
    context = {"error": answer, **{"fields": {}, "again": None, "sign_in": None}, **answer.context}
    sign_in = context["sign_in"]
    if sign_in:
        return _to_sign_in(visit, sign_in, answer)
    partial = visit.htmx and request.headers.get("hx-request-type") == "partial"
    name = context.get("template") or ("web/_error_toast.html" if partial else "web/error.html")
    try:
        text = once.filled(_draw(request, visit, name, context))
    except (CannotDraw, TemplateError, AssertionError, TypeError, ValueError, AttributeError):
        # A theme that cannot even draw its error page must not hide what happened.
        log.exception("the error page could not be drawn")
        text = _plain(answer, visit)
    headers = {**answer.headers, "Vary": VARY}
    status = answer.status
    if partial and context.get("template"):
        # A page of its own takes the whole window; the layout sends what is 403 to the corner for toasts.
        status = 422
        headers.update({"HX-Retarget": "body", "HX-Reswap": "innerHTML"})
    return Response(text, status_code=status, media_type=HTML, headers=headers)


def _to_sign_in(visit: Visit, path: str, answer: Answer) -> Response[Any]:
    if visit.htmx:
        return Response(None, status_code=401, headers={"HX-Redirect": path}, media_type=HTML)
    return Response(None, status_code=303, headers={"Location": path}, media_type=HTML)


def _plain(answer: Answer, visit: Visit) -> str:
    lines = (answer.title, answer.why, answer.action, visit.id)
    return (
        f'<!doctype html><html lang="{html_lang(visit.locale)}"><meta charset="utf-8">'
        f"<title>{escape(str(answer.title))}</title>" + "".join(f"<p>{escape(str(line))}</p>" for line in lines)
    )


# -- for templates ----------------------------------------------------------------------


class Slots:
    """Named places on pages. What the shop's own features show stands there at once; plugins are asked afterwards."""

    def __init__(
        self,
        features: Sequence[Feature],
        more: More = tuple,
        count_failure: slots.CountFailure = lambda owner, what, error: log.error(
            "%s failed in %s", owner, what, exc_info=error
        ),
    ) -> None:
        """``more`` are the features of plugins, which come and go while the shop runs."""
        self._features = features
        self._more = more
        self._count_failure = count_failure

    def fill(self, environment: Any, name: str, given: Any = None) -> Markup:
        """``given`` is what the page knows of its subject."""
        if name not in slots.PLACES and name not in slots.OWN:
            raise LookupError(f"there is no slot called {name}")
        pieces = [self._now(environment, name, feature, given) for feature in self._features if name in feature.slots]
        waiting = self._waiting(environment, name, given)
        if waiting:
            pieces.append(waiting.head)
        return Markup("".join(pieces))  # noqa: S704  rendered by the escaping environment

    def _now(self, environment: Any, name: str, feature: Feature, given: Any) -> str:
        try:
            found = feature.slots[name](given)
            return environment.get_template(found[0]).render(**_common(), **found[1]) if found else ""
        except Exception:  # one part of a page must not take the whole page down
            log.exception("%s could not fill %s", feature.name, name)
            return ""

    def columns(self, environment: Any, name: str, given: Any) -> slots.Waiting | None:
        """The further columns of a list: ``head`` and ``cell(ref)`` for each row. None when there are none."""
        return self._waiting(environment, name, given)

    def _waiting(self, environment: Any, name: str, given: Any) -> slots.Waiting | None:
        fillers = [(one.name, one.slots[name]) for one in self._more() if name in one.slots]
        visit = visits.current()
        if not fillers or visit is None:
            return None

        def draw(template: str, context: Mapping[str, Any]) -> str:
            return str(environment.get_template(template).render({**_common(), **context}))

        return slots.later(visit, slots.PLACES[name], given, fillers, draw, self._count_failure)


def _common() -> dict[str, Any]:
    visit = visits.current()
    return {"visit": visit, "shop": visit.shop if visit else None}


def csrf_token() -> str:
    """The token of this visitor's session, or nothing when there is no session to protect."""
    visit = visits.current()
    return csrf.token_for(visit.cookie) if visit and visit.cookie else ""
