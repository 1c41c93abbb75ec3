"""How a shop looks: a draft that only staff sees, what is published, and the last ones to go back to.

A look is a theme with its settings. A published one never changes, and the shop's row names the one that counts.
"""

from __future__ import annotations

import hashlib
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as NotBase64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from core import db
from core.audit import service as audit
from core.db import Tx
from core.ids import token_hash
from core.people import sessions, signed
from core.refused import Refused
from core.site import notices
from core.web import theme_settings
from core.web.i18n import _
from core.web.themes import Themes
from core.web.visit import Dress, Visit

KEPT = 10
FRESH_SECONDS = 1.0
PREVIEW = timedelta(minutes=30)
EDIT = "settings.edit"
LIVE = "live=1"
"""In the query of a page that is shown beside its draft: as buyers see it."""


@dataclass(frozen=True, slots=True)
class Look:
    """``edits`` counts the changes of a draft, so that nobody saves over what another has just saved."""

    id: int
    shop_id: int
    theme: str
    settings: Mapping[str, Any]
    edits: int
    staff_id: int | None
    created_at: datetime
    published_at: datetime | None


COLUMNS = "id, shop_id, theme, settings, edits, staff_id, created_at, published_at"


def _look(row: Any) -> Look | None:
    return Look(**row) if row else None


async def draft(shop_id: int) -> Look | None:
    return _look(
        await db.fetchrow(f"SELECT {COLUMNS} FROM site_look WHERE shop_id = $1 AND published_at IS NULL", shop_id)  # noqa: S608
    )


async def live(shop_id: int) -> tuple[str, Look | None]:
    """The theme of the shop, and the look that counts unless the theme is as it comes."""
    row = await db.fetchrow(
        "SELECT shop.theme AS of_shop, look.* FROM shops_shop shop"
        " LEFT JOIN site_look look ON look.id = shop.look_id AND look.theme = shop.theme WHERE shop.id = $1",
        shop_id,
    )
    facts = dict(row)
    theme = facts.pop("of_shop")
    return theme, Look(**facts) if facts["id"] is not None else None


async def published(shop_id: int) -> list[Any]:
    """The last looks, newest first, with who made them."""
    return await db.fetch(
        "SELECT look.*, staff.name AS staff_name, staff.email AS staff_email FROM site_look look"
        " LEFT JOIN people_staff staff ON staff.id = look.staff_id"
        " WHERE look.shop_id = $1 AND look.published_at IS NOT NULL ORDER BY look.id DESC",
        shop_id,
    )


# -- acts -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Staff:
    id: int
    shop_id: int
    ip: str | None = None

    async def record(self, tx: Tx, act: str, object: str, detail: dict[str, Any] | None = None) -> None:
        await audit.record(tx, f"staff:{self.id}", act, object, detail, shop_id=self.shop_id, ip=self.ip)


async def begin(staff: Staff, theme: str, settings: Mapping[str, Any]) -> None:
    """A draft with this theme, in place of the one there is."""

    async def write(tx: Tx) -> None:
        await tx.execute(
            "INSERT INTO site_look (shop_id, theme, settings, staff_id) VALUES ($1, $2, $3, $4)"
            " ON CONFLICT (shop_id) WHERE published_at IS NULL DO UPDATE"
            " SET theme = $2, settings = $3, staff_id = $4, edits = site_look.edits + 1, created_at = now()",
            staff.shop_id,
            theme,
            dict(settings),
            staff.id,
        )
        await staff.record(tx, "look.begun", f"theme:{theme}")

    await db.transaction(write)


async def save(staff: Staff, seen: int, settings: Mapping[str, Any]) -> None:
    """:raises Refused: the draft was changed or published since it was looked at."""
    saved = await db.fetchval(
        "UPDATE site_look SET settings = $3, edits = edits + 1, staff_id = $4"
        " WHERE shop_id = $1 AND published_at IS NULL AND edits = $2 RETURNING id",
        staff.shop_id,
        seen,
        dict(settings),
        staff.id,
    )
    if saved is None:
        raise Refused(_("Somebody else has changed the draft since you opened it. Look at it again."))


async def publish(staff: Staff, seen: int) -> None:
    """From now on buyers see the draft.

    :raises Refused: it was changed since it was looked at, or is gone.
    """

    async def write(tx: Tx) -> None:
        row = await tx.fetchrow(
            "UPDATE site_look SET published_at = now(), staff_id = $3"
            " WHERE shop_id = $1 AND published_at IS NULL AND edits = $2 RETURNING id, theme",
            staff.shop_id,
            seen,
            staff.id,
        )
        if row is None:
            raise Refused(_("Somebody else has changed the draft since you opened it. Look at it again."))
        await _wear(tx, staff.shop_id, row["id"], row["theme"])
        await tx.execute(
            "DELETE FROM site_look WHERE shop_id = $1 AND published_at IS NOT NULL AND id < ("
            " SELECT min(id) FROM (SELECT id FROM site_look WHERE shop_id = $1 AND published_at IS NOT NULL"
            " ORDER BY id DESC LIMIT $2) AS newest)",
            staff.shop_id,
            KEPT,
        )
        await staff.record(tx, "look.published", f"look:{row['id']}", {"theme": row["theme"]})

    await db.transaction(write)
    forget()


async def go_back(staff: Staff, look_id: int) -> None:
    """Buyers see that earlier look again; the draft stays as it is.

    :raises Refused: there is no such look in this shop.
    """

    async def write(tx: Tx) -> None:
        theme = await tx.fetchval(
            "SELECT theme FROM site_look WHERE id = $1 AND shop_id = $2 AND published_at IS NOT NULL FOR SHARE",
            look_id,
            staff.shop_id,
        )
        if theme is None:
            raise Refused(_("There is no such look any more."))
        await _wear(tx, staff.shop_id, look_id, theme)
        await staff.record(tx, "look.went_back", f"look:{look_id}", {"theme": theme})

    await db.transaction(write)
    forget()


async def discard(staff: Staff) -> None:
    async def write(tx: Tx) -> None:
        gone = await tx.fetchval(
            "DELETE FROM site_look WHERE shop_id = $1 AND published_at IS NULL RETURNING theme", staff.shop_id
        )
        if gone is not None:
            await staff.record(tx, "look.discarded", f"theme:{gone}")

    await db.transaction(write)


async def _wear(tx: Tx, shop_id: int, look_id: int, theme: str) -> None:
    await tx.execute(
        "UPDATE shops_shop SET theme = $2, look_id = $3, revision = revision + 1 WHERE id = $1", shop_id, theme, look_id
    )


# -- in each visit ----------------------------------------------------------------------

_dresses: dict[int, tuple[float, Dress]] = {}


def forget() -> None:
    """Looks or pages were changed by this process: ask the database next time."""
    _dresses.clear()


async def dress(visit: Visit, themes: Themes) -> None:
    """Say how the shop looks in this visit. While the database is away it looks as its theme comes."""
    if visit.shop.id == 0:
        return
    try:
        visit.dress = await _of_shop(visit.shop.id, themes)
        if visit.preview and visit.cookie:
            visit.dress = await _in_preview(visit, themes) or visit.dress
    except db.AWAY:
        return


async def _of_shop(shop_id: int, themes: Themes) -> Dress:
    expires, known = _dresses.get(shop_id, (0.0, None))
    if known is None or expires < time.monotonic():
        theme, look = await live(shop_id)
        known = replace(_dressed(themes, theme, look), notices=await notices.shown(shop_id))
        _dresses[shop_id] = (time.monotonic() + FRESH_SECONDS, known)
    return known


def _dressed(themes: Themes, theme: str, look: Look | None) -> Dress:
    settings = themes.look(theme).settings
    stored = theme_settings.fitting(settings, look.settings) if look else {}
    text = theme_settings.stylesheet(settings, stored)
    address = f"/look/{look.id if look else 0}-{theme}-{digest(text)}.css" if text else ""
    return Dress(theme, stored, address)


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


async def stylesheet(look_id: int, theme: str, themes: Themes) -> str | None:
    """What the settings of a look make of its theme; None when there is no such look."""
    look = None
    if look_id:
        look = _look(await db.fetchrow(f"SELECT {COLUMNS} FROM site_look WHERE id = $1 AND theme = $2", look_id, theme))  # noqa: S608
        if look is None:
            return None
    settings = themes.look(theme).settings
    return theme_settings.stylesheet(settings, theme_settings.fitting(settings, look.settings if look else {}))


# -- the preview ------------------------------------------------------------------------


def _purpose(look_id: int, cookie: str) -> str:
    return f"preview of look {look_id} for {token_hash(cookie).hex()}"


async def preview_cookie(look_id: int, session_cookie: str) -> str:
    """What this browser, as long as it is signed in as now, sees the look with for half an hour."""
    seal = await signed.issue(_purpose(look_id, session_cookie), PREVIEW)
    return f"{look_id}.{urlsafe_b64encode(seal).decode().rstrip('=')}"


async def _in_preview(visit: Visit, themes: Themes) -> Dress | None:
    look_id, _dot, seal = (visit.preview or "").partition(".")
    if not look_id.isdigit() or len(look_id) > 18 or not f"{look_id}{seal}".isascii():
        return None
    try:
        given = urlsafe_b64decode(seal + "=")
    except NotBase64:
        return None
    if not await signed.is_ours(_purpose(int(look_id), visit.cookie or ""), given) or not await _may_edit(visit):
        return None
    if LIVE in visit.query.split("&"):
        return replace(visit.dress, framed=True) if visit.dress else None
    row = await db.fetchrow(
        f"SELECT {COLUMNS} FROM site_look WHERE id = $1 AND shop_id = $2",  # noqa: S608
        int(look_id),
        visit.shop.id,
    )
    look = _look(row)
    if look is None:
        return None
    there = visit.dress.notices if visit.dress else ()
    return replace(_dressed(themes, look.theme, look), notices=there, draft=True, framed=True)


async def _may_edit(visit: Visit) -> bool:
    session = await sessions.load(visit.cookie or "")
    return session is not None and session.shop_id == visit.shop.id and session.may(EDIT)


# -- values out of the form -------------------------------------------------------------

THERE = {
    "product": "SELECT 1 FROM catalog_product WHERE shop_id = $1 AND slug = $2",
    "category": "SELECT 1 FROM catalog_category WHERE shop_id = $1 AND slug = $2",
}
PICKS = {
    "product": "SELECT slug, title FROM catalog_product WHERE shop_id = $1 ORDER BY slug LIMIT 500",
    "category": "SELECT slug, title FROM catalog_category WHERE shop_id = $1 ORDER BY slug LIMIT 500",
}


async def missing(
    shop_id: int, settings: Sequence[theme_settings.Setting], values: Mapping[str, Any]
) -> dict[str, Any]:
    """A message for each setting that names something the catalogue does not have."""
    wrong = {}
    for one in settings:
        key = values.get(one.id)
        if one.kind in THERE and key and not await db.fetchval(THERE[one.kind], shop_id, key):
            wrong[one.id] = theme_settings.WRONG[one.kind]
    return wrong


async def picks(shop_id: int, settings: Sequence[theme_settings.Setting]) -> dict[str, list[Any]]:
    kinds = {one.kind for one in settings if one.kind in PICKS}
    return {kind: await db.fetch(PICKS[kind], shop_id) for kind in kinds}
