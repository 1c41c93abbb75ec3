"""The shop's looks and its own pages in the console."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec
from litestar import Response, get, post
from litestar.params import FromPath
from msgspec import Meta

from core import db
from core.catalog import images
from core.refused import Refused
from core.shops import service as shops
from core.site import looks, notices, rehearsal
from core.site.looks import Staff
from core.web import cookies, theme_check, theme_settings
from core.web.errors import MEND_THEME, Conflict, FormError, NotFound
from core.web.flash import flash
from core.web.forms import Form, Line, Upload, read_form, read_query
from core.web.hx import safe_next
from core.web.i18n import LOCALES, NAMES, _, html_lang
from core.web.render import page, see_other
from core.web.request import AnyRequest, visit_of
from core.web.theme_settings import BadValue, Setting
from core.web.themes import BadTheme, Look, Theme, Themes, groups_of
from core.web.visit import PREVIEW_COOKIE, Visit

UPLOADS = 8_000_000
SIZES = {
    "phone": (_("Phone"), 390, 760),
    "tablet": (_("Tablet"), 820, 900),
    "desktop": (_("Desktop"), 1280, 900),
}


def themes_of(request: AnyRequest) -> Themes:
    themes: Themes = request.app.state.themes
    return themes


def staff_of(request: AnyRequest) -> Staff:
    visit = visit_of(request)
    return Staff(request.state.session.staff_id, visit.shop.id, visit.ip or None)


# -- which themes there are -------------------------------------------------------------


@get("/themes", opt={"who": "staff:settings.read"})
async def theme_list(request: AnyRequest) -> Response[str]:
    themes, shop_id = themes_of(request), visit_of(request).shop.id
    worn, look = await looks.live(shop_id)
    draft = await looks.draft(shop_id)
    context = {
        "themes": [theme for theme in _storefront(themes) if theme.inherits or theme.id == worn],
        "broken": themes.broken(),
        "reports": {theme.id: theme_check.remembered(themes, theme.id) for theme in themes.all()},
        "worn": worn,
        "look": look,
        "draft": draft,
        "revisions": await looks.published(shop_id),
        "may_edit": request.state.session.may("settings.edit"),
    }
    return page(request, "site/themes.html", context)


def _storefront(themes: Themes) -> list[Theme]:
    return [theme for theme in themes.all() if theme.kind == "storefront"]


async def _report(request: AnyRequest, theme_id: str) -> theme_check.Report:
    return await asyncio.to_thread(theme_check.checked, themes_of(request), theme_id)


@get("/themes/check/{name:str}", opt={"who": "staff:settings.read"})
async def theme_report(request: AnyRequest, name: FromPath[str]) -> Response[str]:
    theme = _theme(request, name)
    context = {"theme": theme, "report": await _report(request, theme.id), "levels": theme_check.LEVELS}
    return page(request, "site/report.html", context)


def _theme(request: AnyRequest, name: str) -> Theme:
    found = next((one for one in _storefront(themes_of(request)) if one.id == name), None)
    if found is None:
        raise NotFound()
    return found


# -- the draft --------------------------------------------------------------------------


class Chosen(msgspec.Struct):
    theme: Line


@post("/themes/draft", opt={"who": "staff:settings.edit"})
async def begin(request: AnyRequest) -> Response[Any]:
    """Try a theme, with what is set now as far as it fits."""
    form = await read_form(request, Chosen)
    theme = _theme(request, form.theme)
    if (await _report(request, theme.id)).fatal:
        raise Conflict(
            _("This theme cannot be used"),
            _("The check found what would break pages of the shop."),
            _("Look at its report, mend the theme, then try again."),
        )
    staff = staff_of(request)
    _worn, look = await looks.live(staff.shop_id)
    kept = theme_settings.fitting(_look(request, theme.id).settings, look.settings if look else {})
    await looks.begin(staff, theme.id, kept)
    return see_other("/admin/themes/draft")


def _look(request: AnyRequest, theme_id: str) -> Look:
    try:
        return themes_of(request).strict(theme_id)
    except BadTheme as problem:
        raise Conflict(_("This theme cannot be used"), str(problem)) from None


async def _draft(shop_id: int) -> looks.Look:
    draft = await looks.draft(shop_id)
    if draft is None:
        raise NotFound(_("There is no draft"), _("It was published or thrown away."), _("Choose a theme to begin one."))
    return draft


@get("/themes/draft", opt={"who": "staff:settings.edit"})
async def draft_page(request: AnyRequest) -> Response[str]:
    draft = await _draft(visit_of(request).shop.id)
    look = _look(request, draft.theme)
    return await _draft_page(request, draft, look, theme_settings.fitting(look.settings, draft.settings))


async def _draft_page(
    request: AnyRequest,
    draft: looks.Look,
    look: Look,
    values: Mapping[str, Any],
    errors: Mapping[str, Any] | None = None,
    kept: Mapping[str, str] | None = None,
) -> Response[str]:
    settings = [one for one in look.settings if not one.hidden]
    context = {
        "draft": draft,
        "theme": look.theme,
        "groups": _grouped(settings),
        "group_names": groups_of(look.chain),
        "values": {one.id: values.get(one.id, one.default) for one in settings},
        "kept": kept,
        "errors": errors or {},
        "labels": {f"{one.id}{part}": one.label for one in settings for part in _parts(one)},
        "fonts": theme_settings.FONTS,
        "picks": await looks.picks(draft.shop_id, settings),
        "languages": _languages(),
        "hard": theme_settings.hard_to_read(settings, values),
    }
    return page(request, "site/draft.html", context, status=422 if errors else 200)


def _parts(one: Setting) -> list[str]:
    return [f".{name}" for name in _languages()] if one.translated else [""]


def _languages() -> dict[str, str]:
    return {html_lang(locale): NAMES[locale] for locale in LOCALES}


def _grouped(settings: list[Setting]) -> list[tuple[str, list[tuple[Setting, list[Setting]]]]]:
    """By group, each setting with those that count only while it is on."""
    groups: dict[str, list[tuple[Setting, list[Setting]]]] = {}
    for one in settings:
        if not one.show_if:
            groups.setdefault(one.group, []).append((one, [other for other in settings if other.show_if == one.id]))
    return list(groups.items())


@post("/themes/settings", opt={"who": "staff:settings.edit", "max_body": UPLOADS})
async def save(request: AnyRequest) -> Response[Any]:
    staff = staff_of(request)
    draft = await _draft(staff.shop_id)
    look = _look(request, draft.theme)
    form: Form | None = request.scope["state"].get("form")
    texts = {name.removeprefix("set_"): items[0] for name, items in form.fields.items()} if form else {}
    before = theme_settings.fitting(look.settings, draft.settings)
    values, errors = _read(look, texts, before)
    errors.update(await _pictures(form, staff.shop_id, look, texts, values))
    errors.update({name: text for name, text in (await looks.missing(staff.shop_id, look.settings, values)).items()})
    if errors:
        return await _draft_page(request, draft, look, {**before, **values}, errors, texts)
    seen = texts.get("seen", "")
    if not (seen.isascii() and seen.isdigit()) or len(seen) > 9:
        raise FormError({"seen": _("This page has no such field.")})
    try:
        await looks.save(staff, int(seen), theme_settings.fitting(look.settings, values))
    except Refused as refused:
        raise Conflict(_("The draft was not saved"), refused.text) from None
    request.app.state.pages.clear()
    if texts.get("act") == "preview":
        return await _begin_preview(request, draft)
    return flash(see_other("/admin/themes/draft"), _("The draft is saved. Buyers do not see it yet."))


def _read(look: Look, texts: Mapping[str, str], before: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    values, errors = dict(before), {}
    for one in look.settings:
        if one.asks and one.kind != "image" and not one.hidden:
            try:
                values[one.id] = theme_settings.from_form(one, texts, _languages())
            except BadValue as wrong:
                errors[f"{one.id}{_parts(one)[0]}"] = wrong.text
    return values, errors


async def _pictures(
    form: Form | None, shop_id: int, look: Look, texts: Mapping[str, str], values: dict[str, Any]
) -> dict[str, Any]:
    """Keep what was uploaded; gives what could not be read."""
    errors: dict[str, Any] = {}
    for one in look.settings:
        if one.kind != "image" or one.hidden:
            continue
        if texts.get(f"forget_{one.id}") == "on":
            values.pop(one.id, None)
        uploads: list[Upload] = form.files.get(f"set_{one.id}", []) if form else []
        if uploads and uploads[0].size:
            try:
                values[one.id] = await _kept_picture(shop_id, uploads[0])
            except Refused as refused:
                errors[one.id] = refused.text
    return errors


async def _kept_picture(shop_id: int, upload: Upload) -> dict[str, Any]:
    body, width, height = await images.read(upload.file)
    number = await db.transaction(images.keep, shop_id, body, width, height)
    sha = await db.fetchval("SELECT left(sha256, 16) FROM catalog_media WHERE id = $1", number)
    return {"path": f"/media/{number}-{sha}", "width": width, "height": height}


class Seen(msgspec.Struct):
    seen: Annotated[int, Meta(ge=0, le=1_000_000_000)]


@post("/themes/publish", opt={"who": "staff:settings.edit"})
async def publish(request: AnyRequest) -> Response[Any]:
    form = await read_form(request, Seen)
    visit = visit_of(request)
    draft = await _draft(visit.shop.id)
    _look(request, draft.theme)
    preview = await looks.preview_cookie(draft.id, visit.cookie or "")
    fails = await rehearsal.failing(request.app, visit, preview)
    if fails:
        raise Conflict(_("Nothing was published"), fails, MEND_THEME)
    try:
        await looks.publish(staff_of(request), form.seen)
    except Refused as refused:
        raise Conflict(_("Nothing was published"), refused.text) from None
    _forget(request)
    return _without_preview(flash(see_other("/admin/themes"), _("Published: buyers see it from now on.")), request)


@post("/themes/discard", opt={"who": "staff:settings.edit"})
async def discard(request: AnyRequest) -> Response[Any]:
    await looks.discard(staff_of(request))
    return _without_preview(flash(see_other("/admin/themes"), _("The draft is thrown away.")), request)


@post("/themes/looks/{look_id:int}/use", opt={"who": "staff:settings.edit"})
async def go_back(request: AnyRequest, look_id: FromPath[int]) -> Response[Any]:
    try:
        await looks.go_back(staff_of(request), look_id)
    except Refused:
        raise NotFound() from None
    _forget(request)
    return flash(see_other("/admin/themes"), _("Buyers see that earlier look again."))


def _forget(request: AnyRequest) -> None:
    """What other processes keep of the old look is gone within seconds."""
    shops.forget()
    request.app.state.pages.clear()


# -- the preview ------------------------------------------------------------------------


class Framed(msgspec.Struct):
    size: Line = "phone"
    beside: bool = False


class Ended(msgspec.Struct):
    next: Line = "/admin/themes/draft"


@post("/themes/preview", opt={"who": "staff:settings.edit"})
async def begin_preview(request: AnyRequest) -> Response[Any]:
    return await _begin_preview(request, await _draft(visit_of(request).shop.id))


async def _begin_preview(request: AnyRequest, draft: looks.Look) -> Response[Any]:
    visit = visit_of(request)
    response = see_other("/admin/themes/preview")
    value = await looks.preview_cookie(draft.id, visit.cookie or "")
    life = int(looks.PREVIEW.total_seconds())
    response.cookies.append(cookies.make(PREVIEW_COOKIE, value, secure=visit.secure, max_age=life))
    return response


@get("/themes/preview", opt={"who": "staff:settings.edit"})
async def preview(request: AnyRequest) -> Response[Any]:
    visit = visit_of(request)
    draft = await _draft(visit.shop.id)
    if not visit.preview:
        return see_other("/admin/themes/draft")
    given = read_query(request, Framed)
    size = given.size if given.size in SIZES else "phone"
    visit.frames = True
    context = {"draft": draft, "size": size, "sizes": SIZES, "beside": given.beside, "live": f"/?{looks.LIVE}"}
    return page(request, "site/preview.html", context)


@post("/themes/preview/end", opt={"who": "staff:settings.edit"})
async def end_preview(request: AnyRequest) -> Response[Any]:
    form = await read_form(request, Ended)
    return _without_preview(see_other(safe_next(form.next, "/admin/themes/draft")), request)


def _without_preview(response: Response[Any], request: AnyRequest) -> Response[Any]:
    response.cookies.append(cookies.make(PREVIEW_COOKIE, "", secure=visit_of(request).secure, max_age=0))
    return response


# -- the merchant's own pages -----------------------------------------------------------


class Written(msgspec.Struct):
    act: Literal["save", "preview"]
    slug: Annotated[str, Meta(pattern="^[a-z0-9][a-z0-9-]{0,59}$", extra={"strip": True})]
    texts: dict[str, str]
    in_footer: bool = False
    place: Annotated[int, Meta(ge=0, le=1000)] = 0
    seen: Annotated[int, Meta(ge=0, le=1_000_000_000)] = 0


@get("/pages", opt={"who": "staff:settings.read"})
async def page_list(request: AnyRequest) -> Response[str]:
    rows = await notices.listed(visit_of(request).shop.id)
    return page(request, "site/pages.html", {"pages": rows, "may_edit": request.state.session.may("settings.edit")})


@get("/pages/new", opt={"who": "staff:settings.edit"})
async def new_page(request: AnyRequest) -> Response[str]:
    return await _page_form(request, None, {"in_footer": True})


@get("/pages/{page_id:int}", opt={"who": "staff:settings.edit"})
async def edit_page(request: AnyRequest, page_id: FromPath[int]) -> Response[str]:
    row = await _page(request, page_id)
    return await _page_form(request, row, _as_form(row))


async def _page(request: AnyRequest, page_id: int) -> Any:
    row = await notices.by_id(visit_of(request).shop.id, page_id)
    if row is None:
        raise NotFound()
    return row


def _as_form(row: Any) -> dict[str, Any]:
    form = {name: row[name] for name in ("slug", "in_footer", "place")}
    form["seen"] = row["edits"]
    for language in _languages():
        form[f"title.{language}"] = row["title"].get(language, "")
        form[f"body.{language}"] = row["body"].get(language, "")
    return form


@post("/pages", opt={"who": "staff:settings.edit", "max_body": 400_000})
async def add_page(request: AnyRequest) -> Response[Any]:
    return await _save_page(request, None)


@post("/pages/{page_id:int}", opt={"who": "staff:settings.edit", "max_body": 400_000})
async def save_page(request: AnyRequest, page_id: FromPath[int]) -> Response[Any]:
    return await _save_page(request, await _page(request, page_id))


async def _save_page(request: AnyRequest, row: Any) -> Response[Any]:
    try:
        form = await read_form(request, Written, gather={"texts": "text_"})
    except FormError as error:
        return await _page_form(request, row, _kept(error.kept), dict(error.fields))
    kept = {**msgspec.to_builtins(form), **form.texts}
    draft = _drafted(form)
    errors = _wrong(draft, visit_of(request))
    if errors or form.act == "preview":
        return await _page_form(request, row, kept, errors, draft)
    staff, page_id = staff_of(request), row["id"] if row else None

    async def write(tx: db.Tx) -> int:
        saved = await notices.save(tx, staff.shop_id, page_id, form.seen, draft)
        await staff.record(tx, "page.saved", f"page:{draft.slug}")
        return saved

    try:
        saved = await db.transaction(write)
    except Refused as refused:
        return await _page_form(request, row, kept, {refused.field or "slug": refused.text}, draft)
    looks.forget()
    _forget(request)
    return flash(see_other(f"/admin/pages/{saved}"), _("Saved."))


def _kept(given: Mapping[str, Any]) -> dict[str, Any]:
    texts = given.get("texts", {})
    return {**given, **(texts if isinstance(texts, dict) else {})}


def _drafted(form: Written) -> notices.Draft:
    def of(what: str) -> dict[str, str]:
        texts = {language: form.texts.get(f"{what}.{language}", "") for language in _languages()}
        return {language: text.replace("\r\n", "\n").strip() for language, text in texts.items() if text.strip()}

    return notices.Draft(form.slug, of("title"), of("body"), form.in_footer, form.place)


def _wrong(draft: notices.Draft, visit: Visit) -> dict[str, Any]:
    errors: dict[str, Any] = {}
    for language, text in draft.title.items():
        if len(text) > 120 or "\n" in text:
            errors[f"text_title.{language}"] = _("At most %(number)s signs, please.", number=120)
    for language, text in draft.body.items():
        if len(text) > notices.LONGEST:
            errors[f"text_body.{language}"] = _("At most %(number)s signs, please.", number=notices.LONGEST)
    first = next(iter(_languages()))
    if not draft.title:
        errors[f"text_title.{first}"] = _("Write a title in one language at least.")
    if not draft.body:
        errors[f"text_body.{first}"] = _("Write the text in one language at least.")
    for language, text in notices.try_out(draft, visit.shop, visit.origin).items():
        errors.setdefault(f"text_body.{language}", text)
    return errors


async def _page_form(
    request: AnyRequest,
    row: Any,
    form: Mapping[str, Any],
    errors: Mapping[str, Any] | None = None,
    draft: notices.Draft | None = None,
) -> Response[str]:
    visit = visit_of(request)
    draft = draft or (
        notices.Draft(row["slug"], row["title"], row["body"], row["in_footer"], row["place"]) if row else None
    )
    context = {
        "row": row,
        "form": form,
        "errors": errors or {},
        "languages": _languages(),
        "variables": notices.VARIABLES,
        "shown": notices.previews(draft, visit.shop, visit.origin) if draft and not errors else {},
    }
    return page(request, "site/page.html", context, status=422 if errors else 200)


@post("/pages/{page_id:int}/delete", opt={"who": "staff:settings.edit"})
async def delete_page(request: AnyRequest, page_id: FromPath[int]) -> Response[Any]:
    staff = staff_of(request)

    async def write(tx: db.Tx) -> str | None:
        slug = await notices.delete(tx, staff.shop_id, page_id)
        if slug is not None:
            await staff.record(tx, "page.deleted", f"page:{slug}")
        return slug

    if await db.transaction(write) is None:
        raise NotFound()
    looks.forget()
    _forget(request)
    return flash(see_other("/admin/pages"), _("Deleted."))


ROUTES = (
    theme_list, theme_report, begin, draft_page, save, publish, discard, go_back,
    begin_preview, preview, end_preview,
    page_list, new_page, edit_page, add_page, save_page, delete_page,
)  # fmt: skip
