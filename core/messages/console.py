"""Messages in the console: the outbox, and the texts a merchant may change."""

from __future__ import annotations

import logging
from typing import Annotated, Any, Literal

import msgspec
from litestar import Request, Response, get, post
from litestar.params import FromPath
from markupsafe import Markup
from msgspec import Meta

from core import db
from core.audit import service as audit
from core.hooks import runtime
from core.jobs import ring
from core.messages import compose, outbox, service, texts
from core.messages.events import EVENTS, MAIL, VARIABLES
from core.messages.lists import MESSAGES, STATES
from core.messages.notifier import NotifierRefused, NotifierUnavailable, OutgoingMessage
from core.messages.texts import Template, Written
from core.refused import Refused
from core.shops import service as shops
from core.shops.service import Shop
from core.tasks import strangers_code
from core.web.errors import Conflict, FormError, NotFound
from core.web.flash import flash
from core.web.forms import Line, read_form
from core.web.i18n import LOCALES, NAMES, _, html_lang
from core.web.list_page import list_page
from core.web.merchant_text import BadTemplate
from core.web.render import page, see_other
from core.web.request import visit_of

log = logging.getLogger("vouchsafe.messages")

TEST_SECONDS = 30


class SendAll(msgspec.Struct):
    state: Literal["held", "failed"]


class Edited(msgspec.Struct):
    act: Literal["save", "preview", "test"]
    subject: Annotated[str, Meta(max_length=texts.LONGEST_SUBJECT)]
    body: Annotated[str, Meta(max_length=texts.LONGEST_BODY)]
    order: Line = ""
    to: Line = ""


# -- the outbox -------------------------------------------------------------------------


@get("/messages", opt={"who": "staff:messages.read", "repeats": ("col",)})
async def message_list(request: Request[Any, Any, Any]) -> Response[Any]:
    shop_id = visit_of(request).shop.id
    context = {
        "counts": await outbox.counts(shop_id),
        "notifier": service.notifier_for(MAIL, shop_id),
        "states": STATES,
    }
    return await list_page(request, MESSAGES, context, template="messages/list.html")


@get("/messages/{number:int}", opt={"who": "staff:messages.read"})
async def message_page(request: Request[Any, Any, Any], number: FromPath[int]) -> Response[str]:
    message = await outbox.one(visit_of(request).shop.id, number)
    if message is None:
        raise NotFound()
    written: Written | None = None
    if message["event"] in EVENTS:
        written = await compose.shown(message, runtime.current().base_url)
    context = {
        "message": message,
        "event": EVENTS.get(message["event"]),
        "written": written,
        "html": _html(written),
        "states": STATES,
        "notifier": service.notifier_for(message["channel"], message["shop_id"]),
        "languages": NAMES,
    }
    return page(request, "messages/message.html", context)


@post("/messages/{number:int}/send", opt={"who": "staff:messages.send"})
async def send(request: Request[Any, Any, Any], number: FromPath[int]) -> Response[Any]:
    shop_id = visit_of(request).shop.id
    if await outbox.one(shop_id, number) is None:
        raise NotFound()
    _somebody_sends(shop_id)
    await ring(*await db.transaction(service.send_again, shop_id, number))
    return flash(see_other(f"/admin/messages/{number}"), _("The message is on its way."))


@post("/messages/send-all", opt={"who": "staff:messages.send"})
async def send_all(request: Request[Any, Any, Any]) -> Response[Any]:
    form, shop_id = await read_form(request, SendAll), visit_of(request).shop.id
    _somebody_sends(shop_id)
    jobs = await db.transaction(service.send_all, shop_id, (form.state,))
    await ring(*jobs)
    return flash(see_other("/admin/messages"), _("%(number)s messages are on their way.", number=len(jobs)))


def _somebody_sends(shop_id: int) -> None:
    if service.notifier_for(MAIL, shop_id) is None:
        raise Conflict(
            _("Nobody can send mails yet"),
            _("No plugin that sends mails is switched on and set up."),
            _("Open Plugins and set up e-mail, then send again."),
        )


# -- the texts --------------------------------------------------------------------------


@get("/messages/texts", opt={"who": "staff:messages.read"})
async def text_list(request: Request[Any, Any, Any]) -> Response[str]:
    changed = await texts.changed(visit_of(request).shop.id)
    return page(request, "messages/texts.html", {"events": EVENTS.values(), "languages": NAMES, "changed": changed})


@get("/messages/texts/{event:str}/{locale:str}", opt={"who": "staff:messages.read"})
async def text_page(request: Request[Any, Any, Any], event: FromPath[str], locale: FromPath[str]) -> Response[str]:
    _known(event, locale)
    template = await texts.template(visit_of(request).shop.id, event, locale)
    return await _text_page(request, template, order="")


@post("/messages/texts/{event:str}/{locale:str}", opt={"who": "staff:messages.edit", "max_body": 100_000})
async def edit_text(request: Request[Any, Any, Any], event: FromPath[str], locale: FromPath[str]) -> Response[Any]:
    _known(event, locale)
    saved = await texts.template(visit_of(request).shop.id, event, locale)
    try:
        form = await read_form(request, Edited)
    except FormError as error:
        kept = Template(event, locale, error.kept.get("subject", ""), error.kept.get("body", ""), saved.changed_at)
        return await _text_page(request, kept, order="", errors=error.fields)
    body = form.body.replace("\r\n", "\n").strip("\n") + "\n"
    template = Template(event, locale, form.subject.strip(), body, saved.changed_at)
    try:
        # every text must work with the sample order, whichever order is looked at
        texts.write(template, compose.sample(await _shop(request), locale, await _address(request)))
    except BadTemplate as error:
        return await _text_page(request, template, form.order, errors={"body": str(error)}, to=form.to)
    match form.act:
        case "save":
            return await _save(request, template)
        case "test":
            return await _test(request, template, form)
    return await _text_page(request, template, form.order, to=form.to)


@post("/messages/texts/{event:str}/{locale:str}/reset", opt={"who": "staff:messages.edit"})
async def reset_text(request: Request[Any, Any, Any], event: FromPath[str], locale: FromPath[str]) -> Response[Any]:
    _known(event, locale)
    shop_id = visit_of(request).shop.id

    async def write(tx: db.Tx) -> None:
        await texts.reset(tx, shop_id, event, locale)
        await _audit(tx, request, "messages.text_reset", event, locale)

    await db.transaction(write)
    return flash(see_other(f"/admin/messages/texts/{event}/{locale}"), _("The default text is back."))


async def _save(request: Request[Any, Any, Any], template: Template) -> Response[Any]:
    async def write(tx: db.Tx) -> None:
        await texts.save(tx, visit_of(request).shop.id, template)
        await _audit(tx, request, "messages.text_saved", template.event, template.locale)

    await db.transaction(write)
    return flash(see_other(f"/admin/messages/texts/{template.event}/{template.locale}"), _("Saved."))


async def _audit(tx: db.Tx, request: Request[Any, Any, Any], act: str, event: str, locale: str) -> None:
    visit = visit_of(request)
    actor = f"staff:{request.state.session.staff_id}"
    await audit.record(tx, actor, act, f"text:{event}:{locale}", shop_id=visit.shop.id, ip=visit.ip or None)


async def _test(request: Request[Any, Any, Any], template: Template, form: Edited) -> Response[Any]:
    """Send the text as it stands, with the sample order to anybody, with a real one to oneself alone."""
    try:
        context = await _filled_with(request, template, form.order)
        if form.order and form.to.lower() != (request.state.session.email or "").lower():
            raise Refused(_("With a real order in it, a test goes to your own address only."), "to")
        await _send_test(await _shop(request), template, context, form.to)
    except (Refused, ValueError) as error:
        field, said = (error.field or "to", error.text) if isinstance(error, Refused) else ("to", str(error))
        return await _text_page(request, template, form.order, errors={field: said}, to=form.to)
    text = _("A test mail was sent to %(address)s.", address=form.to)
    return await _text_page(request, template, form.order, to=form.to, said=text)


async def _send_test(shop: Shop, template: Template, context: compose.Context, to: str) -> None:
    notifier = service.notifier_for(MAIL, shop.id)
    if notifier is None:
        raise Refused(_("No plugin that sends mails is switched on and set up."))
    if "@" not in to:
        raise Refused(_("Write the address the test goes to."))
    written = texts.write(template, context)
    message = OutgoingMessage(
        id=f"test.{shop.id}",
        recipient=to,
        subject=written.subject,
        text=written.body.text,
        html=compose.framed(shop, written, template.locale, shops.address(shop.host, runtime.current().base_url)),
        locale=template.locale,
        from_name=" ".join(shop.name.split()),
    )
    try:
        async with strangers_code(TEST_SECONDS):
            await notifier.send(message)
    except (NotifierRefused, NotifierUnavailable) as error:
        raise Refused(str(error)) from None
    except Exception as error:  # noqa: BLE001  a plugin's mistake of any kind is an answer
        log.error("the notifier %s broke in a test: %s", notifier.key, type(error).__name__)
        raise Refused(_("The test itself broke off (%(error)s).", error=type(error).__name__)) from None


async def _text_page(
    request: Request[Any, Any, Any],
    template: Template,
    order: str,
    *,
    errors: dict[str, Any] | None = None,
    to: str | None = None,
    said: Any = "",
) -> Response[str]:
    errors = dict(errors or {})
    written = None if "body" in errors or "subject" in errors else await _preview(request, template, order, errors)
    context = {
        "template": template,
        "event": EVENTS[template.event],
        "language": NAMES[template.locale],
        "lang": html_lang(template.locale),
        "changes": texts.changes(template),
        "variables": VARIABLES,
        "written": written,
        "html": _html(written),
        "order": order,
        "to": (request.state.session.email or "") if to is None else to,
        "said": said,
        "errors": errors,
    }
    return page(request, "messages/text.html", context, status=422 if errors else 200)


async def _preview(
    request: Request[Any, Any, Any], template: Template, ref: str, errors: dict[str, Any]
) -> Written | None:
    try:
        context = await _filled_with(request, template, ref)
    except Refused as refused:
        errors.setdefault("order", refused.text)
        context = compose.sample(await _shop(request), template.locale, await _address(request))
    try:
        return texts.write(template, context)
    except BadTemplate as error:
        errors["body"] = str(error)
        return None


async def _filled_with(request: Request[Any, Any, Any], template: Template, ref: str) -> compose.Context:
    """What the text is tried out with: that order without its codes and with a link that opens nothing, or the sample.

    :raises Refused: there is no such order, for who asks.
    """
    shop, address = await _shop(request), await _address(request)
    if not ref:
        return compose.sample(shop, template.locale, address)
    found = None
    if request.state.session.may("orders.read"):
        found = await compose.of_order(shop, ref.strip().upper(), template.locale, address)
    if found is None:
        raise Refused(_("There is no such order in this shop."), "order")
    return found


def _html(written: Written | None) -> Markup:
    """The mail's words as HTML; what was not written by Markdown in it is escaped, and it holds no looks."""
    return Markup(written.body.html if written else "")  # noqa: S704


def _known(event: str, locale: str) -> None:
    if event not in EVENTS or locale not in LOCALES:
        raise NotFound()


async def _address(request: Request[Any, Any, Any]) -> str:
    return shops.address((await _shop(request)).host, runtime.current().base_url)


async def _shop(request: Request[Any, Any, Any]) -> Shop:
    return await shops.by_id(visit_of(request).shop.id)
