"""What is done to many products at once, one by one."""

from __future__ import annotations

from decimal import ROUND_HALF_UP, Decimal, InvalidOperation
from typing import Any

from core import db
from core.audit import service as audit
from core.audit.person import Person
from core.catalog.service import forget
from core.db import Tx
from core.refused import Refused
from core.web.i18n import _

MOST_PERCENT = Decimal(1000)


async def set_state(editor: Person, product_id: int, state: str) -> None:
    """:raises Refused: it is there already, or could not be bought at all."""

    async def write(tx: Tx) -> None:
        if state == "listed" and not await tx.fetchval(
            "SELECT true FROM catalog_sku WHERE product_id = $1 AND listed LIMIT 1", product_id
        ):
            raise Refused(_("It has no SKU that is on sale."))
        done = await tx.fetchval(
            "UPDATE catalog_product SET state = $3, version = version + 1, updated_at = now()"
            " WHERE shop_id = $1 AND id = $2 AND state <> $3 RETURNING id",
            editor.shop_id,
            product_id,
            state,
        )
        await _note(tx, editor, product_id, done, {"state": state})

    await _done(write)


async def set_category(editor: Person, product_id: int, category_id: int | None) -> None:
    """:raises Refused: it is there already, or the category is gone."""

    async def write(tx: Tx) -> None:
        if category_id is not None and not await tx.fetchval(
            "SELECT true FROM catalog_category WHERE shop_id = $1 AND id = $2 FOR KEY SHARE",
            editor.shop_id,
            category_id,
        ):
            raise Refused(_("This category is gone. Choose another one."))
        done = await tx.fetchval(
            "UPDATE catalog_product SET category_id = $3, version = version + 1, updated_at = now()"
            " WHERE shop_id = $1 AND id = $2 AND category_id IS DISTINCT FROM $3 RETURNING id",
            editor.shop_id,
            product_id,
            category_id,
        )
        await _note(tx, editor, product_id, done, {"category": category_id})

    await _done(write)


def read_percent(text: str) -> Decimal:
    """``-10`` is a tenth off."""
    try:
        percent = Decimal(text.strip().removesuffix("%").removeprefix("+"))
    except InvalidOperation:
        raise Refused(_("Write a percentage such as 5 or -7.5."), "percent") from None
    if not percent.is_finite() or not -100 < percent <= MOST_PERCENT or percent == 0:
        raise Refused(_("Write a percentage above -100 and up to 1000, but not 0."), "percent")
    return percent


def priced(price: int, percent: Decimal) -> int:
    """To the smallest coin, halves up."""
    return int((price * (100 + percent) / 100).quantize(Decimal(1), ROUND_HALF_UP))


async def prices(shop_id: int, product_ids: list[int], limit: int) -> list[Any]:
    return await db.fetch(
        "SELECT sku.code, sku.price, sku.currency, product.title FROM catalog_sku sku"
        " JOIN catalog_product product ON product.id = sku.product_id"
        " WHERE product.shop_id = $1 AND product.id = ANY($2) ORDER BY product.id, sku.position, sku.id LIMIT $3",
        shop_id,
        product_ids,
        limit,
    )


async def check_lowest(shop_id: int, product_ids: list[int], percent: Decimal) -> None:
    """:raises Refused: the lowest price would be nothing; one that is nothing already stays what it is."""
    row = await db.fetchrow(
        "SELECT code, price FROM catalog_sku WHERE shop_id = $1 AND product_id = ANY($2) AND price > 0"
        " ORDER BY price, id LIMIT 1",
        shop_id,
        product_ids,
    )
    if row is not None and priced(row["price"], percent) == 0:
        raise Refused(_("The price of %(sku)s would be nothing.", sku=row["code"]), "percent")


async def change_prices(editor: Person, product_id: int, percent: Decimal) -> None:
    """All SKUs of the product, or none of them.

    :raises Refused: a price would be nothing, or no longer above the one for larger quantities.
    """

    async def write(tx: Tx) -> None:
        rows = await tx.fetch(
            "SELECT id, code, price, (SELECT max(price) FROM catalog_price_tier WHERE sku_id = sku.id) AS tier"
            " FROM catalog_sku sku WHERE shop_id = $1 AND product_id = $2 ORDER BY id FOR UPDATE OF sku",
            editor.shop_id,
            product_id,
        )
        if not rows:
            raise Refused(_("It has no SKU yet."))
        for row in rows:
            price = priced(row["price"], percent)
            if price <= 0:
                raise Refused(_("Its price would be nothing."))
            if row["tier"] is not None and price <= row["tier"]:
                raise Refused(_("Its price would not be above the one for larger quantities."))
            await tx.execute("UPDATE catalog_sku SET price = $2, version = version + 1 WHERE id = $1", row["id"], price)
            detail = {"price": price, "before": row["price"], "percent": str(percent)}
            await audit.record(tx, editor.actor, "sku.repriced", f"sku:{row['code']}", detail, shop_id=editor.shop_id)

    await _done(write)


async def _note(tx: Tx, editor: Person, product_id: int, done: Any, detail: dict[str, Any]) -> None:
    if done is None:
        raise Refused(_("Nothing to change: it is like that already."))
    await audit.record(tx, editor.actor, "product.saved", f"product:{product_id}", detail, shop_id=editor.shop_id)


async def _done(write: Any) -> None:
    await db.transaction(write)
    forget()
