"""Programs that buy from the shop: each has a name, a key with a secret, a discount, and a balance of its own."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import asyncpg

from core import clock, db
from core.audit import service as audit
from core.db import Tx
from core.hooks.settings import Secret
from core.ids import new_token, token_hash
from core.ledger import customers
from core.money import Money
from core.refused import Refused
from core.vault.cipher import open_secret, seal_secret
from core.web.i18n import _

CONTACT_KIND = "partner"
MOST_PARTNERS = 500
FOR_EVER = timedelta(days=36500)


@dataclass(frozen=True, slots=True)
class Partner:
    """Whoever knows ``secret`` buys in its name; ``stopped``: staff lets it buy no more.

    ``discount`` counts hundredths of a percent. ``contact`` is whose its orders and its balance are.
    ``notify_url`` is where it hears of changed prices and stock, if anywhere.
    """

    id: int
    shop_id: int
    name: str
    api_key: str
    discount: int
    notify_url: str
    session_hash: bytes = field(repr=False)
    stopped: bool
    secret: Secret = field(repr=False)

    @property
    def contact(self) -> str:
        """Under which its orders and its balance are kept."""
        return contact_of(self.name)

    def price(self, listed: Money) -> Money:
        """What it pays for something of that catalogue price; parts of a minor unit are the shop's."""
        return Money(listed.amount - listed.amount * self.discount // 10_000, listed.currency)


@dataclass(frozen=True, slots=True)
class Keys:
    """What a partner's program needs, shown once."""

    partner_id: int
    api_key: str
    secret: str = field(repr=False)


def contact_of(name: str) -> str:
    return f"{CONTACT_KIND}:{name}"


def _purpose(api_key: str) -> str:
    return f"partner:{api_key}"


# -- looking ----------------------------------------------------------------------------


async def by_key(shop_id: int, api_key: str) -> Partner | None:
    """Whose key that is, whether stopped or not."""
    row = await db.fetchrow("SELECT * FROM partners_partner WHERE shop_id = $1 AND api_key = $2", shop_id, api_key)
    return _partner(row) if row else None


async def by_id(shop_id: int, partner_id: int) -> Partner | None:
    row = await db.fetchrow("SELECT * FROM partners_partner WHERE shop_id = $1 AND id = $2", shop_id, partner_id)
    return _partner(row) if row else None


def _partner(row: Any) -> Partner:
    return Partner(
        id=row["id"],
        shop_id=row["shop_id"],
        name=row["name"],
        api_key=row["api_key"],
        discount=row["discount"],
        notify_url=row["notify_url"],
        session_hash=row["session_hash"],
        stopped=row["stopped_at"] is not None,
        secret=Secret(open_secret(_purpose(row["api_key"]), row["secret_sealed"]).decode()),
    )


ORDERS = """
SELECT bought.reference, o.ref, o.total, o.currency, o.payment_state, o.fulfilment_state, o.created_at
FROM partners_order bought JOIN orders_order o ON o.id = bought.order_id
WHERE bought.partner_id = $1 ORDER BY bought.order_id DESC LIMIT $2 OFFSET $3
"""


async def orders_of(partner: Partner, limit: int, offset: int = 0) -> list[dict[str, Any]]:
    """What it bought, the newest first."""
    rows = await db.fetch(ORDERS, partner.id, limit, offset)
    return [{**row, "money": Money(row["total"], row["currency"])} for row in rows]


async def balance_of(partner: Partner, currency: str) -> Money:
    balances = await customers.of_contact(partner.shop_id, partner.contact)
    return next((one.money for one in balances if one.money.currency == currency), Money(0, currency))


# -- changing ---------------------------------------------------------------------------


async def make(shop_id: int, name: str, discount: int, notify_url: str, staff_id: int) -> Keys:
    """A new partner. Its name is for ever: orders and balance carry it.

    :raises Refused: the name is taken, or there are too many partners.
    """
    try:
        return await db.transaction(_make, shop_id, name, discount, notify_url, staff_id)
    except asyncpg.UniqueViolationError as error:
        if error.constraint_name != "partners_partner_shop_id_name_key":
            raise
        raise Refused(_("There is a partner of that name already."), "name") from None


async def _make(tx: Tx, shop_id: int, name: str, discount: int, notify_url: str, staff_id: int) -> Keys:
    if await tx.fetchval("SELECT count(*) FROM partners_partner WHERE shop_id = $1", shop_id) >= MOST_PARTNERS:
        raise Refused(_("There are too many partners."), "name")
    api_key, secret = _new_keys()
    session_hash = token_hash(new_token())
    await tx.execute(
        "INSERT INTO people_session (id_hash, kind, created_at, seen_at, expires_at) VALUES ($1, 'buyer', $2, $2, $3)",
        session_hash,
        clock.now(),
        clock.now() + FOR_EVER,
    )
    partner_id = await tx.fetchval(
        "INSERT INTO partners_partner (shop_id, name, api_key, secret_sealed, discount, notify_url, session_hash,"
        " created_by, created_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) RETURNING id",
        shop_id,
        name,
        api_key,
        seal_secret(_purpose(api_key), secret.encode()),
        discount,
        notify_url,
        session_hash,
        staff_id,
        clock.now(),
    )
    detail = {"name": name, "discount": discount, "notify_url": notify_url}
    await _audited(tx, shop_id, partner_id, "made", staff_id, detail)
    return Keys(partner_id, api_key, secret)


def _new_keys() -> tuple[str, str]:
    return f"vp_{secrets.token_hex(12)}", new_token()


async def new_keys(shop_id: int, partner_id: int, staff_id: int) -> Keys:
    """Another key and secret; the old ones are good for nothing from now on.

    :raises Refused: there is no such partner.
    """
    return await db.transaction(_new_keys_for, shop_id, partner_id, staff_id)


async def _new_keys_for(tx: Tx, shop_id: int, partner_id: int, staff_id: int) -> Keys:
    api_key, secret = _new_keys()
    sealed = seal_secret(_purpose(api_key), secret.encode())
    await _set(tx, shop_id, partner_id, api_key=api_key, secret_sealed=sealed)
    await _audited(tx, shop_id, partner_id, "keys_renewed", staff_id)
    return Keys(partner_id, api_key, secret)


async def change(shop_id: int, partner_id: int, discount: int, notify_url: str, staff_id: int) -> None:
    """:raises Refused: there is no such partner."""

    async def write(tx: Tx) -> None:
        await _set(tx, shop_id, partner_id, discount=discount, notify_url=notify_url)
        await _audited(tx, shop_id, partner_id, "changed", staff_id, {"discount": discount, "notify_url": notify_url})

    await db.transaction(write)


async def stop(shop_id: int, partner_id: int, staff_id: int, *, stopped: bool) -> None:
    """Turn its calls away, or let it in again. Its balance and its orders stay.

    :raises Refused: there is no such partner.
    """

    async def write(tx: Tx) -> None:
        await _set(tx, shop_id, partner_id, stopped_at=clock.now() if stopped else None)
        await _audited(tx, shop_id, partner_id, "stopped" if stopped else "let_in_again", staff_id)

    await db.transaction(write)


async def _set(tx: Tx, shop_id: int, partner_id: int, **columns: Any) -> None:
    assignments = ", ".join(f"{name} = ${place}" for place, name in enumerate(columns, start=3))
    sql = f"UPDATE partners_partner SET {assignments} WHERE shop_id = $1 AND id = $2 RETURNING id"  # noqa: S608 - names from above
    if await tx.fetchval(sql, shop_id, partner_id, *columns.values()) is None:
        raise Refused(_("There is no such partner."))


async def _audited(
    tx: Tx, shop_id: int, partner_id: int, act: str, staff_id: int, detail: dict[str, Any] | None = None
) -> None:
    await audit.record(tx, f"staff:{staff_id}", f"partner.{act}", f"partner:{partner_id}", detail, shop_id=shop_id)
