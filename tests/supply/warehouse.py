"""The warehouse itself: a server that sells as often as it is asked to, and writes every sale into its own log."""

import hashlib
import hmac
import itertools
import json
from collections import Counter
from typing import Any

from aiohttp import web

from core.api.testing import Called, Loopback

SECRET = b"between the warehouse and the shop"


class Warehouse(Loopback):
    def __init__(self) -> None:
        super().__init__()
        self.offers: dict[str, dict[str, Any]] = {}
        self.balance = 100_000
        self.sales: list[str] = []
        """The reference of every sale, in the order they were made: a second one under a reference is seen here."""
        self.told: dict[str, dict[str, Any]] = {}
        self.accounts: dict[str, dict[str, str]] = {}
        self.next_codes: list[list[dict[str, str]]] = []
        self.works_on_it = False
        self.says_no = ""
        self.keeps_cost_back = False
        self._numbers = itertools.count(1)

    def routes(self) -> list[web.AbstractRouteDef]:
        return [
            web.post("/catalogue", self._catalogue),
            web.post("/balance", self._balance),
            web.post("/buy", self._buy),
            web.post("/bought", self._bought),
        ]

    def offer(self, item: str, cost: int = 1000, stock: int | None = 10, **more: Any) -> dict[str, Any]:
        self.offers[item] = {"item": item, "title": f"Card {item}", "cost": cost, "stock": stock, **more}
        return self.offers[item]

    @property
    def sold_once(self) -> bool:
        return all(times == 1 for times in Counter(self.sales).values())

    async def _catalogue(self, request: web.Request) -> web.Response:
        start = (await request.json())["start"]
        some = list(self.offers.values())[start : start + 2]
        more = start + 2 < len(self.offers)
        return web.json_response({"offers": some, "next": str(start + 2) if more else None})

    async def _balance(self, request: web.Request) -> web.Response:
        return web.json_response({"balance": self.balance})

    async def _buy(self, request: web.Request) -> web.Response:
        wanted = await request.json()
        found = self.offers[wanted["item"]]
        cost = found["cost"] * wanted["quantity"]
        if self.says_no:
            return web.json_response({"refused": self.says_no})
        if cost > wanted["cap"]:
            return web.json_response({"refused": "above_cap"})
        if found["stock"] is not None and found["stock"] < wanted["quantity"]:
            return web.json_response({"refused": "out_of_stock"})
        self.sales.append(wanted["ref"])
        self.accounts[wanted["ref"]] = wanted["account"]
        if found["stock"] is not None:
            found["stock"] -= wanted["quantity"]
        codes = self.next_codes.pop(0) if self.next_codes else self.codes(wanted["quantity"])
        goods = [] if found.get("delivers") == "top_up" else codes
        self.told[wanted["ref"]] = {"state": "done", "number": f"W{len(self.sales)}", "cost": cost, "codes": goods}
        if self.works_on_it:
            return web.json_response({"state": "waiting", "number": f"W{len(self.sales)}"})
        return web.json_response(self._without_cost(self.told[wanted["ref"]]))

    def _without_cost(self, told: dict[str, Any]) -> dict[str, Any]:
        return {**told, "cost": None} if self.keeps_cost_back else told

    def codes(self, quantity: int) -> list[dict[str, str]]:
        return [{"code": f"BOUGHT-{next(self._numbers):06d}-{id(self):x}"} for _ in range(quantity)]

    async def _bought(self, request: web.Request) -> web.Response:
        ref = (await request.json())["ref"]
        if self.works_on_it and ref in self.told:
            return web.json_response({"state": "waiting"})
        return web.json_response(self._without_cost(self.told[ref]) if ref in self.told else None)

    async def tell(self, url: str, said: Any, secret: bytes = SECRET) -> Called:
        body = json.dumps(said).encode()
        signature = hmac.new(secret, body, hashlib.sha256).hexdigest()
        called = await self.call(url, data=body, headers={"x-signature": signature, "content-type": "application/json"})
        assert called is not None
        return called
