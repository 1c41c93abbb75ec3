"""Fulu as a place where goods come from."""

import json
from collections.abc import Mapping
from datetime import date
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal, InvalidOperation
from typing import Any

from core.api import (
    AboveCap,
    AccountField,
    CallbackRequest,
    Delivers,
    Forged,
    Good,
    Money,
    NotSent,
    Offer,
    OfferPage,
    PluginContext,
    Purchase,
    PurchaseAnswer,
    PurchaseNews,
    PurchaseState,
    Supplier,
    SupplierUnavailable,
    _,
)

from .cards import CannotOpen, opened
from .gateway import Gateway, SaidNo
from .settings import FuluSettings
from .signature import compact, is_signed

CURRENCY = "CNY"
TITLE = {"en": "Fulu", "zh-CN": "福禄"}
TOP_UP, CARDS = "直充", "卡密"
ON_SALE, GONE = "上架", "断货"
STATES = {
    "success": PurchaseState.DONE,
    "failed": PurchaseState.FAILED,
    "processing": PurchaseState.WAITING,
    "untreated": PurchaseState.WAITING,
}
NO_SUCH_ORDER = "不存在"
HIGHEST_POWER = 15
"""Of ten, in an amount that is counted at all."""
ACCOUNT = "charge_account"
INPUTS = {
    "ChargeAccount": ACCOUNT,
    "ChargeGame": "charge_game_name",
    "ChargeRegion": "charge_game_region",
    "ChargeServer": "charge_game_srv",
    "ChargeType": "charge_type",
    "ContactQQ": "contact_qq",
    "ContactType": "contact_tel",
}
"""What a template of top-ups asks for, and its name in an order. Passwords and the buyer's address are not asked for:
goods that need them are not offered."""


class Fulu(Supplier):
    key = "fulu"
    title = TITLE
    # Fulu advises to ask every one to three seconds: every order is worked on after it was taken.
    query_after = (2, 3, 5, 10, 20, 60, 300, 900, 3600)

    def __init__(self, ctx: PluginContext[FuluSettings]) -> None:
        self._gateway = Gateway(ctx)
        self._secret = ctx.settings.app_secret.reveal()
        self._templates: dict[str, tuple[AccountField, ...] | None] = {}

    # -- what it sells ------------------------------------------------------------------

    async def catalogue(self, start: str | None = None) -> OfferPage:
        goods = await self._gateway.ask("fulu.goods.list.get")
        try:
            return OfferPage(tuple([await self._offer(one) for one in goods if one["product_type"] in (TOP_UP, CARDS)]))
        except (TypeError, KeyError, ValueError, InvalidOperation):
            raise SupplierUnavailable("Fulu's list of goods cannot be read") from None

    async def _offer(self, goods: Mapping[str, Any]) -> Offer:
        top_up = goods["product_type"] == TOP_UP
        fields = await self._fields(str(goods.get("template_id") or "")) if top_up else ()
        return Offer(
            item=str(goods["product_id"]),
            title=str(goods["product_name"]),
            cost=yuan_or_none(goods["purchase_price"]),
            delivers=Delivers.TOP_UP if top_up else Delivers.CODES,
            stock=0 if goods.get("stock_status") == GONE else None,
            listed=goods.get("sales_status") == ON_SALE and fields is not None,
            face_value=yuan_or_none(goods.get("face_value") or ""),
            fields=fields or (),
            description=str(goods.get("details") or ""),
        )

    async def _fields(self, template: str) -> tuple[AccountField, ...] | None:
        """What a top-up asks the buyer for; None when it asks for more than we can."""
        if template not in self._templates:
            self._templates[template] = account_fields(
                await self._gateway.ask("fulu.goods.template.get", template_id=template) if template else {}
            )
        return self._templates[template]

    async def balance(self) -> Money | None:
        account = await self.account()
        return yuan(account["balance"], ROUND_FLOOR)

    async def account(self) -> dict[str, Any]:
        """``name``, ``balance``, ``is_open``."""
        account = await self._gateway.ask("fulu.user.info.get")
        if not isinstance(account, dict) or "balance" not in account:
            raise SupplierUnavailable("Fulu's answer about the account cannot be read")
        return account

    # -- buying -------------------------------------------------------------------------

    async def purchase(self, purchase: Purchase) -> PurchaseAnswer:
        await self._check_price(purchase)
        facts: dict[str, Any] = {
            "product_id": int(purchase.item),
            "buy_num": purchase.quantity,
            "customer_order_no": purchase.ref,
        }
        method = "fulu.order.direct.add" if purchase.account else "fulu.order.card.add"
        order = await self._gateway.order(method, **facts, **purchase.account)
        if not isinstance(order, dict):
            raise SupplierUnavailable("Fulu's answer to an order cannot be read")
        # Whatever it says of its state here: the cards come only with a question.
        return PurchaseAnswer(PurchaseState.WAITING, str(order.get("order_id") or ""))

    async def _check_price(self, purchase: Purchase) -> None:
        """Orders carry no highest price, so it is looked at just before. Without it nothing is ordered."""
        try:
            goods = await self._gateway.ask("fulu.goods.info.get", product_id=purchase.item)
            cost = yuan(goods["purchase_price"]).times(purchase.quantity)
        except SupplierUnavailable as error:
            raise NotSent(f"the price could not be asked: {error}") from None
        except (TypeError, KeyError, ValueError, InvalidOperation):
            raise NotSent("Fulu's price cannot be read") from None
        if cost.amount > purchase.price_cap.amount:
            raise AboveCap(f"{cost.plain()} is more than {purchase.price_cap.plain()}")

    async def query(self, purchase: Purchase) -> PurchaseAnswer | None:
        raw = await self._gateway.send("fulu.order.info.get", {"customer_order_no": purchase.ref})
        await purchase.keep(raw.content)
        try:
            order = self._gateway.read(raw)
        except SaidNo as no:
            if NO_SUCH_ORDER in no.words:
                return None
            raise SupplierUnavailable(str(no)) from None
        return self._answer(order, purchase)

    def _answer(self, order: Any, purchase: Purchase) -> PurchaseAnswer:
        try:
            if str(order["customer_order_no"]) != purchase.ref:
                raise SupplierUnavailable("Fulu told of another order than it was asked about")
            state = STATES[order["order_state"]]
            cost = yuan(order["order_price"]) if order.get("order_price") else None
            goods = self._goods(order, purchase) if state is PurchaseState.DONE else ()
        except (TypeError, KeyError, ValueError, InvalidOperation):
            raise SupplierUnavailable("Fulu's answer about an order cannot be read") from None
        return PurchaseAnswer(state, str(order.get("order_id") or ""), cost, goods)

    def _goods(self, order: Mapping[str, Any], purchase: Purchase) -> tuple[Good, ...]:
        if purchase.account:
            return ()
        cards = order.get("cards") or ()
        if len(cards) != purchase.quantity:
            raise SupplierUnavailable(f"Fulu delivered {len(cards)} cards instead of {purchase.quantity}")
        try:
            return tuple(self._good(card) for card in cards)
        except CannotOpen:
            raise SupplierUnavailable("the cards do not open with this AppSecret") from None

    def _good(self, card: Mapping[str, Any]) -> Good:
        number, password = (
            opened(text, self._secret) if (text := str(card.get(name) or "")) else ""
            for name in ("card_number", "card_pwd")
        )
        if not number and not password:
            raise CannotOpen
        last_day = str(card.get("card_deadline") or "")[:10]
        return Good(number or password, password if number else "", date.fromisoformat(last_day) if last_day else None)

    # -- what it tells ------------------------------------------------------------------

    async def parse_callback(self, request: CallbackRequest) -> PurchaseNews:
        try:
            facts = json.loads(request.body)
            given = str(facts.pop("sign"))
            ref, text = facts["customer_order_no"], compact(facts)
            fits = is_signed(text, given, self._secret)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            raise Forged(_("it cannot be read")) from None
        if not fits or not isinstance(ref, str):
            raise Forged(_("the signature is missing or wrong"))
        # The signature covers no order of signs, so the outcome is asked for and not taken from here.
        return PurchaseNews(ref)


def account_fields(template: Mapping[str, Any]) -> tuple[AccountField, ...] | None:
    """The fields of a template, in its order; None when it has one we do not ask for."""
    if not template:
        return (AccountField(ACCOUNT, {"en": "Account to top up", "zh-CN": "充值账号"}),)
    inputs = sorted(template["ElementInfo"]["Inputs"], key=lambda one: int(one.get("SortId") or 0))
    if template.get("IsServiceArea") or any(one["Id"] not in INPUTS for one in inputs):
        return None
    return tuple(AccountField(INPUTS[one["Id"]], {"en": str(one["Name"]), "zh-CN": str(one["Name"])}) for one in inputs)


def yuan(amount: object, rounding: str = ROUND_CEILING) -> Money:
    """Fulu counts four places after the point; what it costs us is rounded up."""
    value = Decimal(str(amount))
    if not value.is_finite() or value.adjusted() > HIGHEST_POWER:
        raise InvalidOperation
    return Money(int((value * 100).to_integral_value(rounding)), CURRENCY)


def yuan_or_none(amount: object) -> Money | None:
    """The same, and None for what is no amount."""
    try:
        return yuan(amount)
    except (ValueError, InvalidOperation):
        return None
