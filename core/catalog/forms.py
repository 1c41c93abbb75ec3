"""What staff types about products, SKUs and categories: as forms, and as the drafts made of them."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from core.catalog import editing, notes
from core.catalog.buyer_fields import BuyerField
from core.catalog.editing import ProductDraft, SkuDraft
from core.catalog.tiers import MOST_TIERS
from core.money import Money
from core.refused import Refused
from core.web import languages
from core.web.amounts import read_amount_from_zero
from core.web.forms import Line, Upload
from core.web.i18n import Text, _
from core.web.visit import Shop

Id = Annotated[int, Meta(ge=1, le=2**63 - 1)]
Version = Annotated[int, Meta(ge=0, le=2**31 - 1)]
Small = Annotated[int, Meta(ge=-100_000, le=100_000)]
Count = Annotated[int, Meta(ge=1, le=1000)]
FIELD_ROWS = 4
COMMAS = re.compile("[,，、;；]")
WHOLE = re.compile("-?[0-9]{1,6}")
SKU_CODE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
PERIODS: dict[str, Text] = {
    "none": _("No period"),
    "day": _("Day"),
    "week": _("Week"),
    "month": _("Month"),
    "season": _("Season"),
    "year": _("Year"),
    "lifetime": _("For ever"),
}
KINDS: dict[str, Text] = {
    "text": _("Text"),
    "email": _("E-mail"),
    "phone": _("Phone number"),
    "number": _("Number"),
    "select": _("Choice"),
}
TEXTS = {
    "title": "title",
    "summary": "summary",
    "description": "description",
    "note": "delivery_note",
    "seo_title": "seo_title",
    "seo_description": "seo_description",
}
"""Texts of a product in every language: their names in the form, and their columns."""
GATHER = {"asked": "asked_", **{name: f"{name}_" for name in TEXTS}}
TITLE = {"title": "title_"}
LONGEST_TEXT = 20_000


class ProductForm(msgspec.Struct):
    act: Literal["save", "note"] = "save"
    title: dict[str, str] = {}
    slug: Line = ""
    summary: dict[str, str] = {}
    description: dict[str, str] = {}
    note: dict[str, str] = {}
    category: Id | None = None
    guide: Id | None = None
    state: Literal["draft", "listed", "archived"] = "draft"
    position: Small = 0
    version: Version = 0
    tags: Line = ""
    seo_title: dict[str, str] = {}
    seo_description: dict[str, str] = {}
    asked: dict[str, str] = {}


class SkuRowsForm(msgspec.Struct):
    skus: dict[str, str] = {}


class SkuForm(msgspec.Struct):
    code: Line
    price: Line
    title: dict[str, str] = {}
    face_value: Line = ""
    period: Literal["none", "day", "week", "month", "season", "year", "lifetime"] = "none"
    min_per_order: Count = 1
    max_per_order: Count = 10
    max_per_buyer: Count | None = None
    low_stock: Annotated[int, Meta(ge=0, le=1_000_000)] = 5
    min_days_left: Annotated[int, Meta(ge=0, le=3650)] = 1
    burn_hours: Annotated[int, Meta(ge=0, le=8760)] | None = None
    listed: bool = False
    position: Small = 0
    version: Version = 0


class TiersForm(msgspec.Struct):
    version: Version
    tiers: dict[str, str] = {}


class ImageForm(msgspec.Struct):
    image: Upload


class CategoryForm(msgspec.Struct):
    title: dict[str, str] = {}
    slug: Line = ""
    position: Small = 0
    visible: bool = False


# -- products ---------------------------------------------------------------------------


def title_of(typed: dict[str, str]) -> dict[str, str]:
    title = languages.read(typed, "title")
    if not title:
        raise Refused(_("Give it a name, in at least one language."), "title_zh")
    return title


def product_as_form(product: Any) -> dict[str, Any]:
    if product is None:
        return {"state": "draft", "position": 0, "version": 0, "asked": {}, **{name: {} for name in TEXTS}}
    form: dict[str, Any] = {name: product[name] for name in ("slug", "state", "position", "version")}
    form["category"], form["guide"] = product["category_id"], product["guide_id"]
    form["tags"] = ", ".join(product["tags"])
    form.update({name: languages.shown(product[column]) for name, column in TEXTS.items()})
    form["asked"] = {
        f"{row}_{name}": value
        for row, field in enumerate(product["buyer_fields"])
        for name, value in _field_as_form(field).items()
    }
    return form


def _field_as_form(field: dict[str, Any]) -> dict[str, str]:
    return {
        "key": field["key"],
        **languages.shown(field["label"]),
        "kind": field.get("kind", "text"),
        "required": "on" if field.get("required", True) else "",
        "options": "\n".join(field.get("options", [])),
        **{f"help_{end}": text for end, text in languages.shown(field.get("help", {})).items()},
    }


def is_asked(asked: dict[str, str], row: int) -> bool:
    return any(_asked(asked, f"{row}_").values())


def _asked(asked: dict[str, str], prefix: str) -> dict[str, str]:
    """What was typed into the fields of this name, by their ends."""
    return {end: asked.get(f"{prefix}{end}", "") for end, _tag, _name in languages.offered()}


def _buyer_fields(asked: dict[str, str]) -> list[BuyerField]:
    fields = []
    for row in range(FIELD_ROWS):
        label = languages.read(_asked(asked, f"{row}_"), f"asked_{row}")
        if not label:
            continue
        kind = asked.get(f"{row}_kind", "text")
        key = asked.get(f"{row}_key", "").strip() or f"q{row + 1}"
        options = [line.strip() for line in asked.get(f"{row}_options", "").splitlines() if line.strip()]
        if kind not in KINDS or not key.isidentifier() or not key.isascii():
            raise Refused(_("A question to the buyer is not complete."), "asked")
        if kind == "select" and not options:
            raise Refused(_("Write the choices of this question, one in each line."), "asked")
        required = bool(asked.get(f"{row}_required"))
        hint = languages.read(_asked(asked, f"{row}_help_"), f"asked_{row}_help")
        fields.append(BuyerField(key, label, kind, required, help=hint, options=options))  # type: ignore[arg-type]
    if len({field.key for field in fields}) < len(fields):
        raise Refused(_("Two questions to the buyer have the same key."), "asked")
    return fields


def product_draft(form: ProductForm, shop: Shop, address: str) -> ProductDraft:
    title = title_of(form.title)
    note = languages.read(form.note, "note", LONGEST_TEXT)
    for end, wrong in _wrong_notes(note, shop, address).items():
        raise Refused(wrong, f"note_{end}")
    slug = form.slug.lower() or editing.slug_from(title.get("en", ""))
    if editing.slug_from(slug) != slug:
        raise Refused(_("An address has only small letters, digits and hyphens."), "slug")
    return ProductDraft(
        slug=slug,
        title=title,
        summary=languages.read(form.summary, "summary"),
        description=languages.read(form.description, "description", LONGEST_TEXT),
        delivery_note=note,
        buyer_fields=_buyer_fields(form.asked),
        category_id=form.category,
        guide_id=form.guide,
        state=form.state,
        position=form.position,
        tags=_tags(form.tags),
        seo_title=languages.read(form.seo_title, "seo_title"),
        seo_description=languages.read(form.seo_description, "seo_description"),
    )


def _wrong_notes(note: dict[str, str], shop: Shop, address: str) -> dict[str, str]:
    """What is wrong with the delivery note, by the ends of its fields."""
    found = {end: notes.wrong(note.get(tag, ""), shop, address, tag) for end, tag, _name in languages.offered()}
    return {end: wrong for end, wrong in found.items() if wrong}


def _tags(text: str) -> list[str]:
    return list(dict.fromkeys(tag.strip() for tag in COMMAS.split(text) if tag.strip()))


# -- SKUs -------------------------------------------------------------------------------


def sku_as_form(row: dict[str, Any]) -> dict[str, Any]:
    names = (
        "code",
        "period",
        "min_per_order",
        "max_per_order",
        "max_per_buyer",
        "low_stock",
        "min_days_left",
        "burn_hours",
        "listed",
        "position",
        "version",
    )
    form = {name: row[name] for name in names}
    form["title"] = languages.shown(row["title"])
    form["price"] = row["money"].plain()
    form["face_value"] = "" if row["face_value"] is None else Money(row["face_value"], row["currency"]).plain()
    return form


def sku_draft(form: SkuForm, currency: str) -> SkuDraft:
    if form.max_per_order < form.min_per_order:
        raise Refused(_("The most per order is below the least."), "max_per_order")
    return SkuDraft(
        code=form.code,
        title=title_of(form.title),
        price=_price(form.price, currency),
        currency=currency,
        face_value=read_amount_from_zero(form.face_value, currency, "face_value").amount if form.face_value else None,
        period=form.period,
        min_per_order=form.min_per_order,
        max_per_order=form.max_per_order,
        max_per_buyer=form.max_per_buyer,
        low_stock=form.low_stock,
        listed=form.listed,
        position=form.position,
        burn_hours=form.burn_hours,
        min_days_left=form.min_days_left,
    )


def _price(text: str, currency: str) -> int:
    price = read_amount_from_zero(text, currency, "price").amount
    if price == 0:
        raise Refused(_("A price must be above zero: nobody can pay nothing."), "price")
    return price


def sku_row(id: int, typed: dict[str, str], currency: str) -> editing.SkuRow:
    version, position = typed.get(f"{id}_version", ""), typed.get(f"{id}_position", "").strip() or "0"
    if not WHOLE.fullmatch(version) or not WHOLE.fullmatch(position):
        raise Refused(_("Write a number, in digits."))
    listed = bool(typed.get(f"{id}_listed"))
    return editing.SkuRow(id, int(version), _price(typed.get(f"{id}_price", ""), currency), int(position), listed)


def tier_rows(sku: dict[str, Any], kept: dict[str, str] | None) -> list[dict[str, Any]]:
    """The rows of its form: as they were filled in, else as they are stored, with some to spare."""
    if kept is not None:
        return [{"from": kept.get(f"{row}_from"), "price": kept.get(f"{row}_price")} for row in range(_rows_of(kept))]
    rows = [{"from": least, "price": Money(price, sku["currency"]).plain()} for least, price in sku["tiers"]]
    spare = min(max(3, len(rows) + 1), MOST_TIERS)
    return rows + [{"from": "", "price": ""}] * (spare - len(rows))


def _rows_of(tiers: dict[str, str]) -> int:
    return min(len(tiers) // 2, MOST_TIERS)


def read_tiers(tiers: dict[str, str], currency: str) -> dict[int, int]:
    """From how many, and the price of one; what is wrong is refused at the row it stands in."""
    found: dict[int, int] = {}
    for row in range(_rows_of(tiers)):
        least, price = tiers.get(f"{row}_from", "").strip(), tiers.get(f"{row}_price", "").strip()
        if not least and not price:
            continue
        if not (least.isascii() and least.isdecimal() and len(least) < 5):
            raise Refused(_("Write a number, in digits."), f"{row}_from")
        if int(least) in found:
            raise Refused(_("This quantity stands here twice."), f"{row}_from")
        found[int(least)] = read_amount_from_zero(price, currency, f"{row}_price").amount
    return found


def at_its_row(refused: Refused, tiers: dict[str, str]) -> Refused:
    """A refusal that names a quantity, naming its row; any other as it is."""
    least, _line, column = (refused.field or "").partition("_")
    row = next((row for row in range(_rows_of(tiers)) if tiers.get(f"{row}_from", "").strip() == least), None)
    return refused if row is None or not column else Refused(refused.text, f"{row}_{column}")
