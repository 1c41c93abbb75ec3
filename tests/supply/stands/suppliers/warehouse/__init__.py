"""A supplier for the tests of the shop: JSON over HTTP, calls signed with HMAC-SHA256."""

import hashlib
import hmac
import json
from typing import Any

from core.api import (
    AboveCap,
    AccountField,
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
    Plugin,
    PluginContext,
    PluginSettings,
    Purchase,
    PurchaseAnswer,
    PurchaseNews,
    PurchaseState,
    Supplier,
    SupplierRefused,
    SupplierUnavailable,
    Url,
    hookimpl,
    setting,
)

SECRET = b"between the warehouse and the shop"
REFUSALS = {"above_cap": AboveCap, "out_of_stock": OutOfStock}


class Settings(PluginSettings):
    address: Url = setting("Address")
    second: Url | None = setting("Address of a second one", default=None)
    absent_means_unsold: bool = setting("Absent means unsold", default=False)


class Warehouse(Supplier):
    title = {"en": "Warehouse", "zh-CN": "仓库"}
    query_after = (1, 1, 1, 1)

    def __init__(self, ctx: PluginContext[Settings], key: str, address: str) -> None:
        self.key = key
        self.http = ctx.http
        self.address = address
        self.absent_means_unsold = ctx.settings.absent_means_unsold

    async def ask(self, path: str, keep: Any = None, **body: Any) -> Any:
        try:
            answer = await self.http.post(self.address + path, json=body, seconds=2)
        except NotSent:
            raise
        except HttpError as error:
            raise SupplierUnavailable(str(error)) from None
        if keep is not None:
            await keep(answer.content)
        if answer.status != 200:
            raise SupplierUnavailable(f"status {answer.status}")
        try:
            return answer.json()
        except ValueError:
            raise SupplierUnavailable("this is not JSON") from None

    async def catalogue(self, start: str | None = None) -> OfferPage:
        try:
            said = await self.ask("/catalogue", start=int(start or 0))
        except NotSent as error:
            raise SupplierUnavailable(str(error)) from None
        return OfferPage(tuple(map(offer, said["offers"])), said["next"])

    async def balance(self) -> Money | None:
        return Money((await self.ask("/balance"))["balance"], "CNY")

    async def purchase(self, purchase: Purchase) -> PurchaseAnswer:
        said = await self.ask(
            "/buy",
            purchase.keep,
            ref=purchase.ref,
            item=purchase.item,
            quantity=purchase.quantity,
            cap=purchase.price_cap.amount,
            account=dict(purchase.account),
            callback=purchase.callback_url,
        )
        if "refused" in said:
            raise REFUSALS.get(said["refused"], SupplierRefused)(said["refused"])
        return answered(said)

    async def query(self, purchase: Purchase) -> PurchaseAnswer | None:
        said = await self.ask("/bought", purchase.keep, ref=purchase.ref)
        return answered(said) if said else None

    async def parse_callback(self, request: CallbackRequest) -> PurchaseNews | OfferNews:
        signature = hmac.new(SECRET, request.body, hashlib.sha256).hexdigest()
        if not hmac.compare_digest(signature, request.headers.get("x-signature", "")):
            raise Forged("the signature is wrong")
        said = json.loads(request.body)
        if "items" in said:
            return OfferNews(tuple(said["items"]))
        return PurchaseNews(said["ref"], answered(said) if "state" in said else None)


def offer(said: dict[str, Any]) -> Offer:
    return Offer(
        item=said["item"],
        title=said["title"],
        cost=None if said["cost"] is None else Money(said["cost"], said.get("currency", "CNY")),
        delivers=Delivers(said.get("delivers", "codes")),
        stock=said["stock"],
        listed=said.get("listed", True),
        most=said.get("most"),
        category=said.get("category", ""),
        fields=tuple(AccountField(**field) for field in said.get("fields", ())),
    )


def answered(said: dict[str, Any]) -> PurchaseAnswer:
    cost = said.get("cost")
    return PurchaseAnswer(
        PurchaseState(said["state"]),
        said.get("number", ""),
        Money(cost, "CNY") if cost is not None else None,
        tuple(Good(one["code"], one.get("pin", "")) for one in said.get("codes", ())),
        said.get("text", ""),
    )


class WarehousePlugin(Plugin):
    Settings = Settings

    @hookimpl
    def register_suppliers(self, ctx: PluginContext[Settings]) -> list[Warehouse]:
        found = [Warehouse(ctx, "warehouse", ctx.settings.address)]
        return found + ([Warehouse(ctx, "second", ctx.settings.second)] if ctx.settings.second else [])


plugin = WarehousePlugin()
