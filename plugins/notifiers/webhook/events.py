"""What endpoints can be told, and the body of each message: thin, without codes and without contacts."""

from __future__ import annotations

import hashlib
import json
from datetime import datetime
from typing import Any

from core.api import Money, OrderView, RefundView, ReviewView, StockView, _

EVENTS = {
    "order.paid": _("An order is paid"),
    "order.delivered": _("Its goods were handed over"),
    "order.refunded": _("Money was given back"),
    "order.closed": _("An unpaid order expired or was cancelled"),
    "review.opened": _("Something waits for a person"),
    "stock.low": _("A SKU runs low"),
}
TEST = "webhook.test"


def message_id(event: str, subject: str) -> str:
    """The same for the same fact, however often it is heard: receivers see repeats by it."""
    return "msg_" + hashlib.sha256(f"{event}:{subject}".encode()).hexdigest()[:27]


def body(event: str, at: datetime, data: dict[str, Any]) -> str:
    return json.dumps({"type": event, "timestamp": _time(at), "data": data}, ensure_ascii=False, separators=(",", ":"))


def of_order(order: OrderView) -> dict[str, Any]:
    return {
        "ref": order.ref,
        "shop": order.shop,
        "test": order.test,
        "total": _money(order.total),
        "payment_state": order.payment_state,
        "fulfilment_state": order.fulfilment_state,
        "lines": [
            {"sku": line.sku_code, "title": line.title, "quantity": line.quantity, "total": _money(line.total)}
            for line in order.lines
        ],
        "placed_at": _time(order.placed_at),
        "paid_at": _time(order.paid_at),
        "delivered_at": _time(order.delivered_at),
    }


def of_refund(order: OrderView, refund: RefundView) -> dict[str, Any]:
    return {
        "ref": refund.ref,
        "amount": _money(refund.amount),
        "way": refund.way,
        "ended_at": _time(refund.ended_at),
        "order": of_order(order),
    }


def of_review(review: ReviewView) -> dict[str, Any]:
    return {
        "number": review.number,
        "shop": review.shop,
        "kind": review.kind,
        "order_ref": review.order_ref,
        "opened_at": _time(review.opened_at),
    }


def of_stock(stock: StockView) -> dict[str, Any]:
    return {
        "shop": stock.shop,
        "sku": stock.sku_code,
        "title": stock.title,
        "left": stock.left,
        "threshold": stock.low,
    }


def _money(money: Money) -> dict[str, Any]:
    return {"amount": money.amount, "currency": money.currency}


def _time(at: datetime | None) -> str | None:
    return at.isoformat().replace("+00:00", "Z") if at else None
