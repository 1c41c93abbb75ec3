"""The pages of plugins: a small application for each plugin, built when it is loaded, behind the shop's own guard.

A plugin whose routes are wrong is set aside like one with any other mistake, and its pages are gone in the moment it
is switched off: nothing of it is ever registered with the shop's own application.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

from litestar import Litestar, Request, Response
from litestar.handlers import HTTPRouteHandler

from core.audit import service as audit
from core.hooks.context import PluginContext
from core.hooks.database import PluginTx
from core.hooks.plugin import Act, Fill, Pages
from core.people import entrance, rights
from core.tasks import strangers_code
from core.web import errors, routing, slots
from core.web.errors import Unavailable
from core.web.feature import BadRoute, Feature
from core.web.i18n import Text
from core.web.request import visit_of

ANSWER_SECONDS = 30.0
MOST_DETAIL = 2000
PATH = re.compile(r"/(?:admin/|api/v1/)?x/([^/]+)(?:/|$)")
ACT = re.compile(r"[a-z][a-z0-9_]{0,39}")

App = Callable[[Any, Any, Any], Any]
CountFailure = Callable[[str, str, BaseException], None]


@dataclass(frozen=True, slots=True)
class Mounted:
    """The pages of one plugin, ready to be asked."""

    plugin: str
    app: Litestar
    feature: Feature
    acts: Mapping[str, rights.Right]
    recorded: Mapping[str, Text | str]
    """What it writes into the audit log, in words."""


def mount(
    plugin: str, pages: Pages, context: Any, base_url: str, count_failure: CountFailure, *, contacts: bool
) -> Mounted:
    """Build the application of one plugin. ``contacts``: it may know who the buyers are.

    :raises BadRoute: naming what is wrong with it.
    :raises BadSlot: naming the place that is not there.
    """
    slots.check(pages.slots)
    strange = [one for one in (*pages.buyer, *pages.console, *pages.rest) if not isinstance(one, HTTPRouteHandler)]
    if strange:
        raise BadRoute(f"{strange[0]!r} is no page; pages are made with get and post")
    acts = {act.name: _right(plugin, act) for act in pages.acts}
    recorded = {_recorded(plugin, act): title for act, title in pages.recorded.items()}
    feature = Feature(
        plugin,
        buyer_routes=pages.buyer,
        console_routes=pages.console,
        rest_routes=pages.rest,
        nav=pages.nav,
        slots={name: _filler(filler, context, contacts) for name, filler in pages.slots.items()},
        plugin=True,
    )
    handle = _Handler(plugin, count_failure)
    app = Litestar(
        route_handlers=routing.routers(feature),
        middleware=[entrance.guard(base_url), _Contained],
        exception_handlers={Exception: handle, 500: handle},
        openapi_config=None,
        logging_config=None,
        request_max_body_size=None,
        debug=False,
        pdb_on_exception=False,
    )
    _check(plugin, app, feature, acts)
    return Mounted(plugin, app, feature, acts, recorded)


def _filler(filler: Fill, context: Any, contacts: bool) -> slots.Filler:
    if contacts:
        return partial(filler, context)
    return lambda visit, subject: filler(context, visit, slots.without_contacts(subject))


def _right(plugin: str, act: Act) -> rights.Right:
    if not act.name.startswith(f"{plugin}."):
        raise BadRoute(f'the act {act.name} must be called "{plugin}.…"')
    unknown = set(act.roles) - set(rights.ROLES)
    if unknown:
        raise BadRoute(f"the act {act.name}: there is no role called {', '.join(sorted(unknown))}")
    return rights.Right(act.name, cast("Any", act.title), frozenset({"owner", *act.roles}), act.whole_server)


def _recorded(plugin: str, act: str) -> str:
    if not ACT.fullmatch(act):
        raise BadRoute(f"the recorded act {act!r} must be small letters, digits and _, starting with a letter")
    return f"{plugin}.{act}"


def _check(plugin: str, app: Litestar, feature: Feature, acts: Mapping[str, rights.Right]) -> None:
    for routes in (feature.buyer_routes, feature.console_routes, feature.rest_routes):
        _check_unlike(routes)
    entrance.check_routes(routing.handlers(app), acts)
    for entry in feature.nav:
        if not f"{entry.path}/".startswith(f"/admin/x/{plugin}/"):
            raise BadRoute(f"the menu entry {entry.path} must lead to /admin/x/{plugin}")
        if entry.right is not None and entry.right not in acts and entry.right not in rights.RIGHTS:
            raise BadRoute(f"the menu entry {entry.path}: nobody knows the act {entry.right}")


def _check_unlike(routes: Sequence[Any]) -> None:
    """Of two handlers for one address Litestar would silently take one."""
    seen = Counter((method, path) for one in routes for path in one.paths for method in one.http_methods)
    twice = [f"{method} {path}" for (method, path), times in seen.items() if times > 1]
    if twice:
        raise BadRoute(f"there are two handlers for {twice[0]}")


def plugin_in(path: str) -> str | None:
    """The plugin whose pages an address is about."""
    found = PATH.match(path)
    return found[1] if found else None


def plugin_context(request: Request[Any, Any, Any]) -> PluginContext[Any]:
    """The context of the plugin whose page this is, with its settings as they are now."""
    context: PluginContext[Any] = request.scope["state"]["plugin"]
    return context


async def record_act(
    tx: PluginTx,
    request: Request[Any, Any, Any],
    act: str,
    object: str,
    detail: Mapping[str, Any] | None = None,
) -> None:
    """Write into the audit log what a member of staff does on a console page, in the transaction that does it.

    ``act`` is a name out of ``Pages.recorded`` and stands there as ``<id>.<act>``; ``object`` names the thing in the
    plugin's own words (``coupon:12``) and stands there as ``x:<id>:coupon:12``. Who, where from, in which shop and in
    which request is added. ``detail`` are a few plain facts that fit into JSON. What is written can never be changed or
    erased: no secrets, no codes, no contacts of buyers.

    :raises LookupError: the plugin does not name this act, or it is no page of the console.
    :raises ValueError: ``detail`` is longer than 2000 characters.
    """
    plugin, visit = plugin_context(request).plugin, visit_of(request)
    name = f"{plugin}.{act}"
    if name not in request.scope["state"]["recorded"]:
        raise LookupError(f"{plugin} does not say that it records {act}")
    if detail and len(json.dumps(detail)) > MOST_DETAIL:
        raise ValueError(f"{name}: the detail is longer than {MOST_DETAIL} characters")
    staff_id = visit.session and visit.session.staff_id
    if staff_id is None:
        raise LookupError(f"{name}: nobody of the staff asks for this page")
    await audit.record(
        tx._tx,
        f"staff:{staff_id}",
        name,
        f"x:{plugin}:{object}",
        dict(detail or {}),
        shop_id=visit.shop.id,
        ip=visit.ip,
        request_id=visit.id,
    )


async def serve(
    mounted: Mounted, context: PluginContext[Any], shop: Litestar, scope: Any, receive: Any, send: Any
) -> None:
    """Let the plugin answer. Its pages are drawn with the themes of ``shop``."""
    mounted.app.state = shop.state
    scope["app"] = scope["litestar_app"] = mounted.app
    scope["state"]["plugin"] = context
    scope["state"]["recorded"] = mounted.recorded
    await mounted.app.asgi_handler(scope, receive, send)


class _Handler:
    """The shop's own answers to mistakes; what broke is counted on the plugins page."""

    def __init__(self, plugin: str, count_failure: CountFailure) -> None:
        self._plugin = plugin
        self._count_failure = count_failure

    def __call__(self, request: Request[Any, Any, Any], error: Exception) -> Response[Any]:
        if errors.answer_for(error).status == 500 or isinstance(error, TookTooLong):
            page = getattr(request.scope.get("route_handler"), "handler_name", "page")
            self._count_failure(self._plugin, f"page {page}", error)
        return errors.handle(request, error)


class TookTooLong(Unavailable):
    """A page of a plugin did not begin to answer in time."""


class _Contained:
    """The last one before a plugin's own code: it may neither end the process nor let a visitor wait for ever."""

    def __init__(self, app: App) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def begun(message: Any) -> None:
            limit.reschedule(None)  # a stream may go on for as long as it likes
            await send(message)

        try:
            async with strangers_code(ANSWER_SECONDS) as limit:
                await self.app(scope, receive, begun)
        except TimeoutError as error:
            if limit.expired():
                raise TookTooLong() from error
            raise
