"""Coupons and their codes as they are kept."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from core.api import Money, PluginDb, PluginTx, Scope

from . import codes

ENTERED = """
SELECT coupon.*, code.id AS code_id, code.matched
FROM promotions_coupon_code code JOIN promotions_coupon coupon ON coupon.id = code.coupon_id
WHERE code.shop = $1 AND code.matched = ANY($2) AND coupon.stopped_at IS NULL ORDER BY code.id
"""

LISTED = """
SELECT coupon.*, (SELECT count(*) FROM promotions_coupon_code WHERE coupon_id = coupon.id) AS codes,
       (SELECT code FROM promotions_coupon_code WHERE coupon_id = coupon.id ORDER BY id LIMIT 1) AS first_code
FROM promotions_coupon coupon WHERE coupon.shop = $1 AND ($2::bigint IS NULL OR coupon.id = $2)
ORDER BY coupon.id DESC LIMIT $3
"""

MAKE = """
INSERT INTO promotions_coupon (shop, name, kind, percent, amount, currency, most_off, least, goods, uses, uses_per_code,
                               uses_per_buyer, first_order, alone, starts_at, ends_at, made_by)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17) RETURNING id
"""

ADD = """
INSERT INTO promotions_coupon_code (coupon_id, shop, code, matched)
SELECT $1, $2, code, matched FROM unnest($3::text[], $4::text[]) AS made (code, matched)
ON CONFLICT (shop, matched) DO NOTHING RETURNING code
"""

MOST_LISTED = 500


class CodeTaken(Exception):
    """Another coupon of the shop has this code."""


@dataclass(frozen=True, slots=True)
class Draft:
    """A coupon to be made. ``percent`` counts hundredths of a percent; a limit that is None is none."""

    name: str
    kind: str
    percent: int | None
    amount: Money | None
    currency: str
    most_off: Money | None
    least: Money
    goods: tuple[str, ...]
    uses: int | None
    uses_per_code: int | None
    uses_per_buyer: int | None
    first_order: bool
    alone: bool
    starts_at: datetime | None
    ends_at: datetime | None


@dataclass(frozen=True, slots=True)
class Coupon:
    """A coupon in use: what :class:`Draft` says of it, and its codes."""

    id: int
    draft: Draft
    stopped_at: datetime | None = None
    made_by: str = ""
    made_at: datetime | None = None
    codes: int = 0
    first_code: str = ""

    @property
    def key(self) -> str:
        return f"coupon:{self.id}"

    @property
    def scope(self) -> Scope:
        return Scope(frozenset(self.draft.goods))

    def state(self, now: datetime) -> str:
        """``stopped``, ``over``, ``waiting`` for its day, or ``running``."""
        if self.stopped_at is not None:
            return "stopped"
        if self.draft.ends_at is not None and self.draft.ends_at <= now:
            return "over"
        if self.draft.starts_at is not None and self.draft.starts_at > now:
            return "waiting"
        return "running"


@dataclass(frozen=True, slots=True)
class Entered:
    """A coupon by a code that a buyer entered."""

    coupon: Coupon
    code_id: int
    matched: str


async def entered(db: PluginDb, shop: str, entered_codes: list[str]) -> list[Entered]:
    """The coupons of these codes that were not stopped; codes nobody made are missing."""
    rows = await db.fetch(ENTERED, shop, [codes.matched(code) for code in entered_codes])
    return [Entered(_coupon(row), row["code_id"], row["matched"]) for row in rows]


async def listed(db: PluginDb, shop: str) -> list[Coupon]:
    """The coupons of a shop, newest first."""
    return [_coupon(row) for row in await db.fetch(LISTED, shop, None, MOST_LISTED)]


async def one(db: PluginDb, shop: str, coupon_id: int) -> Coupon | None:
    rows = await db.fetch(LISTED, shop, coupon_id, 1)
    return _coupon(rows[0]) if rows else None


async def codes_of(db: PluginDb, coupon: Coupon, most: int) -> list[str]:
    sql = "SELECT code FROM promotions_coupon_code WHERE coupon_id = $1 ORDER BY id LIMIT $2"
    return [row["code"] for row in await db.fetch(sql, coupon.id, most)]


async def make(tx: PluginTx, shop: str, draft: Draft, made_by: str) -> int:
    return int(
        await tx.fetchval(
            MAKE,
            shop,
            draft.name,
            draft.kind,
            draft.percent,
            draft.amount.amount if draft.amount else None,
            draft.currency,
            draft.most_off.amount if draft.most_off else None,
            draft.least.amount,
            list(draft.goods),
            draft.uses,
            draft.uses_per_code,
            draft.uses_per_buyer,
            draft.first_order,
            draft.alone,
            draft.starts_at,
            draft.ends_at,
            made_by,
        )
    )


async def add_code(tx: PluginTx, shop: str, coupon_id: int, code: str) -> None:
    """:raises CodeTaken: nothing was added."""
    if not await tx.fetch(ADD, coupon_id, shop, [code], [codes.matched(code)]):
        raise CodeTaken


async def add_random(tx: PluginTx, shop: str, coupon_id: int, prefix: str, number: int) -> None:
    """Just so many new codes, whatever other codes the shop has."""
    while number:
        made = codes.new_codes(prefix, number)
        number -= len(await tx.fetch(ADD, coupon_id, shop, made, [codes.matched(code) for code in made]))


async def stop(db: PluginDb | PluginTx, shop: str, coupon_id: int, at: datetime | None) -> None:
    """``at`` None lets it run again."""
    await db.execute("UPDATE promotions_coupon SET stopped_at = $3 WHERE shop = $1 AND id = $2", shop, coupon_id, at)


def _coupon(row: Any) -> Coupon:
    currency = row["currency"]
    draft = Draft(
        name=row["name"],
        kind=row["kind"],
        percent=row["percent"],
        amount=None if row["amount"] is None else Money(row["amount"], currency),
        currency=currency,
        most_off=None if row["most_off"] is None else Money(row["most_off"], currency),
        least=Money(row["least"], currency),
        goods=tuple(row["goods"]),
        uses=row["uses"],
        uses_per_code=row["uses_per_code"],
        uses_per_buyer=row["uses_per_buyer"],
        first_order=row["first_order"],
        alone=row["alone"],
        starts_at=row["starts_at"],
        ends_at=row["ends_at"],
    )
    return Coupon(
        id=row["id"],
        draft=draft,
        stopped_at=row["stopped_at"],
        made_by=row["made_by"],
        made_at=row["made_at"],
        codes=row.get("codes", 0),
        first_code=row.get("first_code") or "",
    )
