"""A server that speaks Stripe's API as far as Checkout goes, with a log of charges. It shares no code with us."""

import hashlib
import hmac
import itertools
import json
import time
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from core.api import CallbackRequest, Money
from core.api.testing import FakeGateway

KEY, WEBHOOK_SECRET = "sk_live_fake0123456789", "whsec_fake0123456789"


@dataclass
class Intent:
    id: str
    amount: int
    currency: str
    metadata: dict[str, str]
    refunds: list[dict[str, Any]] = field(default_factory=list)


class StripeServer(FakeGateway):
    def __init__(self, key: str = KEY) -> None:
        super().__init__()
        self.key, self.live = key, "_live_" in key
        self.numbers = itertools.count(1)
        self.asked: list[dict[str, str]] = []
        self.sessions: dict[str, dict[str, Any]] = {}
        self.intents: dict[str, Intent] = {}
        self.keyed: dict[str, tuple[dict[str, str], dict[str, Any]]] = {}
        self.transactions: list[dict[str, Any]] = []
        self.refund_status = "succeeded"
        self.not_allowed: set[str] = set()
        self.notify_url = ""

    def routes(self):
        return [
            web.post("/v1/checkout/sessions", self._new_session),
            web.get("/v1/checkout/sessions/{id}", self._session),
            web.get("/v1/payment_intents/{id}", self._intent),
            web.post("/v1/refunds", self._new_refund),
            web.get("/v1/refunds", self._refund_list),
            web.get("/v1/balance", self._balance),
            web.get("/v1/balance_transactions", self._transactions),
            web.get("/c/{id}", self._page),
        ]

    # -- the API

    def _error(self, status: int, message: str, kind: str = "invalid_request_error") -> web.HTTPException:
        text = json.dumps({"error": {"type": kind, "message": message}})
        wrong = {400: web.HTTPBadRequest, 401: web.HTTPUnauthorized, 403: web.HTTPForbidden, 404: web.HTTPNotFound}
        return wrong[status](text=text, content_type="application/json")

    def _known(self, request: web.Request) -> None:
        if request.headers.get("Authorization") != f"Bearer {self.key}":
            raise self._error(401, "Invalid API Key provided: sk_live_****6789")
        if any(request.path.endswith(one) for one in self.not_allowed):
            raise self._error(403, "The provided key does not have the required permissions for this endpoint")

    async def _keyed(self, request: web.Request) -> tuple[dict[str, str], dict[str, Any] | None]:
        """The form, and the answer that was given to the same key before."""
        self._known(request)
        form = {name: str(value) for name, value in (await request.post()).items()}
        self.asked.append(form)
        before = self.keyed.get(request.headers["Idempotency-Key"])
        if before is None:
            return form, None
        if before[0] != form:
            raise self._error(
                400, "Keys for idempotent requests can only be used with the same parameters", "idempotency_error"
            )
        return form, before[1]

    async def _new_session(self, request: web.Request) -> web.Response:
        form, before = await self._keyed(request)
        if before is None:
            if int(form["expires_at"]) < time.time() + 1800:
                raise self._error(400, "The `expires_at` timestamp must be at least 30 minutes from now")
            number = f"cs_live_{next(self.numbers)}"
            before = {
                "id": number,
                "object": "checkout.session",
                "url": f"{self.address}/c/{number}",
                "status": "open",
                "payment_status": "unpaid",
                "payment_intent": None,
                "client_reference_id": form.get("client_reference_id"),
                "metadata": {"attempt": form.get("metadata[attempt]", "")},
                "amount_total": int(form["line_items[0][price_data][unit_amount]"]),
                "currency": form["line_items[0][price_data][currency]"],
                "intent_metadata": form.get("payment_intent_data[metadata][attempt]", ""),
            }
            self.sessions[number] = before
            self.keyed[request.headers["Idempotency-Key"]] = (form, dict(before))
        return web.json_response(before)

    async def _session(self, request: web.Request) -> web.Response:
        self._known(request)
        if request.match_info["id"] not in self.sessions:
            raise self._error(404, "No such checkout session")
        return web.json_response(self.sessions[request.match_info["id"]])

    async def _intent(self, request: web.Request) -> web.Response:
        self._known(request)
        intent = self.intents.get(request.match_info["id"])
        if intent is None:
            raise self._error(404, "No such payment_intent")
        return web.json_response({"id": intent.id, "amount": intent.amount, "metadata": intent.metadata})

    async def _new_refund(self, request: web.Request) -> web.Response:
        form, before = await self._keyed(request)
        if before is None:
            intent = self.intents.get(form["payment_intent"])
            if intent is None:
                raise self._error(404, "No such payment_intent")
            amount = int(form["amount"])
            if sum(one["amount"] for one in intent.refunds) + amount > intent.amount:
                raise self._error(400, "Refund amount is greater than unrefunded amount on charge")
            before = {
                "id": f"re_{next(self.numbers)}",
                "object": "refund",
                "amount": amount,
                "currency": intent.currency,
                "status": self.refund_status,
                "payment_intent": intent.id,
                "metadata": {"refund": form["metadata[refund]"]},
            }
            intent.refunds.append(before)
            self.keyed[request.headers["Idempotency-Key"]] = (form, before)
        return web.json_response(before)

    async def _refund_list(self, request: web.Request) -> web.Response:
        self._known(request)
        intent = self.intents.get(request.query["payment_intent"])
        return web.json_response({"object": "list", "data": intent.refunds if intent else [], "has_more": False})

    async def _balance(self, request: web.Request) -> web.Response:
        self._known(request)
        return web.json_response({"object": "balance", "livemode": self.live})

    async def _transactions(self, request: web.Request) -> web.Response:
        self._known(request)
        query = request.query
        low, high = int(query["created[gte]"]), int(query["created[lt]"])
        assert query["expand[]"] == "data.source"
        rows = [row for row in self.transactions if low <= row["created"] < high]
        ids = [row["id"] for row in rows]
        start = ids.index(query["starting_after"]) + 1 if "starting_after" in query else 0
        page = rows[start : start + 2]
        return web.json_response({"object": "list", "data": page, "has_more": start + 2 < len(rows)})

    async def _page(self, request: web.Request) -> web.Response:
        return web.Response(text=f"<h1>Checkout</h1><p>{self.sessions[request.match_info['id']]['amount_total']}")

    # -- what a test does and counts

    def settings(self):
        return {"server": self.address, "key": self.key, "webhook_secret": WEBHOOK_SECRET}

    def session_of(self, ref: str) -> dict[str, Any]:
        return next(one for one in self.sessions.values() if one["client_reference_id"] == ref)

    def pay_now(self, ref: str, *, later: bool = False) -> dict[str, Any]:
        """The buyer pays; ``later``: by a way whose money comes days later."""
        session = self.session_of(ref)
        if session["payment_intent"] is None:
            intent = Intent(
                f"pi_{next(self.numbers)}",
                session["amount_total"],
                session["currency"],
                {"attempt": session["intent_metadata"]},
            )
            self.intents[intent.id] = intent
            session["payment_intent"] = intent.id
        session["status"], session["payment_status"] = "complete", "unpaid" if later else "paid"
        return session

    async def pay(self, attempt, started):
        self.pay_now(attempt.ref)

    def event(self, kind: str, about: dict[str, Any], *, live: bool | None = None) -> bytes:
        is_live = self.live if live is None else live
        return json.dumps({"id": f"evt_{kind}", "type": kind, "livemode": is_live, "data": {"object": about}}).encode()

    def completed(self, ref: str) -> bytes:
        return self.event("checkout.session.completed", self.session_of(ref))

    async def callback(self, attempt):
        return as_call(self.completed(attempt.ref))

    async def tell(self, url: str, body: bytes, *, secret: str = WEBHOOK_SECRET):
        """Call the shop's webhook address."""
        return await self.call(url, data=body, headers={"Stripe-Signature": signed(body, secret)})

    def payments(self, ref):
        return sum(one["client_reference_id"] == ref for one in self.sessions.values())

    def refunds(self, ref):
        all_of_them = [one for intent in self.intents.values() for one in intent.refunds]
        return [
            Money(one["amount"], one["currency"].upper())
            for one in all_of_them
            if one["metadata"]["refund"] == ref and one["status"] != "failed"
        ]

    def booked(self, category: str, source: dict[str, Any] | str, amount: int, fee: int = 0, **more: Any) -> None:
        """One more balance transaction."""
        row = {"id": f"txn_{next(self.numbers)}", "amount": amount, "fee": fee, "currency": "cny", "source": source}
        self.transactions.append({**row, "created": int(time.time()), "reporting_category": category, **more})


def signed(body: bytes, secret: str = WEBHOOK_SECRET, at: int | None = None, more: str = "") -> str:
    moment = int(time.time()) if at is None else at
    right = hmac.new(secret.encode(), str(moment).encode() + b"." + body, hashlib.sha256).hexdigest()
    return f"t={moment},{more}v1={right},v0={'0' * 64}"


def as_call(body: bytes, header: str | None = None) -> CallbackRequest:
    headers = {"content-type": "application/json", "stripe-signature": signed(body) if header is None else header}
    return CallbackRequest("POST", b"", body, headers, "198.51.100.1")
