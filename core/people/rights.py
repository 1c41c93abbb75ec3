"""What each role may do. A right is ``area.act``; ``*`` stands for everything, ``area.*`` for all of an area."""

from __future__ import annotations

RIGHTS: dict[str, frozenset[str]] = {
    "owner": frozenset({"*"}),
    "manager": frozenset(
        {
            "dashboard.*",
            "orders.*",
            "products.*",
            "stock.*",
            "codes.reveal",
            "payments.*",
            "messages.*",
            "review.*",
            "audit.read",
            "settings.*",
            "plugins.read",
        }
    ),
    "stock": frozenset({"dashboard.read", "products.read", "products.edit", "stock.*"}),
    "support": frozenset(
        {"dashboard.read", "orders.*", "products.read", "stock.read", "payments.read", "messages.*", "review.*"}
    ),
    "finance": frozenset({"dashboard.read", "orders.read", "payments.*", "review.*", "audit.read"}),
    "readonly": frozenset(
        {
            "dashboard.read",
            "orders.read",
            "products.read",
            "stock.read",
            "payments.read",
            "messages.read",
            "review.read",
        }
    ),
}


def may(role: str | None, right: str) -> bool:
    granted = RIGHTS.get(role or "", frozenset())
    area, dot, _act = right.partition(".")
    return bool(dot) and (right in granted or f"{area}.*" in granted or "*" in granted)


ROLES = tuple(RIGHTS)
