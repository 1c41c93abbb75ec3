"""Everything that happened to an order, in the order it happened."""

from __future__ import annotations

from typing import Any

from core.db import Tx


async def add(tx: Tx, order_id: int, kind: str, actor: str, data: dict[str, Any] | None = None) -> None:
    """``actor`` is as in the audit log: ``buyer``, ``system``, ``staff:<id>``, ``gateway:<key>``."""
    await tx.execute(
        "INSERT INTO orders_event (order_id, kind, actor, data) VALUES ($1, $2, $3, $4)",
        order_id,
        kind,
        actor,
        data or {},
    )
