"""The counter for programs: a partner's order is placed, paid from its balance and delivered in one transaction."""

from __future__ import annotations

import asyncio
import secrets
from dataclasses import dataclass, replace
from typing import Any

from core import db
from core.audit import service as audit
from core.catalog import browse
from core.catalog.buyer_fields import check_answers
from core.checkout import free, wares
from core.checkout.channel import (
    Article,
    BalanceTooSmall,
    NotForSale,
    NothingLeft,
    Sale,
    SaleState,
    Shelf,
    Wish,
    WrongWish,
)
from core.checkout.place import (
    LOOKS_BEFORE_SOLD_OUT,
    Answers,
    Buyer,
    Chosen,
    Placed,
    SoldOut,
    bought_instead,
    certainly_short,
    check_supplied,
    lock_key,
    place_in,
)
from core.checkout.settle import settle_in
from core.crash_point import crash_point
from core.db import Tx
from core.jobs import bell, enqueue, ring
from core.ledger import customers
from core.ledger.chart import BALANCE_METHOD, GATEWAY
from core.ledger.customers import NotEnough
from core.money import Money
from core.orders import service as orders
from core.partners import accounts
from core.partners.accounts import CONTACT_KIND, Partner
from core.payments.method import Claim, ClaimState
from core.payments.purse import KIND
from core.pricing.quote import Item, Quote, QuoteLine, quote
from core.refused import Refused
from core.shops import service as shops
from core.shops.service import Shop
from core.vault import keys
from core.web.i18n import _

TELL_SALE = "checkout.tell_sale"
LABEL = {"en": "Partner's balance", "zh-CN": "合作方余额"}
MOST_PLACES = 32_767
"""Any of these numbers will do for an order that nobody ever sees unpaid."""

GOING_BACK = "EXISTS (SELECT 1 FROM payments_refund WHERE order_id = o.id AND ended_at IS NULL)"
"""Somebody asked for its money to go back, and another person has yet to agree."""

SALE = f"""
SELECT o.id, o.ref, o.total, o.refunded, o.currency, o.created_at, o.delivered_at, o.payment_state, o.fulfilment_state,
       {GOING_BACK} AS going_back, bought.reference, bought.partner_id,
       line.product_id, line.sku_id, line.product_title, line.quantity,
       line.unit_price, line.fields <> '{{}}' AS by_hand
FROM partners_order bought JOIN orders_order o ON o.id = bought.order_id JOIN orders_line line ON line.order_id = o.id
"""  # noqa: S608 - put together from constants

RECORD = """
INSERT INTO partners_order (order_id, partner_id, reference, channel, callback_url) VALUES ($1, $2, $3, $4, $5)
"""

LIST_PRICE = "UPDATE orders_line SET list_price = $2 WHERE order_id = $1 AND unit_price < $2"


class _CodesTaken(Exception):
    pass


@dataclass(frozen=True, slots=True)
class Counter:
    """The :class:`Seller` that a channel is handed with a call."""

    shop: Shop
    channel: str
    base_url: str
    ip: str | None = None

    @property
    def name(self) -> str:
        return self.shop.name

    @property
    def currency(self) -> str:
        return self.shop.currency

    @property
    def address(self) -> str:
        return shops.address(self.shop.host, self.base_url)

    async def partner(self, api_key: str) -> Partner | None:
        return await accounts.by_key(self.shop.id, api_key) if 0 < len(api_key) <= 100 else None

    async def balance(self, partner: Partner) -> Money:
        return await accounts.balance_of(partner, self.shop.currency)

    async def shelves(self) -> list[Shelf]:
        found = await browse.categories(self.shop.id)
        return [Shelf(one.id, one.slug, one.title, place) for place, one in enumerate(found)]

    async def articles(self, partner: Partner, page: int, size: int) -> tuple[list[Article], int]:
        return await wares.page(self.shop.id, partner, self.address, page, size)

    async def article(self, partner: Partner, product_id: int) -> Article | None:
        return await wares.one(self.shop.id, partner, self.address, product_id)

    async def sell(self, partner: Partner, wish: Wish) -> Sale:
        before = await self.sale_of(partner, wish.reference)
        if before is not None:
            return before
        keys.current().check_opens_codes()
        listed, answers = await self._priced(wish)
        await ring(*await self._sell(partner, wish, listed, answers))
        sale = await self.sale_of(partner, wish.reference)
        assert sale is not None  # noqa: S101 - it was sold just now
        await bell.ring(f"order:{sale.ref}", "sold")
        return sale

    async def _sell(self, partner: Partner, wish: Wish, listed: Quote, answers: Answers) -> list[int]:
        """As the checkout places an order: what lies in no vault is asked about, taken codes are looked for anew."""
        locks = [lock_key(f"partner:{partner.id}:{wish.reference}")]
        looks = LOOKS_BEFORE_SOLD_OUT
        while True:
            try:
                await check_supplied(listed)
                jobs = await db.transaction(_sell, self, partner, wish, listed, answers, locks=locks)
                crash_point("selling.sold")
                return jobs
            except SoldOut:
                raise NothingLeft from None
            except _CodesTaken:
                if any(line.claims and line.sku.source != "codes" for line in listed.lines):
                    listed = bought_instead(listed, listed.lines)
                    continue
                looks -= 1
                if not looks or await certainly_short(listed.lines):
                    raise NothingLeft from None
                await asyncio.sleep(0.02 * (LOOKS_BEFORE_SOLD_OUT - looks))

    async def _priced(self, wish: Wish) -> tuple[Quote, Answers]:
        code = await db.fetchval(
            "SELECT code FROM catalog_sku WHERE shop_id = $1 AND id = $2", self.shop.id, wish.sku_id
        )
        if code is None:
            raise NotForSale(_("This item is not on sale any more."), "sku")
        try:
            listed = await quote(self.shop.id, [Item(code, wish.quantity)])
            answers = {code: check_answers(listed.lines[0].sku.buyer_fields, dict(wish.answers), self.shop.locale)}
        except Refused as refused:
            raise (NotForSale if refused.field == "sku" else WrongWish)(refused.text, refused.field) from None
        return listed, answers

    async def sale(self, partner: Partner, sale_id: int) -> Sale | None:
        row = await db.fetchrow(SALE + "WHERE o.id = $1 AND o.shop_id = $2", sale_id, self.shop.id)
        if row is not None and row["partner_id"] == partner.id:
            return _sale(row)
        if row is not None:
            await db.transaction(_alarm, self, partner, row["ref"])
        return None

    async def sale_of(self, partner: Partner, reference: str) -> Sale | None:
        if reference != db.storable(reference):
            return None
        row = await db.fetchrow(SALE + "WHERE bought.partner_id = $1 AND bought.reference = $2", partner.id, reference)
        return _sale(row) if row else None

    async def goods(self, partner: Partner, sale: Sale) -> tuple[str, ...]:
        shown = await orders.reveal(
            sale.ref,
            partner.session_hash,
            self.ip,
            f"channel:{self.channel}",
            limit="reveal-to-program",
        )
        return tuple(code.text for code in shown[1]) if shown else ()


def _for_partner(partner: Partner, listed: Quote) -> Quote:
    lines = tuple(_line_for(partner, line) for line in listed.lines)
    return replace(listed, lines=lines, total=lines[0].total)


def _line_for(partner: Partner, line: QuoteLine) -> QuoteLine:
    # its discount is on what one piece costs; a price for many pieces counts when it is lower still
    price = min(partner.price(line.sku.price), line.unit_price, key=lambda one: one.amount)
    return replace(line, unit_price=price, total=price.times(line.quantity))


# -- the one transaction ----------------------------------------------------------------


async def _sell(tx: Tx, counter: Counter, partner: Partner, wish: Wish, listed: Quote, answers: Answers) -> list[int]:
    """Place, pay and deliver, or nothing of it. Two with one reference queue at the caller's lock."""
    if await tx.fetchval(
        "SELECT true FROM partners_order WHERE partner_id = $1 AND reference = $2", partner.id, wish.reference
    ):
        return []
    buyer = Buyer(
        contact_kind=CONTACT_KIND,
        contact=partner.contact,
        session_hash=partner.session_hash,
        session_is_new=False,
        ip="",
        agent=f"channel:{counter.channel}",
        locale=counter.shop.locale,
    )
    priced = _for_partner(partner, listed)
    chosen = Chosen(BALANCE_METHOD if priced.total.amount else "", LABEL, "", test=False)
    key = f"partner:{partner.id}:{wish.reference}"
    number = secrets.randbelow(MOST_PLACES) + 1
    placed = await place_in(tx, counter.shop, priced, answers, buyer, chosen, key, number)
    if placed is None:
        raise _CodesTaken
    await tx.execute(LIST_PRICE, placed.order_id, listed.lines[0].unit_price.amount)
    await tx.execute(RECORD, placed.order_id, partner.id, wish.reference, counter.channel, wish.callback_url)
    if priced.total.amount:
        jobs = await _pay(tx, counter.shop, partner, placed, priced.total)
    else:
        jobs = await free.settle_in(tx, placed.order_id)
    if wish.callback_url and await _is_delivered(tx, placed.order_id):
        jobs.append(await tell(tx, placed.order_id, SaleState.DELIVERED))
    return jobs


async def _pay(tx: Tx, shop: Shop, partner: Partner, placed: Placed, total: Money) -> list[int]:
    try:
        await customers.take_out(
            tx,
            shop.id,
            partner.contact,
            total,
            kind=KIND,
            source=f"balance:{placed.attempt_ref}",
            against=GATEWAY.format(BALANCE_METHOD),
            order_id=placed.order_id,
        )
    except NotEnough:
        raise BalanceTooSmall from None
    event = f"{placed.attempt_ref}:paid"
    claim = Claim(placed.attempt_ref, ClaimState.PAID, total, placed.attempt_ref, event)
    settled = await settle_in(tx, BALANCE_METHOD, claim, "callback")
    return list(settled.jobs)


async def _is_delivered(tx: Tx, order_id: int) -> bool:
    return await tx.fetchval("SELECT fulfilment_state = 'delivered' FROM orders_order WHERE id = $1", order_id)


async def tell(tx: Tx, order_id: int, state: SaleState) -> int:
    """The job that tells the partner; the same state twice is one job."""
    return await enqueue(tx, TELL_SALE, {"order": order_id}, key=f"{TELL_SALE}:{order_id}:{state}")


async def _alarm(tx: Tx, counter: Counter, partner: Partner, ref: str) -> None:
    await audit.alarm(
        tx,
        "channel.foreign_order",
        f"partner:{partner.name}",
        _("a partner asked for an order that is not its own"),
        {"channel": counter.channel, "order": ref},
        shop_id=counter.shop.id,
        ip=counter.ip,
    )


def _sale(row: Any) -> Sale:
    currency = row["currency"]
    return Sale(
        id=row["id"],
        ref=row["ref"],
        reference=row["reference"],
        state=state_of(row),
        total=Money(row["total"], currency),
        refunded=Money(row["refunded"], currency),
        product_id=row["product_id"],
        sku_id=row["sku_id"],
        title=row["product_title"],
        quantity=row["quantity"],
        unit_price=Money(row["unit_price"], currency),
        by_hand=row["by_hand"],
        created_at=row["created_at"],
        delivered_at=row["delivered_at"],
    )


def state_of(row: Any) -> SaleState:
    if row["fulfilment_state"] == "delivered":
        return SaleState.DELIVERED
    given_up = row["payment_state"] == "refunded" or row["fulfilment_state"] == "void"
    return SaleState.CANCELLED if given_up and not row["going_back"] else SaleState.WAITING
