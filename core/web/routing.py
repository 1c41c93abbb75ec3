"""The routes of a feature as Litestar's routers, and every handler of an application with its path."""

from __future__ import annotations

from typing import Any

from litestar import Litestar, Router
from litestar.handlers import HTTPRouteHandler
from litestar.routes import HTTPRoute

from core.web.feature import Feature
from core.web.json_request import JsonRequest


class _Place(Router):
    """A router made for one application, which needs none of the deep copies that Litestar makes of each."""

    def __deepcopy__(self, memo: dict[int, Any]) -> _Place:
        return self


def routers(feature: Feature) -> list[Router]:
    places = (
        (feature.prefix or "/", feature.buyer_routes),
        ("/admin" + feature.prefix, feature.console_routes),
    )
    pages = [_Place(path, route_handlers=list(routes), include_in_schema=False) for path, routes in places if routes]
    path = "/api/v1" + feature.prefix
    programs = _Place(path, route_handlers=list(feature.rest_routes), request_class=JsonRequest)
    return [*pages, programs] if feature.rest_routes else pages


def handlers(app: Litestar) -> list[tuple[str, HTTPRouteHandler]]:
    """Every path with every handler behind it, but for the automatic OPTIONS answers."""
    return [
        (route.path, handler)
        for route in app.routes
        if isinstance(route, HTTPRoute)
        for handler in route.route_handlers
        if "OPTIONS" not in handler.http_methods
    ]
