"""Joins every feature into one Litestar application. Only ``server.py`` (through the web server) asks for it."""

from __future__ import annotations

import importlib
import os
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

from litestar import Litestar, Router
from litestar.datastructures import State
from litestar.handlers import HTTPRouteHandler
from litestar.routes import HTTPRoute

from core import db
from core.config import Config
from core.hooks.runtime import Runtime
from core.jobs import bell
from core.people import api_keys, rights, sessions, step_up
from core.shops import service as shops
from core.web import errors, i18n, openapi, words
from core.web import pages as web_pages
from core.web.door import Door, Shops
from core.web.feature import BadRoute, Feature
from core.web.guard import Guard, Policy
from core.web.json_request import JsonRequest
from core.web.page_cache import PageCache
from core.web.render import Slots
from core.web.themes import Themes

CORE = Path(__file__).resolve().parent
THEMES = CORE.parent / "themes"
FEATURES = (
    "catalog",
    "checkout",
    "orders",
    "payments",
    "balances",
    "fulfilment",
    "supply",
    "messages",
    "jobs",
    "vault",
    "redemption",
    "people",
    "shops",
    "review",
    "audit",
    "ledger",
    "backup",
    "admin",
    "hooks",
)
NOBODYS_SHOP = shops.Shop(
    id=0,
    code="main",
    name="Vouchsafe",
    host=None,
    theme="market",
    currency="CNY",
    locale="zh-CN",
    timezone="Asia/Shanghai",
    test_mode=False,
    revision=0,
    settings=shops.ShopSettings(),
)
"""What an error page is drawn with while the database is away."""

LoadPlugins = Callable[[Config], AbstractAsyncContextManager[Runtime]]


class StartRefused(Exception):
    """The application does not start like this; the message says what to change."""


def create_app(
    config: Config | None = None,
    *,
    load_plugins: LoadPlugins | None = None,
    names: Sequence[str] = FEATURES,
    extra_features: Sequence[Feature] = (),
) -> Litestar:
    for name in ("LITESTAR_DEBUG", "LITESTAR_PDB"):
        if os.environ.get(name):
            raise StartRefused(f"{name} is set. It shows the inside of the program to visitors: take it away.")
    config = config or Config.from_env()
    features = [web_pages.feature, *core_features(names), *extra_features]
    app = Litestar(
        route_handlers=[router for feature in features for router in routers(feature)],
        middleware=[
            partial(
                Guard,
                load_session=sessions.load,
                is_promised=sessions.is_promised,
                load_key=api_keys.load,
                prove=partial(step_up.prove, config.base_url),
                base_origin=_origin(config.base_url),
            )
        ],
        exception_handlers={Exception: errors.handle, 500: errors.handle},
        lifespan=[partial(_lifespan, config, features, load_plugins)],
        state=State({"config": config, "features": features, "pages": PageCache(), "gateway_hosts": tuple}),
        openapi_config=openapi.described(),
        logging_config=None,
        request_max_body_size=None,
        debug=False,
        pdb_on_exception=False,
    )
    check_routes(app)
    app.asgi_handler = Door(
        app.asgi_handler,
        base_url=config.base_url,
        trusted_proxies=config.trusted_proxies,
        shops=Shops(shops.by_host, NOBODYS_SHOP),
        gateways=lambda: app.state.gateway_hosts(),
        cache=app.state.pages,
    )
    return app


def core_features(names: Sequence[str]) -> list[Feature]:
    present = [name for name in names if (CORE / name / "feature.py").is_file()]
    return [importlib.import_module(f"core.{name}.feature").feature for name in present]


def routers(feature: Feature) -> list[Router]:
    places = (
        (feature.prefix or "/", feature.buyer_routes),
        ("/admin" + feature.prefix, feature.console_routes),
    )
    pages = [Router(path, route_handlers=list(routes), include_in_schema=False) for path, routes in places if routes]
    path = "/api/v1" + feature.prefix
    programs = Router(path, route_handlers=list(feature.rest_routes), request_class=JsonRequest)
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


def check_routes(app: Litestar) -> None:
    for path, handler in handlers(app):
        policy = Policy.of(handler.opt, f"{sorted(handler.http_methods)} {path}")
        if policy.right is not None and not rights.known(policy.right):
            raise BadRoute(f"{path}: core/people/rights.py does not know the act {policy.right}")
        if policy.scope is not None and policy.scope not in api_keys.SCOPES:
            raise BadRoute(f"{path}: core/people/api_keys.py does not know the scope {policy.scope}")
        if path.startswith("/admin") and policy.who == "buyer":
            raise BadRoute(f"{path}: a console page is for staff, or for anyone before the sign-in")
        if policy.fresh and "GET" in handler.http_methods:
            raise BadRoute(f"{path}: only a POST can ask for a fresh proof")


@asynccontextmanager
async def _lifespan(
    config: Config, features: list[Feature], load_plugins: LoadPlugins | None, app: Litestar
) -> AsyncIterator[None]:
    if not config.database_url:
        raise StartRefused("There is no DATABASE_URL. Start with `server.py run`, which brings its own database.")
    async with AsyncExitStack() as stack:
        await db.open_pool(config.database_url)
        stack.push_async_callback(db.close_pool)
        if config.redis_url:
            bell.open(config.redis_url)
        stack.push_async_callback(bell.close)
        plugins: list[Feature] = []
        if load_plugins:
            runtime = await stack.enter_async_context(load_plugins(config))
            plugins = runtime.features()
            app.state.gateway_hosts = runtime.form_hosts
        for feature in plugins:
            for router in routers(feature):
                app.register(router)
        check_routes(app)
        dress(app, config, [*features, *plugins])
        yield


def dress(app: Litestar, config: Config, features: Sequence[Feature]) -> None:
    """Themes, words and slots for these features."""
    i18n.load([i18n.FOLDER, *(folder for feature in features if (folder := feature.part("locales")))])
    slots = Slots(features)
    app.state.features = list(features)
    app.state.themes = Themes(
        THEMES,
        template_folders=[folder for feature in features if (folder := feature.part("templates"))],
        static_folders=[(feature.name, folder) for feature in features if (folder := feature.part("static"))],
        prepare=lambda environment: words.prepare(environment, features, slots),
        cache_folder=config.home / "cache" / "templates",
        reload=bool(os.environ.get("VOUCHSAFE_RELOAD")),
    )
    for theme in app.state.themes.all():
        app.state.themes.look(theme.id)


def _origin(base_url: str) -> str:
    parts = urlsplit(base_url)
    return f"{parts.scheme}://{parts.netloc}".lower()
