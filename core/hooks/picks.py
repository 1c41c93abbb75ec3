"""What of the catalogue a setting may name, and whether what it names is there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from core import db
from core.hooks.settings import FormField, Kind, PluginSettings
from core.web.i18n import Text, _
from core.web.words import in_words

MOST = 1000

OFFERED = {
    "sku": """
        SELECT sku.code AS key, product.title FROM catalog_sku sku
        JOIN catalog_product product ON product.id = sku.product_id ORDER BY sku.code LIMIT $1""",
    "product": "SELECT slug AS key, title FROM catalog_product ORDER BY slug LIMIT $1",
    "category": "SELECT slug AS key, title FROM catalog_category ORDER BY slug LIMIT $1",
}
THERE = {
    "sku": "SELECT code AS key FROM catalog_sku WHERE code = ANY($1)",
    "product": "SELECT slug AS key FROM catalog_product WHERE slug = ANY($1)",
    "category": "SELECT slug AS key FROM catalog_category WHERE slug = ANY($1)",
}
MISSING = {
    "sku": _("There is no SKU with this code."),
    "product": _("There is no such product."),
    "category": _("There is no such category."),
}


async def offered(fields: Sequence[FormField]) -> dict[str, list[tuple[str, str]]]:
    """For each kind of thing these fields pick: what there is, with its name."""
    kinds = {one.pick for field in fields for one in (field, *field.columns) if one.pick}
    return {
        kind: [(row["key"], in_words(row["title"])) for row in await db.fetch(OFFERED[kind], MOST)] for kind in kinds
    }


async def missing(fields: Sequence[FormField], settings: PluginSettings) -> dict[str, Text | str]:
    """A message for each field that names something the catalogue does not have."""
    named = [one for field in fields for one in _named(field, getattr(settings, field.name))]
    wrong: dict[str, Text | str] = {}
    for kind in {kind for _name, kind, _key in named}:
        keys = [key for _name, of, key in named if of == kind]
        there = {row["key"] for row in await db.fetch(THERE[kind], keys)}
        wrong.update({name: MISSING[kind] for name, of, key in named if of == kind and key not in there})
    return wrong


def _named(field: FormField, value: Any) -> list[tuple[str, str, str]]:
    if value is None:
        return []
    if field.kind is Kind.ROWS:
        return [
            (f"{field.name}.{place}.{cell.name}", cell.pick, key)
            for place, row in enumerate(value)
            for cell in field.columns
            if cell.pick and (key := _of(row, cell.name))
        ]
    if field.kind is Kind.PICK:
        return [(field.name, field.pick, value)]
    return [(field.name, field.pick, key) for key in value] if field.kind is Kind.PICKS else []


def _of(row: Mapping[str, Any] | PluginSettings, name: str) -> Any:
    return row.get(name) if isinstance(row, Mapping) else getattr(row, name)
