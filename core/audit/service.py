"""Two append-only lists: what people did, and what looked like an attack."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from core.audit.acts import ACTS
from core.db import Tx
from core.web.i18n import Text, source

_of_plugins: Mapping[str, Text | str] = {}


def of_plugins(titles: Mapping[str, Text | str]) -> None:
    """From now on these are the acts that plugins record, in words."""
    global _of_plugins
    _of_plugins = titles


def title(act: str) -> Text | str:
    """An act in words; empty when it is of a plugin that is off or gone."""
    return _of_plugins.get(act) or ACTS.get(act, "")


async def record(
    tx: Tx,
    actor: str,
    act: str,
    object: str,
    detail: dict[str, Any] | None = None,
    *,
    shop_id: int | None = None,
    ip: str | None = None,
    request_id: str | None = None,
) -> None:
    """Write who did what to which thing, in the transaction that does it.

    ``actor`` is ``staff:<id>``, ``buyer``, ``system`` or ``gateway:<key>``; ``act`` is ``noun.verb``, such as
    ``order.confirm_paid``; ``object`` names the thing, such as ``order:V7K2…``. ``detail`` holds no secrets.
    """
    await tx.execute(
        "INSERT INTO audit_entry (shop_id, actor, act, object, detail, ip, request_id)"
        " VALUES ($1, $2, $3, $4, $5, $6, $7)",
        shop_id,
        actor,
        act,
        object,
        detail or {},
        ip,
        request_id,
    )


async def alarm(
    tx: Tx,
    kind: str,
    subject: str,
    reason: Text | str,
    detail: dict[str, Any] | None = None,
    *,
    shop_id: int | None = None,
    ip: str | None = None,
) -> None:
    """Leave a row that staff must look at: a forged callback, a foreign session on an order."""
    await tx.execute(
        "INSERT INTO audit_alarm (shop_id, kind, subject, reason, detail, ip) VALUES ($1, $2, $3, $4, $5, $6)",
        shop_id,
        kind,
        subject[:200],
        source(reason)[:500],
        detail or {},
        ip,
    )
