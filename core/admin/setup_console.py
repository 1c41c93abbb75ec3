"""The pages of the set-up after its first step. The first, which makes the owner, is among the people's."""

from __future__ import annotations

from typing import Annotated, Any, Literal
from zoneinfo import available_timezones

import msgspec
from litestar import Response, get, post
from msgspec import Meta

from core import db
from core.admin import checklist, health, setup
from core.admin.health_console import seen
from core.admin.packs import EVERYTHING, PACKS
from core.audit import service as audit
from core.hooks import console as plugin_console
from core.hooks import runtime, store
from core.hooks.answers import Check, CheckResult
from core.hooks.form import Sent, SettingsForm
from core.hooks.settings import PluginSettings, SettingsWrong
from core.hooks.store import Row
from core.messages.events import MAIL
from core.messages.service import notifier_for
from core.refused import Refused
from core.shops import service as shops
from core.shops.service import Shop
from core.web.errors import FormError, NotFound
from core.web.flash import flash
from core.web.forms import ONE_LINE, Line, errors_of, read_form
from core.web.hx import wants_fragment
from core.web.i18n import LOCALES, NAMES, _, html_lang
from core.web.render import fragment, page, see_other
from core.web.request import AnyRequest, visit_of


class ShopForm(msgspec.Struct):
    name: Annotated[str, Meta(min_length=1, max_length=120, pattern=ONE_LINE, extra={"strip": True})]
    currency: Annotated[str, Meta(pattern="^[A-Z]{3}$")]
    locale: Line
    timezone: Line
    pack: Line = EVERYTHING
    demo: bool = False


class Skip(msgspec.Struct):
    step: Literal[2, 3, 4]


class PostedSettings(msgspec.Struct):
    act: Literal["save", "test"] = "save"
    texts: dict[str, str] = {}
    secrets: dict[str, str] = {}
    forget: dict[str, str] = {}


async def _shop(request: AnyRequest) -> Shop:
    """As it is now: the step before may have been saved by another process a moment ago."""
    shops.forget()
    return await shops.by_id(visit_of(request).shop.id)


async def _page(request: AnyRequest, name: str, context: dict[str, Any], status: int = 200) -> Response[str]:
    return page(request, f"admin/setup_{name}.html", {"stored": await _shop(request), **context}, status=status)


@post("/setup/skip", opt={"who": "staff:setup.run"})
async def skip(request: AnyRequest) -> Response[None]:
    form = await read_form(request, Skip)
    return see_other(await setup.come_to(await _shop(request), form.step + 1))


@post("/setup/end", opt={"who": "staff:setup.run"})
async def end(request: AnyRequest) -> Response[Any]:
    await setup.end(await _shop(request), request.state.session.staff_id)
    return flash(see_other("/admin"), _("The set-up is done. What is left to do before you open stands here."))


# -- your shop --------------------------------------------------------------------------


@get("/setup/shop", opt={"who": "staff:setup.run"})
async def shop_step(request: AnyRequest) -> Response[str]:
    return await _shop_step(request)


async def _shop_step(
    request: AnyRequest, errors: dict[str, Any] | None = None, kept: dict[str, Any] | None = None, status: int = 200
) -> Response[str]:
    shop, visit = await _shop(request), visit_of(request)
    pack = await setup.pack_there(shop.id)
    first = shop.settings.setup_step == 2
    currency, locale, timezone = shop.currency, shop.locale, shop.timezone
    if first:
        at_home = ("USD", html_lang(visit.locale), "UTC")
        currency, locale, timezone = setup.AT_HOME.get(visit.locale, at_home)
    form = {
        "name": "" if first and shop.revision < 3 else shop.name,
        "currency": currency,
        "locale": locale,
        "timezone": timezone,
        "pack": pack or EVERYTHING,
        "demo": first or pack is not None,
        **(kept or {}),
    }
    base_url = request.app.state.config.base_url
    context = {
        "form": form,
        "errors": errors or {},
        "first": first,
        "packs": [(name, one.title, one.hint) for name, one in PACKS.items()],
        "currencies": setup.currencies(shop.currency, visit.locale),
        "languages": [(html_lang(name), NAMES[name]) for name in LOCALES],
        "timezones": [(name, name) for name in sorted({"UTC", *(z for z in available_timezones() if "/" in z)})],
        "base_url": base_url,
        "opened_at": visit.origin,
    }
    return await _page(request, "shop", context, status)


@post("/setup/shop", opt={"who": "staff:setup.run"})
async def save_shop(request: AnyRequest) -> Response[Any]:
    try:
        form = await read_form(request, ShopForm)
    except FormError as error:
        return await _shop_step(request, dict(error.fields), {"demo": False, **error.kept}, 422)
    shop = await _shop(request)
    facts = setup.ShopFacts(form.name, form.currency, form.locale, form.timezone, form.pack, form.demo)
    try:
        if form.locale not in [html_lang(one) for one in LOCALES]:
            raise Refused(_("Choose a language from the list."), "locale")
        await setup.save_shop(shop, facts, request.state.session.staff_id)
    except Refused as refused:
        return await _shop_step(request, errors_of(refused), msgspec.to_builtins(form), 422)
    return see_other(await setup.come_to(await _shop(request), 3))


# -- getting paid -----------------------------------------------------------------------


@get("/setup/payments", opt={"who": "staff:setup.run"})
async def payments_step(request: AnyRequest) -> Response[str]:
    context = {
        "gateways": setup.gateways(),
        "states": plugin_console.STATES,
        "words": plugin_console.words,
        "real": checklist.takes_real_money(await _shop(request)),
    }
    return await _page(request, "payments", context)


@post("/setup/payments", opt={"who": "staff:setup.run"})
async def test_payment(request: AnyRequest) -> Response[None]:
    """Go on with the test payment."""
    shop = await _shop(request)
    if shop.test_mode:
        await setup.switch_on("payments.sandbox", request.state.session.staff_id)
    return see_other(await setup.come_to(shop, 4))


# -- messages ---------------------------------------------------------------------------


@get("/setup/messages", opt={"who": "staff:setup.run"})
async def messages_step(request: AnyRequest) -> Response[str]:
    return await _messages_step(request)


async def _messages_step(
    request: AnyRequest,
    sent: Sent | None = None,
    errors: dict[str, Any] | None = None,
    result: CheckResult | None = None,
) -> Response[str]:
    form = await _mail_form()
    context = {
        "fields": form.shown(sent) if form else [],
        "errors": errors or {},
        "result": result,
        "answers": plugin_console.ANSWERS,
        "retype": bool(sent and any(sent.secrets.values())),
        "mail_goes_out": notifier_for(MAIL, visit_of(request).shop.id) is not None,
        "currency": runtime.current().facts.currency,
    }
    return await _page(request, "messages", context, 422 if errors else 200)


async def _mail_form() -> SettingsForm | None:
    """The settings of the mailer; None while it is off."""
    plugins = runtime.current()
    try:
        loaded = plugins.plugin(setup.MAILER)
    except KeyError:
        return None
    if loaded.plugin is None:
        return None
    return SettingsForm(plugins, loaded, (await store.rows()).get(setup.MAILER) or Row(True))


@post("/setup/messages", opt={"who": "staff:setup.run"})
async def keep_mails(request: AnyRequest) -> Response[None]:
    """Go on; what is not sent waits on the page of messages."""
    return see_other(await setup.come_to(await _shop(request), 5))


@post("/setup/messages/on", opt={"who": "staff:setup.run", "fresh": True})
async def mailer_on(request: AnyRequest) -> Response[None]:
    await setup.switch_on(setup.MAILER, request.state.session.staff_id)
    return see_other("/admin/setup/messages")


@post("/setup/messages/settings", opt={"who": "staff:setup.run", "fresh": True})
async def mail_settings(request: AnyRequest) -> Response[Any]:
    form = await _mail_form()
    if form is None:
        raise NotFound()
    prefixes = {"texts": "set_", "secrets": "secret_", "forget": "forget_"}
    posted = await read_form(request, PostedSettings, gather=prefixes)
    sent = Sent(posted.texts, posted.secrets, frozenset(posted.forget))
    try:
        settings = form.read(sent)
    except SettingsWrong as wrong:
        if posted.act == "test" and wants_fragment(request):
            return _result(request, CheckResult.will_not_work(" ".join(str(text) for text in wrong.fields.values())))
        return await _messages_step(request, sent, dict(wrong.fields))
    if posted.act == "test":
        result = await _try_mail(request, settings)
        return (
            _result(request, result) if wants_fragment(request) else await _messages_step(request, sent, None, result)
        )
    return await _save_mail(request, form, settings)


def _result(request: AnyRequest, result: CheckResult) -> Response[str]:
    context = {"result": result, "answers": plugin_console.ANSWERS, "retype": False}
    return fragment(request, "hooks/_check.html", context)


async def _try_mail(request: AnyRequest, settings: PluginSettings) -> CheckResult:
    loaded = runtime.current().plugin(setup.MAILER)
    result = await plugin_console.tried(runtime.current(), loaded, settings)
    if result.answer is not Check.OK:
        return result
    shop, visit = await _shop(request), visit_of(request)
    return await setup.send_test(loaded, settings, request.state.session.email or "", shop, visit.locale)


async def _save_mail(request: AnyRequest, form: SettingsForm, settings: PluginSettings) -> Response[Any]:
    open_ones, secret_ones = form.to_store(settings)
    changed = form.changed(open_ones, secret_ones)
    staff_id = request.state.session.staff_id

    async def write(tx: db.Tx) -> None:
        await store.save(tx, setup.MAILER, True, open_ones, secret_ones, form.model.settings_version)
        detail = {"changed": changed}
        await audit.record(tx, f"staff:{staff_id}", "plugin.settings_saved", f"plugin:{setup.MAILER}", detail)

    await db.transaction(write)
    await runtime.current().refresh()
    return flash(see_other(await setup.come_to(await _shop(request), 5)), _("Saved, and in use from now on."))


# -- check and try ----------------------------------------------------------------------


@get("/setup/try", opt={"who": "staff:setup.run"})
async def try_step(request: AnyRequest) -> Response[str]:
    shop = await _shop(request)
    context = {
        "checks": await health.look(request.app.state.config, seen(request)),
        "product": await setup.product_to_try(shop.id),
        "order": await setup.latest_test(shop.id),
    }
    return await _page(request, "try", context)


@get("/setup/try/order", opt={"who": "staff:setup.run"})
async def tried_order(request: AnyRequest) -> Response[str]:
    """The part of the page that waits for the test order."""
    shop = await _shop(request)
    product, order = await setup.product_to_try(shop.id), await setup.latest_test(shop.id)
    return fragment(request, "admin/_setup_order.html", {"product": product, "order": order, "stored": shop})


ROUTES = (
    skip,
    end,
    shop_step,
    save_shop,
    payments_step,
    test_payment,
    messages_step,
    keep_mails,
    mailer_on,
    mail_settings,
    try_step,
    tried_order,
)
