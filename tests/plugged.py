"""The pages of the plugins that ship, for tests that walk every route of the shop."""

from __future__ import annotations

from typing import Any

from litestar.handlers import HTTPRouteHandler

from core import db
from core.hooks import runtime, store
from core.hooks.manager import State, imported
from core.hooks.manifest import discover
from core.hooks.pages import Mounted, mount
from core.web.routing import handlers

SETTINGS: dict[str, tuple[dict[str, Any], dict[str, str]]] = {}
"""What a plugin with pages needs before it can be on: its open and its secret settings."""


def mounted() -> list[Mounted]:
    """Every shipped plugin that has pages, built as it is in the shop."""
    found = ((one.id, imported(one).pages) for one in discover(runtime.ROOT / "plugins") if one.manifest)
    return [
        mount(id, pages, None, "http://127.0.0.1:8000", _nobody_counts, contacts=True) for id, pages in found if pages
    ]


def _nobody_counts(plugin: str, what: str, error: BaseException) -> None:
    raise error


def routes() -> list[tuple[str, HTTPRouteHandler]]:
    """Every path of theirs with the handler behind it."""
    return [route for one in mounted() for route in handlers(one.app)]


def acts() -> set[str]:
    return {act for one in mounted() for act in one.acts}


async def all_on() -> None:
    """Switch every plugin with pages on in the shop of this process."""
    names = [one.plugin for one in mounted()]
    for name in names:
        open_ones, secrets = SETTINGS.get(name, ({}, {}))
        await db.transaction(store.save, name, True, open_ones, secrets)
        await db.transaction(store.enable, name, True)
    await runtime.current().refresh()
    plugins = [runtime.current().plugin(name) for name in names]
    assert [(one.id, str(one.reason)) for one in plugins if one.state is not State.ACTIVE] == []
