"""Joins every feature into one Litestar application. Only ``server.py`` (through the web server) asks for it."""

from __future__ import annotations

import asyncio
import importlib
import os
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

from litestar import Litestar
from litestar.datastructures import State

from core import db, tasks
from core.catalog import service as catalog
from core.config import Config
from core.hooks import pages as plugin_pages
from core.hooks.runtime import Runtime
from core.jobs import bell
from core.payments import calls
from core.people import entrance
from core.shops import service as shops
from core.site import looks
from core.web import errors, i18n, openapi, words
from core.web import pages as web_pages
from core.web import visit as visits
from core.web.door import App, Door, Shops
from core.web.feature import Feature
from core.web.page_cache import PageCache
from core.web.render import More, Slots
from core.web.routing import handlers, routers
from core.web.themes import Themes

CORE = Path(__file__).resolve().parent
THEMES = CORE.parent / "themes"
FEATURES = (
    "catalog",
    "checkout",
    "orders",
    "payments",
    "balances",
    "account",
    "partners",
    "fulfilment",
    "supply",
    "messages",
    "jobs",
    "vault",
    "redemption",
    "people",
    "shops",
    "site",
    "review",
    "audit",
    "ledger",
    "backup",
    "insight",
    "lists",
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
        middleware=[entrance.guard(config.base_url)],
        exception_handlers={Exception: errors.handle, 500: errors.handle},
        lifespan=[partial(_lifespan, config, features, load_plugins)],
        state=State({"config": config, "features": features, "pages": PageCache(), "plugins": None}),
        openapi_config=openapi.described(),
        logging_config=None,
        request_max_body_size=None,
        debug=False,
        pdb_on_exception=False,
    )
    entrance.check_routes(handlers(app))
    app.asgi_handler = Door(
        _PluginsFirst(app, app.asgi_handler),
        base_url=config.base_url,
        trusted_proxies=config.trusted_proxies,
        shops=Shops(shops.by_host, NOBODYS_SHOP),
        gateways=lambda: app.state.plugins.form_hosts() if app.state.plugins else (),
        cache=app.state.pages,
        dress=lambda visit: looks.dress(visit, app.state.themes),
    )
    return app


class _PluginsFirst:
    """Hands the pages of plugins to their own applications, as long as these are there."""

    def __init__(self, shop: Litestar, app: App) -> None:
        self._shop = shop
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        plugin = plugin_pages.plugin_in(scope["path"])
        plugins: Runtime | None = self._shop.state.plugins
        found = await plugins.pages_of(plugin, scope["state"]["visit"].shop.id) if plugins and plugin else None
        if found is None:
            await self._app(scope, receive, send)
        else:
            await plugin_pages.serve(*found, self._shop, scope, receive, send)


def _of_plugins(app: Litestar) -> list[Feature]:
    plugins: Runtime | None = app.state.plugins
    visit = visits.current()
    return plugins.page_features(visit.shop.id) if plugins and visit else []


def _slot_failed(app: Litestar, plugin: str, what: str, error: BaseException) -> None:
    app.state.plugins.count_failure(plugin, what, error)


def core_features(names: Sequence[str]) -> list[Feature]:
    present = [name for name in names if (CORE / name / "feature.py").is_file()]
    return [importlib.import_module(f"core.{name}.feature").feature for name in present]


@asynccontextmanager
async def _lifespan(
    config: Config, features: list[Feature], load_plugins: LoadPlugins | None, app: Litestar
) -> AsyncIterator[None]:
    if not config.database_url:
        raise StartRefused("There is no DATABASE_URL. Start with `server.py run`, which brings its own database.")
    async with AsyncExitStack() as stack:
        await db.open_pool(config.database_url)
        stack.push_async_callback(db.close_pool)
        stack.push_async_callback(calls.written)
        if config.redis_url:
            bell.open(config.redis_url)
        stack.push_async_callback(bell.close)
        plugins: list[Feature] = []
        if load_plugins:
            runtime = await stack.enter_async_context(load_plugins(config))
            plugins = runtime.features()
            app.state.plugins = runtime
            runtime.on_new_folders = lambda: dress(app, config, [*features, *runtime.features()])
        dress(app, config, [*features, *plugins])
        window = asyncio.create_task(_draw_anew(app.state.pages))
        stack.push_async_callback(tasks.end, window)
        yield


async def _draw_anew(pages: PageCache) -> None:
    """What suppliers change is in the shop window at once, in every process."""
    async for _text in bell.listen(catalog.CHANGED):
        pages.clear()
        catalog.forget()


def dress(app: Litestar, config: Config, features: Sequence[Feature]) -> None:
    """Themes, words and slots for these features."""
    more = partial(_of_plugins, app)
    app.state.features = list(features)
    app.state.themes = themes_for(config, features, Slots(features, more, partial(_slot_failed, app)), more)
    load_words(config, features, app.state.themes)
    for theme in app.state.themes.all():
        app.state.themes.look(theme.id)


def themes_for(config: Config, features: Sequence[Feature], slots: Slots, more: More = tuple) -> Themes:
    """Those of the shop, and those the merchant put into the data folder."""
    return Themes(
        [THEMES, config.home / "themes"],
        template_folders=[folder for feature in features if (folder := feature.part("templates"))],
        static_folders=[(feature.name, folder) for feature in features if (folder := feature.part("static"))],
        prepare=lambda environment: words.prepare(environment, features, slots, more),
        cache_folder=config.home / "cache" / "templates",
        reload=bool(os.environ.get("VOUCHSAFE_RELOAD")),
    )


def load_words(config: Config, features: Sequence[Feature], themes: Themes) -> None:
    """The catalogues of the shop, of languages put into the data folder, of features, themes and plugins."""
    own = [folder for one in features if not one.plugin and (folder := one.part("locales"))]
    folders = [i18n.FOLDER, config.home / "locales", *own, *themes.locales()]
    i18n.load(folders, {one.name: one.folder for one in features if one.plugin and one.folder})


def themes_alone(config: Config) -> Themes:
    """Themes and words without a running shop, to look a theme over."""
    features = [web_pages.feature, *core_features(FEATURES)]
    themes = themes_for(config, features, Slots(features))
    load_words(config, features, themes)
    return themes
