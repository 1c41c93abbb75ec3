"""What an entered code takes off a basket, and under which limits."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from hashlib import blake2b

from core.api import Adjustment, Basket, Cap, CodeRefused, Money, PluginContext, Promotion, _

from . import coupons
from .codes import matched
from .coupons import Coupon, Entered

TITLE = {"en": "Coupon", "zh-CN": "优惠券"}


class Coupons(Promotion):
    key = "coupon"
    title = TITLE
    takes_codes = True

    def __init__(self, ctx: PluginContext[None]) -> None:
        self.db = ctx.db

    async def adjust(self, basket: Basket) -> Sequence[Adjustment]:
        if not basket.codes:
            return ()
        typed = {matched(code): code for code in basket.codes}
        found = await coupons.entered(self.db, basket.shop, list(typed))
        if len({one.coupon.id for one in found}) < len(found):
            raise CodeRefused(_("Only one code of this kind can be used in an order."))
        return [_adjustment(one, typed[one.matched], basket) for one in found]


def _adjustment(entered: Entered, typed: str, basket: Basket) -> Adjustment:
    coupon = entered.coupon
    _check(coupon, basket)
    return Adjustment(
        key=coupon.key,
        title=title(coupon),
        amount=Money(-taken_off(coupon, basket).amount, basket.total.currency),
        code=typed,
        caps=_caps(entered, basket),
        alone=coupon.draft.alone,
        data={"coupon": coupon.id},
    )


def _check(coupon: Coupon, basket: Basket) -> None:
    """:raises CodeRefused: saying what is missing."""
    draft = coupon.draft
    _check_day(coupon, basket.at)
    if draft.currency != basket.total.currency:
        raise CodeRefused(_("This code is for prices in %(currency)s.", currency=draft.currency))
    scope = coupon.scope
    if not scope.lines(basket):
        raise CodeRefused(_("This code is not for what you have chosen."))
    if scope.total(basket).amount < draft.least.amount:
        raise CodeRefused(_("This code counts from %(sum)s on.", sum=draft.least.text(basket.locale)))
    if draft.first_order and basket.first_order is False:
        raise CodeRefused(_("This code is for a first order only."))
    if not taken_off(coupon, basket).amount:
        raise CodeRefused(_("This code takes nothing off here: the price is no higher than with it."))


def _check_day(coupon: Coupon, at: datetime) -> None:
    state = coupon.state(at)
    if state == "over":
        raise CodeRefused(_("This code has expired."))
    if state == "waiting":
        raise CodeRefused(_("This code does not count yet."))


def taken_off(coupon: Coupon, basket: Basket) -> Money:
    """What the coupon takes off, never more than its goods cost. Half a minor unit is rounded up."""
    draft, total = coupon.draft, coupon.scope.total(basket).amount
    if draft.kind == "percent":
        off = (total * (draft.percent or 0) + 5000) // 10_000
    elif draft.kind == "amount":
        off = draft.amount.amount if draft.amount else 0
    else:
        price = draft.amount.amount if draft.amount else 0
        lines = coupon.scope.lines(basket)
        off = sum(max(0, line.unit_price.amount - price) * line.quantity for line in lines)
    most = draft.most_off.amount if draft.most_off else total
    return Money(min(off, most, total), draft.currency)


def _caps(entered: Entered, basket: Basket) -> tuple[Cap, ...]:
    coupon, draft = entered.coupon, entered.coupon.draft
    buyer = blake2b(basket.contact.encode(), digest_size=16).hexdigest() if basket.contact else ""
    limits = [
        (coupon.key, draft.uses),
        (f"{coupon.key}:code:{entered.code_id}", draft.uses_per_code),
        (f"{coupon.key}:buyer:{buyer}", draft.uses_per_buyer if buyer else None),
        # no two orders at once are both the first
        (f"{coupon.key}:first:{buyer}", 1 if draft.first_order and buyer else None),
    ]
    return tuple(Cap(key, most) for key, most in limits if most is not None)


def title(coupon: Coupon) -> dict[str, str]:
    """What the buyer reads beside the amount."""
    draft = coupon.draft
    if draft.kind == "percent":
        percent = percent_text(draft.percent or 0)
        return {"en": f"{percent}% off", "zh-CN": f"优惠 {percent}%"}
    amount = draft.amount or Money(0, draft.currency)
    if draft.kind == "amount":
        return {"en": f"{amount.text('en')} off", "zh-CN": f"立减 {amount.text('zh-CN')}"}
    return {"en": f"{amount.text('en')} each", "zh-CN": f"一口价 {amount.text('zh-CN')}"}


def percent_text(hundredths: int) -> str:
    """``12.5`` for 1250."""
    return f"{hundredths / 100:.2f}".rstrip("0").rstrip(".")
