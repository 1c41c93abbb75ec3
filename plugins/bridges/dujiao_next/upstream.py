"""The buying end: a shop that sells through this interface, as a supplier."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NoReturn

from core.api import (
    AboveCap,
    AccountField,
    Answer,
    CallbackRequest,
    Delivers,
    Forged,
    Good,
    HttpError,
    Money,
    NotSent,
    Offer,
    OfferNews,
    OfferPage,
    OutOfStock,
    PluginContext,
    Purchase,
    PurchaseAnswer,
    PurchaseNews,
    PurchaseState,
    Supplier,
    SupplierRefused,
    SupplierUnavailable,
)

from . import wire
from .settings import BridgeSettings

TITLE = {"en": "Dujiao-Next shop", "zh-CN": "独角数卡 Next 店铺"}
PAGE = 100
LOOKS_AT_ONCE = 8
"""Products that are asked for one by one; above that the whole list is read."""
BUY_SECONDS = 25.0
NOT_ACCEPTED = (
    "missing_auth_headers",
    "invalid_timestamp",
    "timestamp_expired",
    "invalid_signature",
    "invalid_api_key",
    "user_disabled",
)
NOTHING_SOLD = (
    *NOT_ACCEPTED,
    "bad_request",
    "invalid_callback_url",
    "sku_unavailable",
    "product_unavailable",
    "product_not_found",
    "insufficient_balance",
    "payment_failed",
)
DELIVERED = ("delivered", "completed")


class _No(Exception):
    """The shop answered no: its own word for why, and its text."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(f"{code}: {text}" if text else code)
        self.code = code


class Upstream(Supplier):
    key = "dujiao_next"
    title = TITLE
    query_after = (5, 10, 30, 60, 300, 900, 3600)
    # a call is believed for one minute only, so what a shop does not know by then it never sells
    absent_means_unsold = True
    accepted = Answer(b'{"ok":true,"message":"received"}', 200, "application/json")
    refused = Answer(b'{"ok":false,"message":"refused"}', 401, "application/json")

    def __init__(self, ctx: PluginContext[BridgeSettings]) -> None:
        self.settings, self.http, self.clock = ctx.settings, ctx.http, ctx.clock
        self.sync_seconds = ctx.settings.sync_seconds

    # -- asking -------------------------------------------------------------------------

    async def _ask(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        said: Mapping[str, Any] | None = None,
        purchase: Purchase | None = None,
    ) -> dict[str, Any]:
        """What the shop answers.

        :raises _No: it says no.
        :raises HttpError: no answer came.
        :raises SupplierUnavailable: the answer is none of this interface.
        """
        whole, body = f"{wire.PREFIX}{path}", wire.packed(said) if said is not None else b""
        signed = wire.headers(self._key, self._secret, method, whole, body, self.clock.now())
        url = f"{self.settings.address}{whole}"
        content = body if method == "POST" else None
        answer = await self.http.request(
            method, url, params=params, content=content, headers=signed, seconds=BUY_SECONDS
        )
        if purchase is not None:
            await purchase.keep(answer.content)
        try:
            told = wire.unpacked(answer.content)
        except ValueError:
            if answer.status in (404, 405):
                raise _No("no_such_call", f"status {answer.status}") from None
            raise SupplierUnavailable(f"status {answer.status}, and no JSON") from None
        if told.get("ok") is True and answer.status < 300:
            return told
        if told.get("ok") is not False:
            raise SupplierUnavailable(f"status {answer.status}, and nothing of this interface")
        raise _No(_text(told.get("error_code"), 60), _text(told.get("error_message"), 200))

    @property
    def _key(self) -> str:
        return self.settings.api_key or ""

    @property
    def _secret(self) -> str:
        return self.settings.api_secret.reveal() if self.settings.api_secret else ""

    async def _look(self, path: str, method: str = "GET", **params: str) -> dict[str, Any]:
        """A question whose answer changes nothing."""
        try:
            return await self._ask(method, path, params=params)
        except HttpError as error:
            raise SupplierUnavailable(str(error)) from None
        except _No as no:
            _refuse_if_locked_out(no)
            raise

    async def ping(self) -> tuple[str, Money]:
        """The name of the shop, and what is left of our money there."""
        try:
            told = await self._look("/ping", "POST")
            return _text(told.get("site_name"), 100), Money.parse(str(told["balance"]), str(told["currency"]))
        except (_No, KeyError, ValueError) as error:
            raise SupplierUnavailable(f"the answer to ping cannot be read: {type(error).__name__}") from None

    async def balance(self) -> Money:
        return (await self.ping())[1]

    # -- what it sells ------------------------------------------------------------------

    async def catalogue(self, start: str | None = None) -> OfferPage:
        number = int(start or 1)
        try:
            told = await self._look("/products", page=str(number), page_size=str(PAGE))
            names = await self._categories()
            currency = (await self.balance()).currency
            offers = tuple(one for product in told["items"] for one in _offers(product, currency, names))
            more = int(told["total"]) > number * PAGE and bool(told["items"])
        except (_No, KeyError, TypeError, ValueError, AttributeError) as error:
            raise SupplierUnavailable(_unreadable(error)) from None
        return OfferPage(offers, str(number + 1) if more else None)

    async def _categories(self) -> dict[int, str]:
        told = await self._look("/categories")
        return {one["id"]: _words(one.get("name")) for one in told["categories"]}

    async def offers(self, items: tuple[str, ...]) -> Mapping[str, Offer | None]:
        products = sorted({product for product, _sku in map(_numbers, items) if product})
        if len(products) > LOOKS_AT_ONCE:
            return await super().offers(items)
        told = [one for one in await asyncio.gather(*map(self._product, products)) if one]
        currency = "" if all(one.get("currency") for one in told) else (await self.balance()).currency
        known = {offer.item: offer for one in told for offer in _offers(one, currency)}
        return {item: known.get(item) for item in items}

    async def _product(self, number: int) -> dict[str, Any] | None:
        try:
            told = (await self._look(f"/products/{number}"))["product"]
            list(_offers(told, "XXX"))
        except _No as no:
            if no.code in ("product_not_found", "product_unavailable"):
                return None
            raise SupplierUnavailable(_unreadable(no)) from None
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise SupplierUnavailable(_unreadable(error)) from None
        found: dict[str, Any] = told
        return found

    # -- buying -------------------------------------------------------------------------

    async def purchase(self, purchase: Purchase) -> PurchaseAnswer:
        await self._check_price(purchase)
        wanted: dict[str, Any] = {
            "sku_id": _numbers(purchase.item)[1],
            "quantity": purchase.quantity,
            "downstream_order_no": purchase.ref,
            # new for each try, so that no try looks like a replay of the one before
            "trace_id": secrets.token_hex(16),
            "callback_url": purchase.callback_url,
        }
        if purchase.account:
            wanted["manual_form_data"] = dict(purchase.account)
        try:
            told = await self._ask("POST", "/orders", said=wanted, purchase=purchase)
        except NotSent:
            raise
        except HttpError as error:
            raise SupplierUnavailable(str(error)) from None
        except _No as no:
            _not_sold(no)
        return await self._after(purchase, told)

    async def _check_price(self, purchase: Purchase) -> None:
        """The interface knows no price cap, so the price is looked at first. Until then nothing is asked for."""
        try:
            offer = (await self.offers((purchase.item,)))[purchase.item]
        except SupplierUnavailable as error:
            raise NotSent(f"the price could not be looked at: {error}") from None
        if offer is None or not offer.listed:
            raise SupplierRefused("it is not sold any more")
        if offer.stock is not None and offer.stock < purchase.quantity:
            raise OutOfStock(f"{offer.stock} left")
        cost, cap = offer.cost, purchase.price_cap
        if cost is None:
            raise NotSent("the price cannot be read")
        if cost.currency != cap.currency or cost.amount * purchase.quantity > cap.amount:
            raise AboveCap(f"one piece costs {cost.plain()} {cost.currency} now")

    async def _after(self, purchase: Purchase, told: dict[str, Any]) -> PurchaseAnswer:
        """An order was taken. Its goods are asked for at once; if that goes wrong, they come later."""
        number = _number(told.get("order_id"))
        if not number:
            raise SupplierUnavailable("the order has no number")
        try:
            return await self._by_number(purchase, number)
        except (SupplierUnavailable, SupplierRefused) as error:
            return PurchaseAnswer(PurchaseState.WAITING, number, text=str(error))

    async def query(self, purchase: Purchase) -> PurchaseAnswer | None:
        if purchase.supplier_ref:
            return await self._by_number(purchase, purchase.supplier_ref)
        return await self._by_reference(purchase)

    async def _by_number(self, purchase: Purchase, number: str) -> PurchaseAnswer:
        try:
            told = await self._ask("GET", f"/orders/{number}", purchase=purchase)
        except HttpError as error:
            raise SupplierUnavailable(str(error)) from None
        except _No as no:
            _refuse_if_locked_out(no)
            raise SupplierUnavailable(f"order {number}: {no}") from None
        return _outcome(told, purchase)

    async def _by_reference(self, purchase: Purchase) -> PurchaseAnswer | None:
        """The order has no number yet. Shops like ours find it by our reference, others do not know the question."""
        try:
            told = await self._ask("GET", "/orders", params={"downstream_order_no": purchase.ref}, purchase=purchase)
        except HttpError as error:
            raise SupplierUnavailable(str(error)) from None
        except _No as no:
            if no.code == "order_not_found":
                return None
            _refuse_if_locked_out(no)
            raise SupplierRefused(f"it cannot be asked by our reference: {no}") from None
        return _outcome(told, purchase)

    # -- its calls ----------------------------------------------------------------------

    async def parse_callback(self, request: CallbackRequest) -> PurchaseNews | OfferNews | None:
        try:
            if request.method != "POST" or wire.key_of(request.headers, self.clock.now()) != self._key:
                raise Forged("the key is not ours")
            wire.verify(self._secret, "POST", (wire.CALLBACK,), request.headers, request.body)
            told = wire.unpacked(request.body)
        except wire.Unsigned as wrong:
            raise Forged(wrong.code) from None
        except ValueError:
            raise Forged("it cannot be read") from None
        if told.get("event") == "catalog.changed":
            return OfferNews(_changed(told.get("skus")))
        ref = told.get("downstream_order_no")
        if not isinstance(ref, str) or not 0 < len(ref) <= 32:
            return None
        answer = _told(told)
        return PurchaseNews(ref, await self._with_cost(answer) if answer else None)

    async def _with_cost(self, answer: PurchaseAnswer) -> PurchaseAnswer:
        """A call does not say what the order came to. Goods do not wait for that: core asks again."""
        try:
            order = await self._look(f"/orders/{answer.supplier_ref}")
            return replace(answer, cost=Money.parse(str(order["amount"]), str(order["currency"])))
        except (SupplierUnavailable, SupplierRefused, _No, KeyError, ValueError):
            return answer


# -- reading ----------------------------------------------------------------------------


def _told(told: dict[str, Any]) -> PurchaseAnswer | None:
    """What a call says by itself. None: the shop is asked."""
    fulfillment = told.get("fulfillment")
    if told.get("status") not in DELIVERED or not isinstance(fulfillment, dict) or fulfillment.get("type") != "auto":
        return None
    goods, number = _goods(fulfillment), _number(told.get("order_id"))
    return PurchaseAnswer(PurchaseState.DONE, number, goods=goods) if goods and number else None


def _number(given: Any) -> str:
    """The number of an order; empty when it has none."""
    return str(given) if isinstance(given, int) and not isinstance(given, bool) else ""


def _outcome(told: dict[str, Any], purchase: Purchase) -> PurchaseAnswer:
    if (told.get("downstream_order_no") or purchase.ref) != purchase.ref:
        raise SupplierUnavailable("it told of another order than it was asked about")
    number, status = _number(told.get("order_id")), _text(told.get("status"), 40)
    try:
        cost = Money.parse(str(told["amount"]), str(told["currency"]))
    except (KeyError, ValueError):
        raise SupplierUnavailable("the order's amount cannot be read") from None
    if status == "canceled":
        return PurchaseAnswer(PurchaseState.FAILED, number, text="the other shop cancelled the order")
    if status not in DELIVERED:
        return PurchaseAnswer(PurchaseState.WAITING, number, cost, text=status)
    if purchase.account:
        return PurchaseAnswer(PurchaseState.DONE, number, cost)
    fulfillment = told.get("fulfillment")
    goods = _goods(fulfillment) if isinstance(fulfillment, dict) else ()
    if not goods:
        raise SupplierUnavailable("delivered, but no goods are in the answer")
    return PurchaseAnswer(PurchaseState.DONE, number, cost, goods)


def _goods(fulfillment: dict[str, Any]) -> tuple[Good, ...]:
    payload = fulfillment.get("payload")
    lines = payload.splitlines() if isinstance(payload, str) else []
    return tuple(Good(line.strip()) for line in lines if line.strip())


def _offers(product: dict[str, Any], currency: str, categories: Mapping[int, str] | None = None) -> list[Offer]:
    """Every SKU of a product.

    :raises Exception: (``KeyError``, ``TypeError``, ``ValueError``, ``AttributeError``) it cannot be read.
    """
    return [_offer(product, sku, currency, categories or {}) for sku in product["skus"]]


def _offer(product: dict[str, Any], sku: dict[str, Any], currency: str, categories: Mapping[int, str]) -> Offer:
    stock, fields = int(sku["stock_quantity"]), _fields(product.get("manual_form_schema"))
    images = product.get("images") or []
    spec = _words(sku.get("spec_values"))
    title = _words(product["title"]) or str(product["slug"])
    return Offer(
        item=f"{int(product['id'])}-{int(sku['id'])}",
        title=f"{title} · {spec}"[:300] if spec else title[:300],
        cost=_price(str(sku["price_amount"]), str(product.get("currency") or currency)),
        delivers=Delivers.TOP_UP if fields else Delivers.CODES,
        stock=None if stock < 0 or sku.get("stock_status") == "unlimited" else stock,
        listed=product.get("is_active") is not False and sku.get("is_active") is not False,
        least=max(1, int(sku.get("min_quantity") or 1)),
        most=int(sku["max_quantity"]) if sku.get("max_quantity") else None,
        fields=fields,
        category=categories.get(product.get("category_id") or 0, ""),
        description=_words(product.get("content")) or _words(product.get("description")),
        image_url=str(images[0]) if images else "",
    )


def _price(amount: str, currency: str) -> Money | None:
    try:
        return Money.parse(amount, currency)
    except ValueError:
        return None


def _fields(schema: Any) -> tuple[AccountField, ...]:
    asked = schema.get("fields") if isinstance(schema, dict) else None
    return tuple(_field(one) for one in asked or [])


def _field(asked: dict[str, Any]) -> AccountField:
    label, key = asked.get("label"), str(asked["key"])
    title = label if isinstance(label, dict) else {"en": str(label or key)}
    choices = {str(one): {"en": str(one)} for one in asked.get("options") or []}
    return AccountField(key, {str(where): str(text) for where, text in title.items()}, choices=choices)


def _words(texts: Any) -> str:
    """One text out of several languages; the values of a specification in a row."""
    if not isinstance(texts, dict):
        return str(texts) if isinstance(texts, str) else ""
    for locale in ("zh-CN", "en", "en-US"):
        if texts.get(locale):
            return str(texts[locale])
    return " / ".join(str(text) for text in texts.values() if text)


def _numbers(item: str) -> tuple[int, int]:
    """Product and SKU; zeros when it is no item of ours."""
    product, _dash, sku = item.partition("-")
    fits = all(part.isascii() and part.isdigit() and len(part) < 19 for part in (product, sku))
    return (int(product), int(sku)) if fits else (0, 0)


def _changed(skus: Any) -> tuple[str, ...]:
    """The items that changed; none of them means all."""
    if not isinstance(skus, list) or len(skus) > 50:
        return ()
    pairs = [(one.get("product_id"), one.get("sku_id")) for one in skus if isinstance(one, dict)]
    return tuple(f"{product}-{sku}" for product, sku in pairs if isinstance(product, int) and isinstance(sku, int))


def _text(value: Any, longest: int) -> str:
    return value[:longest] if isinstance(value, str) else ""


def _unreadable(error: Exception) -> str:
    return str(error) if isinstance(error, _No) else f"the answer cannot be read: {type(error).__name__}"


def _refuse_if_locked_out(no: _No) -> None:
    if no.code in NOT_ACCEPTED:
        raise SupplierRefused(f"the other shop does not accept our key: {no}") from None


def _not_sold(no: _No) -> NoReturn:
    if no.code == "insufficient_stock":
        raise OutOfStock("nothing is left") from None
    if no.code in NOTHING_SOLD:
        raise SupplierRefused(str(no)) from None
    raise SupplierUnavailable(str(no)) from None
