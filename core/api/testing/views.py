"""What facts show, made up for tests."""

from __future__ import annotations

import itertools
from typing import Any

from core import clock
from core.api import LineView, Money, OrderView

_numbers = itertools.count(1)


def a_sold_order(**changes: Any) -> OrderView:
    """An order for two things, paid and delivered, with a reference of its own."""
    now = clock.now()
    lines = (
        LineView("SKU-1", "A month", 1, Money(1990, "CNY")),
        LineView("SKU-2", "A year", 2, Money(39800, "CNY")),
    )
    facts: dict[str, Any] = {
        "ref": f"VTEST{next(_numbers)}",
        "shop": "main",
        "test": False,
        "contact_kind": "email",
        "contact": "buyer@example.com",
        "locale": "zh-CN",
        "total": Money(41790, "CNY"),
        "payment_state": "paid",
        "fulfilment_state": "delivered",
        "lines": lines,
        "placed_at": now,
        "expires_at": now,
        "paid_at": now,
        "delivered_at": now,
    }
    return OrderView(**{**facts, **changes})
