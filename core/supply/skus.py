"""SKUs that are not sold from the vault: which offers they are linked to, and how price and stock follow these.

``follow`` is the one place that writes what the shop window shows of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from core import db
from core.audit import service as audit
from core.audit.person import Person
from core.catalog.service import changed
from core.db import Tx
from core.money import Money
from core.refused import Refused
from core.review import service as review
from core.supply import accounts, price_rule
from core.supply.price_rule import PriceRule
from core.web.i18n import _

FOLLOWS_NOTHING = PriceRule()
MOST_LINKS = 10
COUNTED_UP_TO = 1_000_000

ROWS = """
SELECT sku.id, sku.shop_id, sku.code, sku.price, sku.currency, sku.source, sku.own_first, sku.available,
       sku.account_fields, supply.*,
    (SELECT min(tier.price) FROM catalog_price_tier tier WHERE tier.sku_id = sku.id) AS for_many,
    (SELECT json_agg(json_build_object(
        'id', offer.id, 'supplier', offer.supplier, 'item', offer.item, 'title', offer.title, 'cost', offer.cost,
        'currency', offer.currency, 'stock', offer.stock, 'listed', offer.listed AND NOT offer.gone,
        'delivers', offer.delivers, 'fields', offer.fields, 'least', offer.least, 'most', offer.most,
        'seen_at', offer.seen_at, 'position', link.position, 'rates', supplier.rates)
        ORDER BY link.position, offer.id)
     FROM supply_link link JOIN supply_offer offer ON offer.id = link.offer_id
     JOIN supply_supplier supplier ON supplier.key = offer.supplier WHERE link.sku_id = sku.id) AS offers
FROM catalog_sku sku JOIN supply_sku supply ON supply.sku_id = sku.id
"""
OF_SKUS = f"{ROWS} WHERE sku.id = ANY($1) ORDER BY sku.id"
OF_SHOP = ROWS.replace("JOIN supply_sku", "LEFT JOIN supply_sku") + "WHERE sku.id = $1 AND sku.shop_id = $2"

WRITE = """
WITH sku AS (
    UPDATE catalog_sku SET available = $2, account_fields = $3, price = $4,
        version = version + CASE WHEN price <> $4 THEN 1 ELSE 0 END
    WHERE id = $1 AND (available IS DISTINCT FROM $2 OR account_fields <> $3::jsonb OR price <> $4)
)
UPDATE supply_sku SET cost = $5, accepted_cost = $6, paused = $7, sells_below = $8 WHERE sku_id = $1
"""


@dataclass(frozen=True, slots=True)
class Linked:
    """An offer behind a SKU. ``cost`` is for one piece in the SKU's currency; None without an exchange rate."""

    id: int
    supplier: str
    item: str
    title: str
    price: Money
    cost: int | None
    stock: int | None
    listed: bool
    delivers: str
    fields: tuple[dict[str, Any], ...]
    least: int
    most: int | None
    position: int

    @property
    def can_be_bought(self) -> bool:
        return self.listed and self.cost is not None and (self.stock is None or self.stock >= self.least)


@dataclass(frozen=True, slots=True)
class Draft:
    """How a SKU gets its goods, as a person wants it."""

    source: str
    own_first: bool = False
    routing: str = "cheapest"
    rule: PriceRule = FOLLOWS_NOTHING
    below_margin: str = "delist"
    jump: int | None = None
    available: int | None = None
    """For goods a person makes: how many more; None is as many as are wanted."""


def rule_of(row: Any) -> PriceRule:
    return PriceRule(row["price_follows"], row["markup"], row["fixed"], row["round_to"], row["least_margin"])


def linked(row: Any) -> list[Linked]:
    """The offers of a row of ``ROWS`` in the order they are tried in."""
    found = [_linked(row, offer) for offer in row["offers"] or []]
    if row["routing"] == "cheapest":
        found.sort(key=lambda one: (one.cost is None, one.cost, one.position, one.id))
    return found


def _linked(row: Any, offer: dict[str, Any]) -> Linked:
    price = Money(offer["cost"], offer["currency"])
    return Linked(
        id=offer["id"],
        supplier=offer["supplier"],
        item=offer["item"],
        title=offer["title"],
        price=price,
        cost=price_rule.in_shop_currency(price, row["currency"], offer["rates"]),
        stock=offer["stock"],
        listed=offer["listed"],
        delivers=offer["delivers"],
        fields=tuple(offer["fields"]),
        least=offer["least"],
        most=offer["most"],
        position=offer["position"],
    )


def is_odd(row: Any) -> bool:
    """Whether its cost makes no price that could be asked for: it is not sold."""
    rule = rule_of(row)
    follows = row["source"] == "supplier" and rule.follows and not row["paused"] and row["cost"] is not None
    return follows and not price_rule.can_be_asked(rule.price(row["cost"]))


# -- following the offers ---------------------------------------------------------------


async def follow(tx: Tx, offer_ids: Sequence[int]) -> bool:
    """Offers changed: let price and stock of every SKU behind them follow. False when there is none."""
    if not offer_ids:
        return False
    rows = await tx.fetch("SELECT DISTINCT sku_id FROM supply_link WHERE offer_id = ANY($1)", list(offer_ids))
    await follow_skus(tx, [row["sku_id"] for row in rows])
    return bool(rows)


async def follow_skus(tx: Tx, sku_ids: Sequence[int]) -> None:
    """The same for these SKUs.

    They are locked first and read afterwards, so that what another transaction saw of their offers is seen here too.
    The weak lock lets orders be placed meanwhile.
    """
    ids = list(sku_ids)
    await tx.fetch("SELECT id FROM catalog_sku WHERE id = ANY($1) ORDER BY id FOR NO KEY UPDATE", ids)
    for row in await tx.fetch(OF_SKUS, ids):
        await _follow(tx, row)


async def _follow(tx: Tx, row: Any) -> None:
    if row["source"] != "supplier":
        return
    offers, rule = linked(row), rule_of(row)
    usable = [one for one in offers if one.can_be_bought]
    cost = usable[0].cost if usable else None
    accepted, paused = row["accepted_cost"], row["paused"]
    if cost is not None and not paused:
        if accepted is not None and row["jump"] and price_rule.jumped(accepted, cost, row["jump"]):
            paused = "cost_jump"
            await _ask_about_jump(tx, row, accepted, cost)
        else:
            accepted = cost
    price = rule.price(cost) if rule.follows and cost is not None and not paused else row["price"]
    odd = is_odd({**row, "cost": cost, "paused": paused})
    if odd:
        if cost != row["cost"]:
            await _alarm_odd_price(tx, row, cost)
        price = row["price"]
    lowest = min(price, row["for_many"] or price)
    below = cost is not None and not rule.is_enough(lowest, cost)
    if below and not row["sells_below"]:
        await _alarm_below(tx, row, lowest, cost)
    if row["below_margin"] == "delist":
        usable = [one for one in usable if one.cost is not None and rule.is_enough(lowest, one.cost)]
    available = 0 if paused or odd else _sum(usable)
    asked = [] if not offers else row["account_fields"]
    if offers and offers[0].listed:
        asked = accounts.buyer_fields(offers[0].fields)
    await tx.execute(WRITE, row["id"], available, asked, price, cost, accepted, paused, below)


def _sum(usable: list[Linked]) -> int | None:
    """How many one buyer could have at once: the fullest offer, for a line is bought from one of them at a time."""
    if any(one.stock is None for one in usable):
        return None
    return min(max((one.stock or 0 for one in usable), default=0), COUNTED_UP_TO)


async def _ask_about_jump(tx: Tx, row: Any, before: int, now: int) -> None:
    await review.open_item(
        tx,
        row["shop_id"],
        "cost_jump",
        f"cost_jump:{row['id']}:{before}:{now}:{await _times_asked(tx, row['id'])}",
        _("the supplier's price moved too far; the SKU is not sold until somebody looks"),
        data={
            "sku": row["code"],
            "before": before,
            "now": now,
            "currency": row["currency"],
            "href": f"/admin/supply/skus/{row['id']}",
        },
    )


async def _times_asked(tx: Tx, sku_id: int) -> int:
    """The same jump may come again after it was accepted; it is a new question then."""
    asked: int = await tx.fetchval(
        "SELECT count(*) FROM review_item WHERE kind = 'cost_jump' AND key LIKE $1", f"cost\\_jump:{sku_id}:%"
    )
    return asked


async def _alarm_below(tx: Tx, row: Any, price: int, cost: int | None) -> None:
    await audit.alarm(
        tx,
        "supply.below_margin",
        f"sku:{row['code']}",
        _("it costs more than its price allows"),
        {"price": price, "cost": cost, "currency": row["currency"], "guard": row["below_margin"]},
        shop_id=row["shop_id"],
    )


async def _alarm_odd_price(tx: Tx, row: Any, cost: int | None) -> None:
    await audit.alarm(
        tx,
        "supply.odd_price",
        f"sku:{row['code']}",
        _("the supplier's price makes none that anybody could pay: the SKU keeps its own and is not sold"),
        {"cost": cost, "currency": row["currency"]},
        shop_id=row["shop_id"],
    )


# -- what people set --------------------------------------------------------------------


async def save(editor: Person, sku_id: int, draft: Draft) -> None:
    """:raises Refused: with what is wrong."""
    await db.transaction(save_in, editor, sku_id, draft)
    await changed()


async def save_in(tx: Tx, editor: Person, sku_id: int, draft: Draft) -> None:
    """The same within the caller's transaction."""
    code = await _locked(tx, editor.shop_id, sku_id)
    if draft.source == "supplier" and not await tx.fetchval(
        "SELECT EXISTS (SELECT 1 FROM supply_link WHERE sku_id = $1)", sku_id
    ):
        raise Refused(_("Link an offer of a supplier first."), "source")
    await _write_draft(tx, sku_id, draft)
    await _follow_anew(tx, sku_id)
    await audit.record(
        tx,
        editor.actor,
        "sku.supply_saved",
        f"sku:{code}",
        {"source": draft.source, "markup": draft.rule.markup, "follows": draft.rule.follows},
        shop_id=editor.shop_id,
    )


async def _write_draft(tx: Tx, sku_id: int, draft: Draft) -> None:
    rule = draft.rule
    await tx.execute(
        "UPDATE catalog_sku SET source = $2, own_first = $3, available = $4,"
        " account_fields = CASE WHEN $2 = 'supplier' THEN account_fields ELSE '[]' END, version = version + 1"
        " WHERE id = $1",
        sku_id,
        draft.source,
        draft.own_first and draft.source == "supplier",
        draft.available if draft.source == "hand" else None,
    )
    await tx.execute(
        "INSERT INTO supply_sku (sku_id, routing, price_follows, markup, fixed, round_to, least_margin, below_margin,"
        " jump) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT (sku_id) DO UPDATE SET routing = $2,"
        " price_follows = $3, markup = $4, fixed = $5, round_to = $6, least_margin = $7, below_margin = $8, jump = $9",
        sku_id,
        draft.routing,
        rule.follows,
        rule.markup,
        rule.fixed,
        rule.round_to,
        rule.least_margin,
        draft.below_margin,
        draft.jump,
    )


async def link(tx: Tx, editor: Person, sku_id: int, offer_id: int) -> None:
    """Let a SKU be bought by this offer too, after those it has.

    :raises Refused: it cannot be; nothing is changed.
    """
    code = await _locked(tx, editor.shop_id, sku_id)
    offer = await tx.fetchrow("SELECT * FROM supply_offer WHERE id = $1", offer_id)
    if offer is None:
        raise Refused(_("There is no such offer."), "offer")
    accounts.buyer_fields(offer["fields"])
    others = await tx.fetch(
        "SELECT offer.delivers FROM supply_link link JOIN supply_offer offer ON offer.id = link.offer_id"
        " WHERE link.sku_id = $1",
        sku_id,
    )
    if len(others) >= MOST_LINKS:
        raise Refused(_("A SKU has at most %(most)d offers.", most=MOST_LINKS), "offer")
    if any(other["delivers"] != offer["delivers"] for other in others):
        raise Refused(_("Codes and top-ups cannot stand behind one SKU."), "offer")
    await tx.execute("INSERT INTO supply_sku (sku_id) VALUES ($1) ON CONFLICT DO NOTHING", sku_id)
    await tx.execute(
        "INSERT INTO supply_link (sku_id, offer_id, position) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
        sku_id,
        offer_id,
        len(others) + 1,
    )
    await _follow_anew(tx, sku_id)
    await audit.record(
        tx,
        editor.actor,
        "sku.offer_linked",
        f"sku:{code}",
        {"supplier": offer["supplier"], "item": offer["item"]},
        shop_id=editor.shop_id,
    )


async def unlink(tx: Tx, editor: Person, sku_id: int, offer_id: int) -> None:
    code = await _locked(tx, editor.shop_id, sku_id)
    gone = await tx.fetchval(
        "DELETE FROM supply_link WHERE sku_id = $1 AND offer_id = $2 RETURNING offer_id", sku_id, offer_id
    )
    if gone is None:
        return
    await _follow_anew(tx, sku_id)
    await audit.record(
        tx, editor.actor, "sku.offer_unlinked", f"sku:{code}", {"offer": offer_id}, shop_id=editor.shop_id
    )


async def reorder(tx: Tx, editor: Person, sku_id: int, positions: dict[int, int]) -> None:
    """Offers by id with their place in the order they are tried in."""
    await _locked(tx, editor.shop_id, sku_id)
    for offer_id, position in positions.items():
        await tx.execute(
            "UPDATE supply_link SET position = $3 WHERE sku_id = $1 AND offer_id = $2", sku_id, offer_id, position
        )
    await _follow_anew(tx, sku_id)


async def _follow_anew(tx: Tx, sku_id: int) -> None:
    """A person changed what stands behind the SKU: the cost that comes of it is meant, it is no jump."""
    await tx.execute("UPDATE supply_sku SET accepted_cost = NULL WHERE sku_id = $1 AND paused = ''", sku_id)
    await follow_skus(tx, [sku_id])


async def accept_cost(tx: Tx, editor: Person, sku_id: int) -> None:
    """A person looked at the new cost: the SKU is sold again, from this cost on.

    :raises Refused: it is not paused.
    """
    code = await _locked(tx, editor.shop_id, sku_id)
    done = await tx.fetchval(
        "UPDATE supply_sku SET paused = '', accepted_cost = cost WHERE sku_id = $1 AND paused <> '' RETURNING sku_id",
        sku_id,
    )
    if done is None:
        raise Refused(_("This SKU is not paused."))
    await follow_skus(tx, [sku_id])
    items = await tx.fetch(
        "SELECT id FROM review_item WHERE kind = 'cost_jump' AND state = 'open' AND key LIKE $1",
        f"cost\\_jump:{sku_id}:%",
    )
    for item in items:
        await review.resolve(tx, item["id"], editor.staff_id, "accepted")
    await audit.record(tx, editor.actor, "sku.cost_accepted", f"sku:{code}", {}, shop_id=editor.shop_id)


async def pause(tx: Tx, editor: Person, sku_id: int) -> None:
    code = await _locked(tx, editor.shop_id, sku_id)
    await tx.execute("UPDATE supply_sku SET paused = 'hand' WHERE sku_id = $1", sku_id)
    await follow_skus(tx, [sku_id])
    await audit.record(tx, editor.actor, "sku.supply_paused", f"sku:{code}", {}, shop_id=editor.shop_id)


async def _locked(tx: Tx, shop_id: int, sku_id: int) -> str:
    code: str | None = await tx.fetchval(
        "SELECT code FROM catalog_sku WHERE id = $1 AND shop_id = $2 FOR NO KEY UPDATE", sku_id, shop_id
    )
    if code is None:
        raise Refused(_("There is no such SKU in this shop."))
    return code


# -- what the counter asks --------------------------------------------------------------

# Orders that are open or being prepared will want theirs too, although nothing can be reserved at a supplier.
ENOUGH = """
SELECT bool_and(sku.available IS NULL OR sku.available >= asked.quantity + (
    SELECT coalesce(sum(line.quantity), 0) FROM orders_order o JOIN orders_line line ON line.order_id = o.id
    WHERE line.sku_id = asked.sku_id AND line.source <> 'codes'
      AND ((o.payment_state = 'unpaid' AND o.fulfilment_state = 'reserved' AND o.expires_at > now())
           OR (o.payment_state = 'paid' AND o.fulfilment_state NOT IN ('delivered', 'void')
               AND line.state IN ('reserved', 'preparing')
               AND NOT EXISTS (SELECT 1 FROM supply_purchase WHERE line_id = line.id AND state = 'done')))))
FROM jsonb_to_recordset($1) AS asked (sku_id bigint, quantity int) JOIN catalog_sku sku ON sku.id = asked.sku_id
"""


async def enough(wanted: dict[int, int]) -> bool:
    """Whether so many of these SKUs can be had beside what others have ordered; by what is known of the offers."""
    asked = [{"sku_id": sku_id, "quantity": quantity} for sku_id, quantity in wanted.items()]
    return bool(await db.fetchval(ENOUGH, asked))


async def one(shop_id: int, sku_id: int) -> Any:
    """The SKU with its supply and offers; None when it is not of this shop. Its supply may not be set yet."""
    return await db.fetchrow(OF_SHOP, sku_id, shop_id)
