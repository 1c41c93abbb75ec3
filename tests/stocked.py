"""A shop with goods in it, made through the shop's own services."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

from core import db
from core.audit.person import Person
from core.catalog import editing
from core.catalog.editing import ProductDraft, SkuDraft
from core.checkout.place import Buyer, Chosen, Placed, place
from core.ids import new_token, token_hash
from core.ledger import customers
from core.money import Money
from core.partners import accounts
from core.partners.accounts import Partner
from core.payments.method import Claim, ClaimState
from core.pricing.quote import Item, quote
from core.shops import service as shops
from core.vault import cipher

_numbers = itertools.count(1)


@dataclass(frozen=True)
class Sku:
    id: int
    code: str
    codes: list[str]
    shop_id: int = 1


async def staff_member() -> int:
    found = await db.fetchval("SELECT min(id) FROM people_staff")
    if found is not None:
        return int(found)
    return int(
        await db.fetchval("INSERT INTO people_staff (shop_id, email, role) VALUES (1, 'a@b.cd', 'owner') RETURNING id")
    )


async def sku(
    codes: int, price: int = 1990, most: int = 100, most_per_buyer: int | None = None, shop_id: int = 1
) -> Sku:
    number = next(_numbers)
    editor = Person(shop_id, await staff_member())
    product = ProductDraft(f"p{number}", {"en": f"Product {number}"}, {}, {}, {}, [], None, "listed", 0)
    product_id = await editing.add_product(editor, product)
    draft = SkuDraft(f"SKU-{number}", {"en": "One"}, price, "CNY", None, "none", 1, most, most_per_buyer, 2, True, 0)
    sku_id = await editing.add_sku(editor, product_id, draft)
    made = [f"CODE-{number}-{new_token()}" for _ in range(codes)]
    await stock_up(sku_id, made, shop_id)
    return Sku(sku_id, draft.code, made, shop_id)


async def stock_up(sku_id: int, codes: list[str], shop_id: int = 1) -> None:
    await db.transaction(_stock_up, sku_id, codes, shop_id)


async def _stock_up(tx: db.Tx, sku_id: int, codes: list[str], shop_id: int) -> None:
    batch_id = await tx.fetchval(
        "INSERT INTO vault_batch (shop_id, sku_id, name, state, wrapped_key, key_version)"
        " VALUES ($1, $2, 'stocked', 'ready', '', 0) RETURNING id",
        shop_id,
        sku_id,
    )
    wrapped, version = cipher.new_batch_key(shop_id, sku_id, batch_id)
    await tx.execute(
        "UPDATE vault_batch SET wrapped_key = $2, key_version = $3 WHERE id = $1", batch_id, wrapped, version
    )
    batch = cipher.open_batch(wrapped, version, shop_id, sku_id, batch_id)
    ids = [
        row[0] for row in await tx.fetch("SELECT nextval('vault_code_id_seq') FROM generate_series(1, $1)", len(codes))
    ]
    blobs, prints = batch.seal_many(ids, codes), cipher.fingerprints(shop_id, codes)
    await tx.copy(
        "vault_code",
        ["id", "shop_id", "sku_id", "batch_id", "slot", "blob", "fingerprint", "mask"],
        [
            (code_id, shop_id, sku_id, batch_id, number * 7919, blob, fingerprint, cipher.mask(code))
            for number, (code_id, blob, fingerprint, code) in enumerate(zip(ids, blobs, prints, codes, strict=True))
        ],
    )


def buyer(contact: str | None = None, session: str | None = None, ip: str = "127.0.0.1") -> Buyer:
    return Buyer(
        "email",
        contact or f"b{next(_numbers)}@example.com",
        token_hash(session or new_token()),
        True,
        ip,
        "test",
        "zh-CN",
    )


def chosen(method: str = "epay", test: bool = False) -> Chosen:
    return Chosen(method, {"en": method}, "", test)


async def order(
    what: Sku, quantity: int = 1, who: Buyer | None = None, key: str | None = None, test: bool = False
) -> Placed:
    shop = await shops.main_shop()
    priced = await quote(shop.id, [Item(what.code, quantity)])
    return await place(shop, priced, {}, who or buyer(), chosen(test=test), key or new_token())


def paid(placed: Placed, amount: int = 1990, currency: str = "CNY", event: str | None = None) -> Claim:
    event = event or f"{placed.attempt_ref}:paid"
    return Claim(placed.attempt_ref, ClaimState.PAID, Money(amount, currency), f"G-{placed.attempt_ref}", event)


async def states(placed: Placed) -> tuple[str, str]:
    row = await db.fetchrow("SELECT payment_state, fulfilment_state FROM orders_order WHERE id = $1", placed.order_id)
    assert row is not None
    return row["payment_state"], row["fulfilment_state"]


async def codes_by_state(what: Sku) -> dict[str, int]:
    rows = await db.fetch("SELECT state, count(*) AS n FROM vault_code WHERE sku_id = $1 GROUP BY state", what.id)
    return {row["state"]: row["n"] for row in rows}


async def partner(name: str, money: int = 100_000, discount: int = 0) -> Partner:
    """A partner who has paid in ``money``; ``discount`` is in hundredths of a percent."""
    staff = await staff_member()
    keys = await accounts.make(1, name, discount, "", staff)
    made = await accounts.by_key(1, keys.api_key)
    assert made is not None and made.secret.reveal() == keys.secret
    if money:
        await customers.change_once(
            1,
            made.contact,
            Money(money, "CNY"),
            about=made.contact,
            cash=True,
            staff_id=staff,
            reason="paid",
            key=f"first-{name}",
            ip=None,
        )
    return made
