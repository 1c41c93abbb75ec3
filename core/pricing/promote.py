"""The promotions of all plugins, asked about one basket; what they take off is added up here and nowhere else."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

from core import clock, db
from core.hooks import runtime
from core.money import Money
from core.people import forgotten
from core.pricing.promotion import Adjustment, Basket, BasketLine, CodeRefused, Promotion
from core.pricing.quote import Discount, Quote
from core.refused import Refused
from core.shops.service import Shop
from core.tasks import strangers_code
from core.web.i18n import _

SECONDS = 2.0
MOST_CODES = 5
LONGEST_CODE = 60
MOST_USES = 2**31 - 1
FIELD = "coupon"
"""The field of the order form that takes codes."""

ABOUT = """
SELECT (SELECT jsonb_object_agg(product.id, category.slug) FROM catalog_product product
        JOIN catalog_category category ON category.id = product.category_id WHERE product.id = ANY($2)) AS categories,
       EXISTS (
        SELECT 1 FROM orders_order WHERE shop_id = $1 AND contact = ANY($3) AND paid_at IS NOT NULL) AS bought_before
"""

USED_UP = """
SELECT asked.promotion, asked.key FROM unnest($2::text[], $3::text[], $4::int[]) AS asked (promotion, key, most)
JOIN orders_cap cap ON cap.shop_id = $1 AND cap.promotion = asked.promotion AND cap.key = asked.key
WHERE cap.used >= asked.most
"""


class CodeWrong(Refused):
    """An entered code takes nothing off: unknown, or of no use for this basket."""

    def __init__(self, text: Any) -> None:
        super().__init__(text, FIELD)


class CannotTell(Refused):
    """A code was entered and a promotion did not answer: better no order than one at another price."""

    def __init__(self) -> None:
        super().__init__(_("Discounts cannot be worked out just now. Please try again in a moment."), FIELD)


@dataclass(frozen=True, slots=True)
class _Group:
    """The adjustments of one promotion under one key: used together, or not at all."""

    discounts: tuple[Discount, ...]
    alone: bool

    @property
    def amount(self) -> int:
        return sum(discount.amount.amount for discount in self.discounts)

    @property
    def codes(self) -> set[str]:
        return {discount.code for discount in self.discounts if discount.code}


def takes_codes(shop_id: int) -> bool:
    """Whether the order form asks for codes."""
    return any(promotion.takes_codes for promotion in runtime.current().promotions_in(shop_id).values())


def read_codes(text: str) -> tuple[str, ...]:
    """The codes in what a buyer typed, as typed; several stand apart by blanks or commas.

    :raises CodeWrong: more codes than anybody has.
    """
    codes: dict[str, str] = {}
    for code in re.split(r"[\s,，、;；]+", text):
        if code:
            codes.setdefault(code.casefold(), code)
    if len(codes) > MOST_CODES or any(len(code) > LONGEST_CODE for code in codes):
        raise unknown()
    return tuple(codes.values())


def unknown() -> CodeWrong:
    """The one answer for every code that is not there."""
    return CodeWrong(_("This code is not valid. Look for a typing mistake."))


async def promote(
    shop: Shop, quote: Quote, *, contact: str = "", codes: Sequence[str] = (), locale: str = "en"
) -> Quote:
    """``quote`` with the discounts of all promotions. Without any promotion nothing is looked up.

    ``contact`` is empty while it is not known.

    :raises CodeWrong: an entered code takes nothing off; the text says what is missing.
    :raises CannotTell: a promotion failed while codes were entered.
    """
    plugins = runtime.current()
    promotions = [
        (one, plugins.owner("register_promotions", key)) for key, one in plugins.promotions_in(shop.id).items()
    ]
    if not promotions or not quote.total.amount:
        if codes:
            raise unknown()
        return quote
    basket = await _basket(shop, quote, contact, tuple(codes), locale)
    answers = await asyncio.gather(*(_ask(one, plugin, basket, quote) for one, plugin in promotions))
    for answer in answers:
        if isinstance(answer, CodeWrong) or (codes and answer is None):
            raise answer or CannotTell
    groups = _groups(discount for answer in answers if isinstance(answer, list) for discount in answer)
    _all_known(codes, groups)
    groups = await _still_there(shop.id, groups)
    return _reduced(quote, _chosen(groups), codes)


async def _basket(shop: Shop, quote: Quote, contact: str, codes: tuple[str, ...], locale: str) -> Basket:
    products = [line.sku.product_id for line in quote.lines]
    about = await db.fetchrow(ABOUT, shop.id, products, forgotten.names(shop.id, contact) if contact else [])
    categories = about["categories"] or {}
    lines = tuple(
        BasketLine(
            sku_code=line.sku.code,
            product_slug=line.sku.product_slug,
            categories=tuple(filter(None, [categories.get(str(line.sku.product_id))])),
            quantity=line.quantity,
            unit_price=line.unit_price,
            total=line.total,
        )
        for line in quote.lines
    )
    first_order = not about["bought_before"] if contact else None
    return Basket(shop.code, lines, quote.subtotal, contact, codes, locale, clock.now(), first_order)


# -- asking one promotion ---------------------------------------------------------------


async def _ask(
    promotion: Promotion, plugin: str, basket: Basket, quote: Quote
) -> list[tuple[Discount, bool]] | CodeWrong | None:
    """What it takes off, and whether that stands alone; its refusal of a code; None when it failed, which is counted.

    Nothing is raised: the other promotions are being asked at the same time.
    """
    plugins = runtime.current()
    if not plugins.permits(plugin, "contacts"):
        basket = replace(basket, contact="")
    try:
        async with strangers_code(SECONDS) as limit:
            given = await promotion.adjust(basket)
        return [(_discount(promotion.key, one, basket, quote), one.alone) for one in given]
    except CodeRefused as refused:
        return CodeWrong(refused.text)
    except (Exception, SystemExit) as error:  # noqa: BLE001  a plugin's mistake of any kind
        late = isinstance(error, TimeoutError) and limit.expired()
        said = TimeoutError(f"it took longer than {SECONDS:g} s") if late else error
        plugins.count_failure(plugin, "adjust", said)
        return None


def _discount(promotion: str, given: Adjustment, basket: Basket, quote: Quote) -> Discount:
    """:raises ValueError: it is not what an adjustment must be."""
    if given.amount.currency != basket.total.currency or given.amount.amount >= 0:
        raise ValueError(f"{given.key}: an adjustment is negative and in {basket.total.currency}")
    if not 1 <= len(given.key) <= 200 or not any(given.title.values()):
        raise ValueError(f"{given.key!r}: an adjustment has a key of at most 200 signs and a title")
    if any(type(cap.most) is not int or not 1 <= cap.most <= MOST_USES for cap in given.caps):
        raise ValueError(f"{given.key}: a cap is a whole number of uses, one or more")
    if any(not 1 <= len(cap.key) <= 200 for cap in given.caps):
        raise ValueError(f"{given.key}: a cap has a key of at most 200 signs")
    _check_kept(given)
    entered = {code.casefold(): code for code in basket.codes}
    if given.code and given.code.casefold() not in entered:
        raise ValueError(f"{given.key}: nobody entered its code")
    if given.line is not None and not 0 <= given.line < len(quote.lines):
        raise ValueError(f"{given.key}: there is no line {given.line}")
    return Discount(
        promotion=promotion,
        key=given.key,
        title=dict(given.title),
        amount=given.amount,
        sku_id=quote.lines[given.line].sku.id if given.line is not None else None,
        code=entered.get(given.code.casefold(), ""),
        caps=tuple(given.caps),
        data=dict(given.data),
    )


def _check_kept(given: Adjustment) -> None:
    """It is stored with the order: what no database keeps would break the order of everybody.

    :raises ValueError: naming what it is.
    """
    words = [given.key, *given.title.values(), *(cap.key for cap in given.caps), *given.data]
    words += [value for value in given.data.values() if not (isinstance(value, int) and abs(value) < 2**63)]
    wrong = [one for one in words if not (isinstance(one, str) and db.storable(one) == one)]
    if wrong:
        raise ValueError(f"{given.key!r}: {wrong[0]!r:.100} is no text that can be stored")


# -- adding up --------------------------------------------------------------------------


def _groups(given: Iterable[tuple[Discount, bool]]) -> list[_Group]:
    """In the order of their keys: the same answers give the same sum, whoever came first."""
    ordered = sorted(given, key=lambda one: (one[0].promotion, one[0].key))
    groups = []
    for _key, members in groupby(ordered, key=lambda one: (one[0].promotion, one[0].key)):
        together = list(members)
        groups.append(_Group(tuple(discount for discount, _alone in together), any(alone for _d, alone in together)))
    return groups


def _all_known(codes: Sequence[str], groups: list[_Group]) -> None:
    known = {code for group in groups for code in group.codes}
    if not known.issuperset(codes):
        raise unknown()


async def _still_there(shop_id: int, groups: list[_Group]) -> list[_Group]:
    """Without those whose limit is reached. The order itself takes the use, or is not placed."""
    caps = [(one.promotion, cap.key, cap.most) for group in groups for one in group.discounts for cap in one.caps]
    if not caps:
        return groups
    rows = await db.fetch(USED_UP, shop_id, *map(list, zip(*caps, strict=True)))
    used_up = {(row["promotion"], row["key"]) for row in rows}
    gone = [group for group in groups if _caps_of(group) & used_up]
    if any(group.codes for group in gone):
        raise CodeWrong(_("This code was used as often as it may be."))
    return [group for group in groups if group not in gone]


def _caps_of(group: _Group) -> set[tuple[str, str]]:
    return {(one.promotion, cap.key) for one in group.discounts for cap in one.caps}


def _chosen(groups: list[_Group]) -> list[_Group]:
    """All that go together, or the one that stands alone when it takes off more than these."""
    together = [group for group in groups if not group.alone]
    best = min((group for group in groups if group.alone), key=lambda group: group.amount, default=None)
    if best is not None and best.amount < sum(group.amount for group in together):
        return [best]
    return together


def _reduced(quote: Quote, chosen: list[_Group], codes: Sequence[str]) -> Quote:
    """Nothing goes below zero: what is taken off last is cut to what is left."""
    left = quote.subtotal.amount
    kept: list[Discount] = []
    for discount in (discount for group in chosen for discount in group.discounts):
        off = min(-discount.amount.amount, left)
        if off:
            kept.append(replace(discount, amount=Money(-off, quote.total.currency)))
            left -= off
    used = {discount.code for discount in kept}
    return replace(
        quote,
        total=Money(left, quote.total.currency),
        discounts=tuple(kept),
        not_needed=tuple(code for code in codes if code not in used),
    )
