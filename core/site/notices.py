"""The merchant's own pages under ``/i/<slug>``: terms, privacy, about. Markdown with a few variables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import asyncpg
from markupsafe import Markup

from core import clock, db
from core.catalog.markdown import to_html
from core.db import Tx
from core.refused import Refused
from core.web.i18n import Text, _, in_words, speaking
from core.web.merchant_text import BadTemplate, filled
from core.web.visit import Shop
from core.web.words import day

MOST = 50
LONGEST = 30_000

VARIABLES: dict[str, Text] = {
    "shop.name": _("The name of the shop"),
    "shop.contact": _("Where buyers get help"),
    "shop.address": _("The address of the shop"),
    "shop.currency": _("The currency of the shop"),
    "page.title": _("The title of this page"),
    "page.changed": _("The day this page was changed"),
}


@dataclass(frozen=True, slots=True)
class Shown:
    """A page as others link to it."""

    slug: str
    title: Mapping[str, str]
    in_footer: bool
    changed: datetime


@dataclass(frozen=True, slots=True)
class Draft:
    slug: str
    title: Mapping[str, str]
    body: Mapping[str, str]
    in_footer: bool
    place: int


async def shown(shop_id: int) -> tuple[Shown, ...]:
    rows = await db.fetch(
        "SELECT slug, title, in_footer, updated_at AS changed FROM site_page"
        " WHERE shop_id = $1 ORDER BY place, id LIMIT $2",
        shop_id,
        MOST,
    )
    return tuple(Shown(**row) for row in rows)


async def listed(shop_id: int) -> list[Any]:
    return await db.fetch("SELECT * FROM site_page WHERE shop_id = $1 ORDER BY place, id LIMIT $2", shop_id, MOST)


async def by_id(shop_id: int, page_id: int) -> Any:
    return await db.fetchrow("SELECT * FROM site_page WHERE shop_id = $1 AND id = $2", shop_id, page_id)


async def by_slug(shop_id: int, slug: str) -> Any:
    return await db.fetchrow("SELECT * FROM site_page WHERE shop_id = $1 AND slug = $2", shop_id, slug)


async def save(tx: Tx, shop_id: int, page_id: int | None, seen: int, draft: Draft) -> int:
    """:raises Refused: the address is taken, there are too many, or somebody else has changed it."""
    if page_id is None and await tx.fetchval("SELECT count(*) >= $2 FROM site_page WHERE shop_id = $1", shop_id, MOST):
        raise Refused(_("A shop has at most %(number)s pages of its own.", number=MOST))
    values = (draft.slug, dict(draft.title), dict(draft.body), draft.in_footer, draft.place)
    try:
        if page_id is None:
            return await tx.fetchval(
                "INSERT INTO site_page (shop_id, slug, title, body, in_footer, place) VALUES ($1, $2, $3, $4, $5, $6)"
                " RETURNING id",
                shop_id,
                *values,
            )
        saved = await tx.fetchval(
            "UPDATE site_page SET slug = $4, title = $5, body = $6, in_footer = $7, place = $8, edits = edits + 1,"
            " updated_at = now() WHERE shop_id = $1 AND id = $2 AND edits = $3 RETURNING id",
            shop_id,
            page_id,
            seen,
            *values,
        )
    except asyncpg.UniqueViolationError:
        raise Refused(_("Another page has this address."), "slug") from None
    if saved is None:
        raise Refused(_("Somebody else has changed the page since you opened it. Look at it again."))
    return saved


async def delete(tx: Tx, shop_id: int, page_id: int) -> str | None:
    return await tx.fetchval("DELETE FROM site_page WHERE shop_id = $1 AND id = $2 RETURNING slug", shop_id, page_id)


def drawn(body: Mapping[str, str], context: Mapping[str, Any]) -> Markup:
    """The text of this language with everything filled in.

    :raises BadTemplate: with the reason, for the merchant.
    """
    return to_html(filled(in_words(body), context))


def context(shop: Shop, origin: str, title: str, changed: str) -> dict[str, Any]:
    return {
        "shop": {
            "name": shop.name,
            "contact": shop.settings.support_contact,
            "address": origin,
            "currency": shop.currency,
        },
        "page": {"title": title, "changed": changed},
    }


def previews(draft: Draft, shop: Shop, origin: str) -> dict[str, Markup]:
    """The page as it would look, by language."""
    shown = {}
    for language, text in draft.body.items():
        with speaking(language):
            given = context(shop, origin, in_words(draft.title), day(clock.now()))
        shown[language] = to_html(filled(text, given))
    return shown


def try_out(draft: Draft, shop: Shop, origin: str) -> dict[str, str]:
    """What is wrong with the texts, by language."""
    wrong = {}
    for language, text in draft.body.items():
        with speaking(language):
            given = context(shop, origin, in_words(draft.title), "")
        try:
            filled(text, given)
        except BadTemplate as error:
            wrong[language] = str(error)
    return wrong
