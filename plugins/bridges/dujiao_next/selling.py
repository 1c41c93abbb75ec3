"""The selling end: what other shops ask of this one at ``/channel/dujiao_next/api/v1/upstream/…``."""

from __future__ import annotations

import secrets
from datetime import datetime
from typing import Any

from core.api import (
    Answer,
    Article,
    BalanceTooSmall,
    Channel,
    ChannelCall,
    Choice,
    ForgedCall,
    NotForSale,
    NothingLeft,
    Partner,
    PartnerUnavailable,
    PluginContext,
    Question,
    Sale,
    SaleState,
    Seller,
    Wish,
    WrongWish,
    _,
)

from . import wire
from .seen import is_first
from .settings import BridgeSettings

TITLE = {"en": "Dujiao-Next", "zh-CN": "独角数卡 Next"}
PAGE = 20
PLENTY = 20
STATES = {SaleState.WAITING: "paid", SaleState.DELIVERED: "delivered", SaleState.CANCELLED: "canceled"}
REASONS = {
    "missing_auth_headers": _("it is not signed"),
    "invalid_timestamp": _("its time is none"),
    "timestamp_expired": _("it is old, or not of this time"),
    "invalid_api_key": _("nobody has this key"),
    "invalid_signature": _("the signature is wrong"),
    "replayed": _("it came before"),
}


class _No(Exception):
    """What is answered with no, in the words of the interface."""

    def __init__(self, status: int, code: str, text: str = "") -> None:
        super().__init__(code)
        self.answer = _json({"ok": False, "error_code": code, "error_message": text or code}, status)


class Counter(Channel):
    key = "dujiao_next"
    title = TITLE

    def __init__(self, ctx: PluginContext[BridgeSettings]) -> None:
        self.ctx = ctx

    # -- who calls ----------------------------------------------------------------------

    async def answer(self, call: ChannelCall, seller: Seller) -> Answer:
        partner = await self._caller(call, seller)
        try:
            if partner.stopped:
                raise _No(403, "user_disabled")
            return _json({"ok": True, **await self._serve(call, seller, partner)})
        except _No as no:
            return no.answer

    async def _caller(self, call: ChannelCall, seller: Seller) -> Partner:
        try:
            partner = await seller.partner(wire.key_of(call.headers, self.ctx.clock.now()))
            if partner is None:
                raise wire.Unsigned("invalid_api_key")
            # some programs sign the whole path, most the part they know
            paths = (call.path, f"/channel/{self.key}{call.path}")
            wire.verify(partner.secret.reveal(), call.method, paths, call.headers, call.body)
        except wire.Unsigned as wrong:
            raise _forged(wrong.code) from None
        if call.method == "POST" and call.path.startswith(f"{wire.PREFIX}/orders"):
            if not await is_first(self.ctx, call.headers[wire.SIGNATURE]):
                # none of the words that mean no: the first of the two may have bought
                raise _forged("replayed")
        return partner

    # -- what is asked ------------------------------------------------------------------

    async def _serve(self, call: ChannelCall, seller: Seller, partner: Partner) -> dict[str, Any]:
        path = call.path.removeprefix(wire.PREFIX) if call.path.startswith(f"{wire.PREFIX}/") else ""
        match [call.method, *path.strip("/").split("/")]:
            case ["POST", "ping"]:
                return await _ping(seller, partner)
            case ["GET", "categories"]:
                return await _categories(seller)
            case ["GET", "products"]:
                return await _products(call, seller, partner)
            case ["GET", "products", number]:
                return await _product(seller, partner, number)
            case ["POST", "orders"]:
                return await self._order(call, seller, partner)
            case ["GET", "orders"]:
                reference = call.query.get("downstream_order_no", "")
                return await _told(seller, partner, await seller.sale_of(partner, reference))
            case ["GET", "orders", number]:
                return await _told(seller, partner, await _sale(seller, partner, number))
            case ["POST", "orders", number, "cancel"]:
                return await _cancel(seller, partner, number)
        raise _No(404, "not_found")

    async def _order(self, call: ChannelCall, seller: Seller, partner: Partner) -> dict[str, Any]:
        wish = self._wish(call)
        try:
            sale = await seller.sell(partner, wish)
        except NotForSale as refused:
            raise _No(400, "sku_unavailable", str(refused)) from None
        except WrongWish as refused:
            raise _No(400, "bad_request", str(refused)) from None
        except NothingLeft as refused:
            raise _No(409, "insufficient_stock", str(refused)) from None
        except BalanceTooSmall as refused:
            raise _No(402, "insufficient_balance", str(refused)) from None
        return _head(sale)

    def _wish(self, call: ChannelCall) -> Wish:
        try:
            said = wire.unpacked(call.body)
        except ValueError:
            raise _No(400, "bad_request", "the body is no JSON object") from None
        reference = said.get("downstream_order_no") or f"unnamed-{secrets.token_hex(12)}"
        answers, url = said.get("manual_form_data") or {}, said.get("callback_url") or ""
        good = (
            _is_number(said.get("sku_id"))
            and _is_number(said.get("quantity"))
            and _is_text(reference, 100)
            and isinstance(answers, dict)
            and len(answers) <= 50
        )
        if not good:
            raise _No(400, "bad_request", "sku_id, quantity, downstream_order_no or manual_form_data is wrong")
        if url and not (_is_text(url, 500) and self.ctx.http.may_reach(url)):
            raise _No(400, "invalid_callback_url")
        texts = {str(key): str(value) for key, value in answers.items()}
        return Wish(reference, said["sku_id"], said["quantity"], texts, url)

    # -- what partners are told ---------------------------------------------------------

    async def tell_sale(self, partner: Partner, sale: Sale, goods: tuple[str, ...], url: str) -> None:
        said = {
            "event": f"order.{STATES[sale.state]}",
            "order_id": sale.id,
            "order_no": sale.ref,
            "downstream_order_no": sale.reference,
            "status": STATES[sale.state],
        }
        if goods:
            said["fulfillment"] = _fulfillment(sale, goods)
        await self._tell(partner, said, url)

    async def tell_stand(self, partner: Partner, changed: tuple[tuple[int, int], ...], url: str) -> None:
        """No part of the published interface: only shops that gave an address for it hear it."""
        skus = [{"product_id": product, "sku_id": sku} for product, sku in changed]
        await self._tell(partner, {"event": "catalog.changed", "skus": skus}, url)

    async def _tell(self, partner: Partner, said: dict[str, Any], url: str) -> None:
        now = self.ctx.clock.now()
        body = wire.packed({**said, "timestamp": int(now.timestamp())})
        signed = wire.headers(partner.api_key, partner.secret.reveal(), "POST", wire.CALLBACK, body, now)
        answer = await self.ctx.http.post(url, content=body, headers=signed)
        try:
            taken = answer.status < 300 and wire.unpacked(answer.content).get("ok") is True
        except ValueError:
            taken = False
        if not taken:
            raise PartnerUnavailable(f"it answers with status {answer.status} and does not say that it has it")


# -- answers ----------------------------------------------------------------------------


async def _ping(seller: Seller, partner: Partner) -> dict[str, Any]:
    return {
        "site_name": seller.name,
        "protocol_version": "1.0",
        "user_id": partner.id,
        "balance": (await seller.balance(partner)).plain(),
        "currency": seller.currency,
        "member_level": None,
    }


async def _categories(seller: Seller) -> dict[str, Any]:
    shelves = await seller.shelves()
    return {
        "categories": [
            {
                "id": one.id,
                "parent_id": 0,
                "slug": one.slug,
                "name": dict(one.title),
                "icon": "",
                "sort_order": len(shelves) - place,
            }
            for place, one in enumerate(shelves)
        ]
    }


async def _products(call: ChannelCall, seller: Seller, partner: Partner) -> dict[str, Any]:
    number, size = _page(call.query.get("page", "1"), 100_000), _page(call.query.get("page_size", str(PAGE)), 100)
    articles, total = await seller.articles(partner, number, size)
    return {"items": [_article(one) for one in articles], "total": total, "page": number, "page_size": size}


async def _product(seller: Seller, partner: Partner, number: str) -> dict[str, Any]:
    article = await seller.article(partner, _id(number, "product_not_found"))
    if article is None:
        raise _No(404, "product_not_found")
    if not article.listed:
        raise _No(404, "product_unavailable")
    return {"product": _article(article)}


async def _sale(seller: Seller, partner: Partner, number: str) -> Sale | None:
    return await seller.sale(partner, _id(number, "order_not_found"))


async def _told(seller: Seller, partner: Partner, sale: Sale | None) -> dict[str, Any]:
    if sale is None:
        raise _No(404, "order_not_found")
    told = {
        **_head(sale),
        "downstream_order_no": sale.reference,
        "refunded_amount": sale.refunded.plain(),
        "items": [_item(sale)],
    }
    if sale.state is SaleState.DELIVERED:
        told["fulfillment"] = _fulfillment(sale, await seller.goods(partner, sale))
    return told


async def _cancel(seller: Seller, partner: Partner, number: str) -> dict[str, Any]:
    """Everything here is paid as soon as it is ordered: only staff can take that back."""
    sale = await _sale(seller, partner, number)
    if sale is None:
        raise _No(404, "order_not_found")
    if sale.state is not SaleState.CANCELLED:
        raise _No(409, "cancel_not_allowed")
    return {"order_id": sale.id, "order_no": sale.ref, "status": STATES[sale.state]}


# -- in the words of the interface ------------------------------------------------------


def _head(sale: Sale) -> dict[str, Any]:
    return {
        "order_id": sale.id,
        "order_no": sale.ref,
        "status": STATES[sale.state],
        "amount": sale.total.plain(),
        "currency": sale.total.currency,
    }


def _item(sale: Sale) -> dict[str, Any]:
    return {
        "product_id": sale.product_id,
        "sku_id": sale.sku_id,
        "title": dict(sale.title),
        "quantity": sale.quantity,
        "unit_price": sale.unit_price.plain(),
        "total_price": sale.total.plain(),
        "fulfillment_type": _kind(sale.by_hand),
    }


def _fulfillment(sale: Sale, goods: tuple[str, ...]) -> dict[str, Any]:
    return {
        "type": _kind(sale.by_hand),
        "status": "delivered",
        "payload": "\n".join(goods),
        "delivery_data": None,
        "delivered_at": _time(sale.delivered_at),
    }


def _article(one: Article) -> dict[str, Any]:
    cheapest = min(one.choices, key=lambda choice: choice.price.amount)
    return {
        "id": one.id,
        "slug": one.slug,
        "title": dict(one.title),
        "description": dict(one.summary),
        "content": dict(one.description),
        "seo_meta": {},
        "images": [one.image_url] if one.image_url else [],
        "tags": [],
        **_prices(cheapest),
        "currency": cheapest.price.currency,
        "fulfillment_type": _kind(one.by_hand),
        "manual_form_schema": {"fields": [_question(asked) for asked in one.questions]} if one.questions else None,
        "is_active": one.listed,
        "category_id": one.category_id or 0,
        "skus": [_choice(choice) for choice in one.choices],
        "created_at": _time(one.created_at),
        "updated_at": _time(one.updated_at),
    }


def _choice(choice: Choice) -> dict[str, Any]:
    return {
        "id": choice.id,
        "sku_code": choice.code,
        "spec_values": dict(choice.title),
        **_prices(choice),
        "stock_status": _stock_status(choice.stock),
        "stock_quantity": -1 if choice.stock is None else choice.stock,
        "min_quantity": choice.least,
        "max_quantity": choice.most,
        "is_active": choice.listed,
    }


def _prices(choice: Choice) -> dict[str, str]:
    if choice.price == choice.list_price:
        return {"price_amount": choice.price.plain()}
    return {
        "price_amount": choice.price.plain(),
        "original_price": choice.list_price.plain(),
        "member_price": choice.price.plain(),
    }


def _stock_status(stock: int | None) -> str:
    if stock is None:
        return "unlimited"
    if stock == 0:
        return "out_of_stock"
    return "in_stock" if stock > PLENTY else "low_stock"


def _question(asked: Question) -> dict[str, Any]:
    said = {"key": asked.key, "type": asked.kind, "required": asked.required, "label": dict(asked.label)}
    return {**said, "options": list(asked.options)} if asked.options else said


def _kind(by_hand: bool) -> str:
    return "manual" if by_hand else "auto"


def _time(moment: datetime | None) -> str | None:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ") if moment else None


# -- reading ----------------------------------------------------------------------------


def _page(text: str, most: int) -> int:
    if not (text.isascii() and text.isdigit() and 0 < len(text) < 9 and int(text) > 0):
        raise _No(400, "bad_request", "page and page_size are numbers from 1")
    return min(int(text), most)


def _id(text: str, missing: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise _No(404, missing)
    return int(text)


def _is_number(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value < 10**18


def _is_text(value: Any, longest: int) -> bool:
    return isinstance(value, str) and 0 < len(value) <= longest and value.isprintable()


def _json(said: dict[str, Any], status: int = 200) -> Answer:
    return Answer(wire.packed(said), status, "application/json")


def _forged(code: str) -> ForgedCall:
    said = {"ok": False, "error_code": code, "error_message": code}
    return ForgedCall(REASONS[code], _json(said, 401))
