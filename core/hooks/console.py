"""Plugins in the console. This page calls no hook, so that it works when every plugin is broken."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from functools import partial
from typing import Any, Literal

import msgspec
from litestar import Request, Response, get, post
from litestar.params import FromPath

from core import db
from core.audit import service as audit
from core.hooks import picks, store
from core.hooks import runtime as runtimes
from core.hooks.answers import Check, CheckResult
from core.hooks.folder import digest
from core.hooks.form import Sent, SettingsForm
from core.hooks.lists import KIND_TITLES, PLUGINS, SOURCES, STATES, TROUBLED, kind_of, words
from core.hooks.manager import Loaded, State
from core.hooks.runtime import Runtime, is_enabled
from core.hooks.settings import CannotDraw, PluginSettings, SettingsWrong
from core.hooks.store import Row
from core.shops import service as shops
from core.web.errors import NotFound
from core.web.flash import flash
from core.web.forms import read_form
from core.web.hx import wants_fragment
from core.web.i18n import Text, _
from core.web.list_page import list_page
from core.web.render import fragment, page, see_other
from core.web.request import visit_of

CHECK_SECONDS = 15.0

PERMISSION_TITLES: dict[str, Text] = {
    "network": _("Calls other servers"),
    "mail": _("Sends mail"),
    "contacts": _("Sees how buyers are reached"),
    "codes": _("Sees codes"),
}
ANSWERS: dict[Check, tuple[Text, str]] = {
    Check.OK: (_("It works"), "success"),
    Check.TRY_LATER: (_("No answer; try again later"), "warning"),
    Check.CREDENTIALS_WRONG: (_("The access data are not accepted"), "error"),
    Check.WILL_NOT_WORK: (_("It will not work like this"), "error"),
}

WAITING_FACTS = """
SELECT args->>'plugin' AS plugin, args->>'hook' AS hook, count(*) AS jobs, max(error) AS error FROM jobs_job
WHERE name = $1 AND state IN ('queued', 'running', 'failed') GROUP BY 1, 2 ORDER BY 1, 2
"""

Page = Response[str]


class PostedSettings(msgspec.Struct):
    act: Literal["save", "test", "more"] = "save"
    texts: dict[str, str] = {}
    secrets: dict[str, str] = {}
    forget: dict[str, str] = {}


PREFIXES = {"texts": "set_", "secrets": "secret_", "forget": "forget_"}


# -- the list ---------------------------------------------------------------------------


@get("/plugins", opt={"who": "staff:plugins.read", "repeats": ("col",)})
async def plugin_list(request: Request[Any, Any, Any]) -> Response[Any]:
    await runtimes.current().look_around()
    return await _list(request)


async def _list(request: Request[Any, Any, Any], problem: Text | str = "", status: int = 200) -> Response[Any]:
    plugins = runtimes.current()
    context = {
        "troubled": [one for one in plugins.plugins if one.state in TROUBLED],
        "words": words,
        "safe_mode": plugins.safe_mode,
        "problem": problem,
        "may_change": request.state.session.may("plugins.edit"),
    }
    return await list_page(request, PLUGINS, context, template="hooks/list.html", status=status)


# -- one plugin -------------------------------------------------------------------------


@get("/plugins/{plugin:str}", opt={"who": "staff:plugins.read"})
async def plugin_page(request: Request[Any, Any, Any], plugin: FromPath[str]) -> Page:
    loaded = _loaded(plugin)
    return await _page(request, loaded, _form(loaded, await _row(plugin)))


def _loaded(plugin: str) -> Loaded:
    try:
        return runtimes.current().plugin(plugin)
    except KeyError:
        raise NotFound() from None


async def _row(plugin: str) -> Row | None:
    return (await store.rows()).get(plugin)


def _form(loaded: Loaded, row: Row | None) -> SettingsForm | None:
    """None while there is nothing to fill in: no settings, or the plugin was not imported."""
    if loaded.plugin is None or loaded.plugin.Settings is None:
        return None
    try:
        return SettingsForm(runtimes.current(), loaded, row or Row(True))
    except CannotDraw:
        return None


async def _page(
    request: Request[Any, Any, Any],
    loaded: Loaded,
    form: SettingsForm | None,
    sent: Sent | None = None,
    errors: Mapping[str, Any] | None = None,
    result: CheckResult | None = None,
) -> Page:
    manifest = loaded.manifest
    context = {
        "plugin": loaded,
        "manifest": manifest,
        "kind": KIND_TITLES[kind_of(loaded.id)],
        "source": SOURCES[loaded.source] if loaded.module else "",
        "digest": await asyncio.to_thread(digest, loaded.folder) if loaded.module else "",
        "hosts": [one for one in runtimes.current().hosts(loaded.id) if one.failures],
        "shops": await shops.all_shops(),
        "is_off_in": partial(runtimes.current().is_off_in, loaded.id),
        "permissions": [PERMISSION_TITLES[name] for name in manifest.permissions] if manifest else [],
        "state": STATES[loaded.state],
        "enabled": is_enabled(manifest, await _row(loaded.id)),
        "safe_mode": runtimes.current().safe_mode,
        "waiting": [row for row in await db.fetch(WAITING_FACTS, runtimes.FACT) if row["plugin"] == loaded.id],
        "fields": form.shown(sent) if form else [],
        "currency": runtimes.current().facts.currency,
        "picks": await picks.offered(form.fields) if form else {},
        "labels": {name: _label(form, name) for name in errors or {}} if form else {},
        "can_check": loaded.plugin is not None and loaded.plugin.can_check,
        "errors": errors or {},
        "result": result,
        "retype": bool(sent and any(sent.secrets.values())),
        "answers": ANSWERS,
        "words": words,
        "may_change": request.state.session.may("plugins.edit"),
    }
    return page(request, "hooks/plugin.html", context, status=422 if errors else 200)


# -- on and off -------------------------------------------------------------------------


@post("/plugins/{plugin:str}/enable", opt={"who": "staff:plugins.edit", "fresh": True})
async def enable(request: Request[Any, Any, Any], plugin: FromPath[str]) -> Response[Any]:
    _loaded(plugin)
    if runtimes.current().safe_mode:
        return await _list(request, status=409)
    clash = await runtimes.current().clash_if_enabled(plugin)
    if clash:
        return await _list(request, _("It cannot be switched on: %(why)s", why=clash), 409)
    await _switch(request, plugin, True)
    after = _loaded(plugin)
    title = words(after.title)
    if after.state is State.ACTIVE:
        return flash(see_other(_address(plugin)), _("%(plugin)s is on.", plugin=title))
    if after.state is State.NEEDS_SETTINGS:
        words_of_it = _("%(plugin)s is on. Now fill in its settings.", plugin=title)
        return flash(see_other(_address(plugin)), words_of_it, "info")
    return flash(see_other(_address(plugin)), after.reason, "warning")


@post("/plugins/{plugin:str}/disable", opt={"who": "staff:plugins.edit", "fresh": True})
async def disable(request: Request[Any, Any, Any], plugin: FromPath[str]) -> Response[Any]:
    loaded = _loaded(plugin)
    await _switch(request, plugin, False)
    return flash(see_other("/admin/plugins"), _("%(plugin)s is off.", plugin=words(loaded.title)))


async def _switch(request: Request[Any, Any, Any], plugin: str, enabled: bool) -> None:
    async def write(tx: db.Tx) -> None:
        await store.enable(tx, plugin, enabled)
        await _note(tx, request, "plugin.enabled" if enabled else "plugin.disabled", plugin)

    await db.transaction(write)
    await runtimes.current().refresh()


async def _note(
    tx: db.Tx, request: Request[Any, Any, Any], act: str, plugin: str, detail: dict[str, Any] | None = None
) -> None:
    visit = visit_of(request)
    actor = f"staff:{request.state.session.staff_id}"
    await audit.record(
        tx, actor, act, f"plugin:{plugin}", detail, shop_id=visit.shop.id, ip=visit.ip, request_id=visit.id
    )


def _address(plugin: str) -> str:
    return f"/admin/plugins/{plugin}"


class PostedShops(msgspec.Struct):
    on: dict[str, str] = {}


@post("/plugins/{plugin:str}/shops", opt={"who": "staff:plugins.edit", "fresh": True})
async def set_shops(request: Request[Any, Any, Any], plugin: FromPath[str]) -> Response[Any]:
    _loaded(plugin)
    on = (await read_form(request, PostedShops, gather={"on": "shop_"})).on
    off = [shop for shop in await shops.all_shops() if str(shop.id) not in on]

    async def write(tx: db.Tx) -> None:
        await store.switch_off_in(tx, plugin, [shop.id for shop in off])
        await _note(tx, request, "plugin.shops_set", plugin, {"off": [shop.code for shop in off]})

    await db.transaction(write)
    await runtimes.current().refresh()
    return flash(see_other(_address(plugin)), _("Saved, and in use from now on."))


# -- settings ---------------------------------------------------------------------------


@post("/plugins/{plugin:str}/settings", opt={"who": "staff:plugins.edit", "fresh": True})
async def save_or_test(request: Request[Any, Any, Any], plugin: FromPath[str]) -> Response[Any]:
    loaded = _loaded(plugin)
    form = _form(loaded, await _row(plugin))
    if form is None:
        raise NotFound()
    posted = await read_form(request, PostedSettings, gather=PREFIXES)
    sent = Sent(posted.texts, posted.secrets, frozenset(posted.forget))
    if posted.act == "more":
        return await _page(request, loaded, form, sent)
    try:
        settings = form.read(sent)
        not_there = await picks.missing(form.fields, settings)
        if not_there:
            raise SettingsWrong(not_there)
    except SettingsWrong as wrong:
        return await _wrong(request, loaded, form, sent, wrong, posted.act)
    if posted.act == "test":
        return await _test(request, loaded, form, sent, settings)
    return await _save(request, loaded, form, settings)


async def _wrong(
    request: Request[Any, Any, Any], loaded: Loaded, form: SettingsForm, sent: Sent, wrong: SettingsWrong, act: str
) -> Page:
    if act == "test" and wants_fragment(request):
        lines = [f"{_label(form, name)}: {message}" for name, message in wrong.fields.items()]
        result = CheckResult.will_not_work(" ".join(lines))
        return fragment(request, "hooks/_check.html", {"result": result, "answers": ANSWERS, "retype": False})
    return await _page(request, loaded, form, sent, wrong.fields)


def _label(form: SettingsForm, name: str) -> Text | str:
    """What a field is called: for ``rows.0.name`` the title of the list, the number of the row, the title in it."""
    setting, *place = name.split(".")
    titles = {one.name: one for one in form.fields}
    if setting not in titles:
        return name
    if len(place) != 2:
        return titles[setting].look.title
    cell = next((one.look.title for one in titles[setting].columns if one.name == place[1]), place[1])
    return _("%(list)s, row %(row)s, %(field)s", list=titles[setting].look.title, row=int(place[0]) + 1, field=cell)


async def _test(
    request: Request[Any, Any, Any], loaded: Loaded, form: SettingsForm, sent: Sent, settings: PluginSettings
) -> Page:
    result = await tried(runtimes.current(), loaded, settings)
    if wants_fragment(request):
        return fragment(request, "hooks/_check.html", {"result": result, "answers": ANSWERS, "retype": False})
    return await _page(request, loaded, form, sent, result=result)


async def tried(plugins: Runtime, loaded: Loaded, settings: PluginSettings) -> CheckResult:
    """What the plugin's own check says of settings that are not saved yet."""
    if loaded.plugin is None or not loaded.plugin.can_check:
        raise NotFound()
    try:
        async with asyncio.timeout(CHECK_SECONDS):
            result = await loaded.plugin.check(settings, plugins.context_to_try(loaded.id, settings))
    except (Exception, SystemExit) as error:  # noqa: BLE001  a plugin's mistake of any kind is an answer
        plugins.count_failure(loaded.id, "check", error)
        return CheckResult.try_later(_("The test itself broke off (%(error)s).", error=type(error).__name__))
    return result if isinstance(result, CheckResult) else CheckResult.try_later(_("The test gave no answer."))


async def _save(
    request: Request[Any, Any, Any], loaded: Loaded, form: SettingsForm, settings: PluginSettings
) -> Response[Any]:
    open_ones, secrets = form.to_store(settings)
    changed = form.changed(open_ones, secrets)

    async def write(tx: db.Tx) -> None:
        await store.save(tx, loaded.id, True, open_ones, secrets, form.model.settings_version)
        await _note(tx, request, "plugin.settings_saved", loaded.id, {"changed": changed})

    await db.transaction(write)
    await runtimes.current().refresh()
    after = _loaded(loaded.id)
    if after.state is State.ACTIVE:
        return flash(see_other(_address(loaded.id)), _("Saved, and in use from now on."))
    return flash(see_other(_address(loaded.id)), after.reason or _("Saved."), "warning")


ROUTES = (plugin_list, plugin_page, enable, disable, set_shops, save_or_test)
