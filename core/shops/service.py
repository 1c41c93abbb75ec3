"""The shops this server runs: which one a host name means, and its settings."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import msgspec

from core import db

FRESH_SECONDS = 1.0


class ShopSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a merchant may set; kept as JSON beside the shop. Amounts in minor units."""

    reservation_minutes: int = 15
    open_orders_per_contact: int = 3
    open_orders_per_address: int = 20
    mail_codes: bool = False
    burn_hours: int = 0  # shown codes are erased after so many hours; 0 keeps them
    staff_codes_per_day: int = 20
    low_stock: int = 5  # what a new SKU begins with
    min_days_left: int = 1  # likewise
    refund_limit: int | None = None
    """What one person may give back of an order alone; None is anything."""
    confirm_minutes: int = 10
    risk_review: int = 50
    """From so many points of all risk rules on, a person decides before anything is delivered."""
    risk_refuse: int = 100
    show_stock: str = "band"  # exact | band | hidden
    support_contact: str = ""
    announcement: dict[str, str] = {}
    footer: dict[str, str] = {}
    coming_soon: bool = False
    """Visitors see that the shop opens soon; staff, and whoever holds a link to an order, see it all."""
    setup_step: int = 0
    """The step of the set-up that waits, from 2 on; 0 when it was never begun or is done."""
    checklist_hidden: bool = False
    key_kept: bool = False
    """Somebody said that a copy of the master key lies in another place."""


@dataclass(frozen=True, slots=True)
class Shop:
    id: int
    code: str
    name: str
    host: str | None
    theme: str
    currency: str
    locale: str
    timezone: str
    test_mode: bool
    revision: int
    settings: ShopSettings


_shops: tuple[float, list[Shop]] = (0.0, [])


async def all_shops() -> list[Shop]:
    """Every shop, remembered for a second: each page asks for its shop."""
    global _shops
    if time.monotonic() >= _shops[0]:
        rows = await db.fetch("SELECT * FROM shops_shop ORDER BY id")
        _shops = (time.monotonic() + FRESH_SECONDS, [_shop(row) for row in rows])
    return _shops[1]


def forget() -> None:
    """The shops were changed by this process: ask the database next time."""
    global _shops
    _shops = (0.0, [])


async def by_host(host: str) -> Shop:
    """The shop of that host name; the main shop answers for every name that no other shop claims."""
    shops = await all_shops()
    name = host.partition(":")[0]
    return next((shop for shop in shops if shop.host and shop.host in (host, name)), shops[0])


def address(host: str | None, base_url: str) -> str:
    """Where people reach the shop of that host name: ``base_url``, with its own name if it has one."""
    if host is None:
        return base_url
    base = urlsplit(base_url)
    port = f":{base.port}" if base.port and ":" not in host else ""
    return f"{base.scheme}://{host}{port}"


async def shop_address(code: str, base_url: str) -> str:
    """Where people reach the shop with that code, such as ``order.shop``: ``base_url`` is ``ctx.base_url``."""
    shop = next((shop for shop in await all_shops() if shop.code == code), None)
    return address(shop.host if shop else None, base_url)


async def main_shop() -> Shop:
    return (await all_shops())[0]


async def by_id(shop_id: int) -> Shop:
    return next(shop for shop in await all_shops() if shop.id == shop_id)


def _shop(row: Any) -> Shop:
    return Shop(
        id=row["id"],
        code=row["code"],
        name=row["name"],
        host=row["host"],
        theme=row["theme"],
        currency=row["currency"],
        locale=row["locale"],
        timezone=row["timezone"],
        test_mode=row["test_mode"],
        revision=row["revision"],
        settings=msgspec.convert(row["settings"], ShopSettings),
    )


async def has_prices(shop_id: int) -> bool:
    """Whether anything of the merchant's own has a price, which holds the currency."""
    return await db.fetchval("SELECT EXISTS (SELECT 1 FROM catalog_sku WHERE shop_id = $1 AND NOT demo)", shop_id)


async def set_settings(tx: db.Tx, shop_id: int, **changes: Any) -> None:
    """Change these settings and leave the others as they are in this moment."""
    unknown = changes.keys() - set(ShopSettings.__struct_fields__)
    if unknown:
        raise ValueError(f"not settings of a shop: {sorted(unknown)}")
    await tx.execute(
        "UPDATE shops_shop SET settings = settings || $2, revision = revision + 1 WHERE id = $1", shop_id, changes
    )


async def change(tx: db.Tx, shop_id: int, *, settings: ShopSettings | None = None, **columns: Any) -> None:
    """Save changed columns (name, host, theme, currency, locale, timezone, test_mode) and settings."""
    allowed = {"name", "host", "theme", "currency", "locale", "timezone", "test_mode"}
    if not columns.keys() <= allowed:
        raise ValueError(f"not a column of a shop: {sorted(columns.keys() - allowed)}")
    if settings is not None:
        columns["settings"] = msgspec.to_builtins(settings)
    names = list(columns)
    assignments = ", ".join(f"{name} = ${place}" for place, name in enumerate(names, start=2))
    sql = f"UPDATE shops_shop SET {assignments}, revision = revision + 1 WHERE id = $1"  # noqa: S608 - names from the set above
    await tx.execute(sql, shop_id, *columns.values())
