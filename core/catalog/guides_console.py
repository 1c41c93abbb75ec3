"""Redemption guides in the console."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from litestar import Response, get, post
from litestar.params import FromPath
from msgspec import Meta

from core import db
from core.audit.person import person_of
from core.catalog import guides, images
from core.catalog.devices import DEVICES
from core.catalog.forms import Id, Version
from core.catalog.guides import GuideDraft
from core.catalog.markdown import with_pictures
from core.refused import Refused
from core.web import languages
from core.web.errors import FormError, NotFound
from core.web.flash import flash
from core.web.forms import Line, Upload, errors_of, read_form
from core.web.i18n import _
from core.web.render import page, see_other
from core.web.request import AnyRequest, shop_of

UPLOADS = 8_000_000


class GuideForm(msgspec.Struct):
    name: Annotated[str, Meta(max_length=100, extra={"strip": True})] = ""
    link: Line = ""
    version: Version = 0
    act: Line = "save"
    texts: dict[str, str] = {}


class PictureForm(msgspec.Struct):
    image: Upload


class GiveForm(msgspec.Struct):
    to: Line


class TakeForm(msgspec.Struct):
    product: Id
    sku: Id | None = None


@get("/guides", opt={"who": "staff:products.read"})
async def guide_list(request: AnyRequest) -> Response[str]:
    found = await guides.all_of(shop_of(request).id)
    return page(request, "catalog/guide_list.html", {"guides": found, "devices": DEVICES})


@get("/guides/new", opt={"who": "staff:products.edit"})
async def new_guide(request: AnyRequest) -> Response[str]:
    return await _edit(request, None, {}, {})


@get("/guides/{guide_id:int}", opt={"who": "staff:products.read"})
async def guide_page(request: AnyRequest, guide_id: FromPath[int]) -> Response[str]:
    return await _edit(request, guide_id, {}, {})


async def _edit(
    request: AnyRequest,
    guide_id: int | None,
    errors: dict[str, Any],
    kept: dict[str, Any],
    status: int = 200,
    preview: guides.Texts | None = None,
) -> Response[str]:
    context: dict[str, Any] = {
        "guide": None,
        "form": {"version": 0, "texts": {}, **kept},
        "errors": errors,
        "devices": DEVICES,
        "preview": preview,
        "with_pictures": with_pictures,
        "written": _of_device,
    }
    if guide_id is not None:
        guide = await _known(request, guide_id)
        context["guide"] = guide
        context["form"] = {**_as_form(guide), **kept}
        context["preview"] = preview or guide["texts"]
        context["used_by"] = await guides.used_by(guide_id)
        context["on_devices"] = await guides.on_devices(guide_id)
        context["pictures"] = await guides.pictures(guide_id)
    return page(request, "catalog/guide_edit.html", context, status=status)


async def _known(request: AnyRequest, guide_id: int) -> Any:
    guide = await guides.one(shop_of(request).id, guide_id)
    if guide is None:
        raise NotFound()
    return guide


def _as_form(guide: Any) -> dict[str, Any]:
    texts = {
        f"{device}_{end}": text
        for device, words in guide["texts"].items()
        for end, text in languages.shown(words).items()
    }
    return {"name": guide["name"], "link": guide["link"], "version": guide["version"], "texts": texts}


def _of_device(device: str, texts: dict[str, str]) -> dict[str, str]:
    return {end: texts.get(f"{device}_{end}", "") for end, _tag, _name in languages.offered()}


def _texts(form: GuideForm) -> guides.Texts:
    texts = {
        device: languages.read(_of_device(device, form.texts), f"text_{device}", guides.LONGEST_TEXT)
        for device in DEVICES
    }
    return {device: words for device, words in texts.items() if words}


@post("/guides/new", opt={"who": "staff:products.edit", "max_body": 300_000})
async def add_guide(request: AnyRequest) -> Response[Any]:
    return await _write(request, None)


@post("/guides/{guide_id:int}", opt={"who": "staff:products.edit", "max_body": 300_000})
async def save_guide(request: AnyRequest, guide_id: FromPath[int]) -> Response[Any]:
    await _known(request, guide_id)
    return await _write(request, guide_id)


async def _write(request: AnyRequest, guide_id: int | None) -> Response[Any]:
    try:
        form = await read_form(request, GuideForm, gather={"texts": "text_"})
    except FormError as error:
        return await _edit(request, guide_id, dict(error.fields), error.kept, 422)
    kept = msgspec.to_builtins(form)
    try:
        texts = _texts(form)
        if form.act == "preview":
            return await _edit(request, guide_id, {}, kept, preview=texts)
        draft = GuideDraft(form.name, texts, form.link)
        if guide_id is None:
            guide_id = await guides.add(person_of(request), draft)
        else:
            await guides.save(person_of(request), guide_id, form.version, draft)
    except Refused as refused:
        return await _edit(request, guide_id, errors_of(refused), kept, 422)
    return flash(see_other(f"/admin/guides/{guide_id}"), _("Guide saved."))


@post("/guides/{guide_id:int}/duplicate", opt={"who": "staff:products.edit"})
async def duplicate(request: AnyRequest, guide_id: FromPath[int]) -> Response[Any]:
    copy = await guides.duplicate(person_of(request), guide_id)
    if copy is None:
        raise NotFound()
    return flash(see_other(f"/admin/guides/{copy}"), _("This is the copy. Give it a name of its own."))


@post("/guides/{guide_id:int}/delete", opt={"who": "staff:products.edit"})
async def delete(request: AnyRequest, guide_id: FromPath[int]) -> Response[Any]:
    await _known(request, guide_id)
    try:
        await guides.delete(person_of(request), guide_id)
    except Refused as refused:
        return flash(see_other(f"/admin/guides/{guide_id}"), refused.text, "error")
    return flash(see_other("/admin/guides"), _("Guide deleted."))


@post("/guides/{guide_id:int}/pictures", opt={"who": "staff:products.edit", "max_body": UPLOADS})
async def add_picture(request: AnyRequest, guide_id: FromPath[int]) -> Response[Any]:
    shop_id = (await _known(request, guide_id))["shop_id"]
    try:
        form = await read_form(request, PictureForm)
        body, width, height = await images.read(form.image.file)

        async def write(tx: db.Tx) -> None:
            await guides.keep_picture(tx, guide_id, await images.keep(tx, shop_id, body, width, height))

        await db.transaction(write)
    except FormError as error:
        return await _edit(request, guide_id, dict(error.fields), {}, 422)
    except Refused as refused:
        return await _edit(request, guide_id, {refused.field or "image": refused.text}, {}, 422)
    return flash(
        see_other(f"/admin/guides/{guide_id}#pictures"),
        _("Picture added. Copy its line into the steps where it belongs."),
    )


@post("/guides/{guide_id:int}/give", opt={"who": "staff:products.edit"})
async def give(request: AnyRequest, guide_id: FromPath[int]) -> Response[Any]:
    await _known(request, guide_id)
    try:
        form = await read_form(request, GiveForm)
        await guides.give(person_of(request), guide_id, form.to)
    except FormError as error:
        return await _edit(request, guide_id, dict(error.fields), {}, 422)
    except Refused as refused:
        return await _edit(request, guide_id, {"to": refused.text}, {}, 422)
    return flash(see_other(f"/admin/guides/{guide_id}#used"), _("It uses this guide now, for orders of before too."))


@post("/guides/{guide_id:int}/take", opt={"who": "staff:products.edit"})
async def take(request: AnyRequest, guide_id: FromPath[int]) -> Response[Any]:
    await _known(request, guide_id)
    form = await read_form(request, TakeForm)
    await guides.take_away(person_of(request), guide_id, form.product, form.sku)
    return see_other(f"/admin/guides/{guide_id}#used")


ROUTES = (guide_list, new_guide, guide_page, add_guide, save_guide, duplicate, delete, add_picture, give, take)
