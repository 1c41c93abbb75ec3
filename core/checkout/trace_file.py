"""The timeline of one order as a file to take along: for programs, or to read and to print."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from core.checkout.trace import Row
from core.checkout.trace_words import ACTORS
from core.money import Money


def as_json(order: Mapping[str, Any], rows: Sequence[Row], said: str) -> dict[str, Any]:
    return {
        "order": order["ref"],
        "total": Money(order["total"], order["currency"]).plain(),
        "currency": order["currency"],
        "payment": order["payment_state"],
        "delivery": order["fulfilment_state"],
        "diagnosis": said,
        "steps": [
            {
                "at": row.at.isoformat(),
                "actor": row.actor,
                "name": row.name,
                "kind": row.kind,
                "title": str(row.title),
                "seconds": row.waited.total_seconds() if row.waited is not None else None,
                "about": row.about,
                "request": row.request,
                "facts": {key: _text(value) for key, value in row.facts.items()},
                "payload": row.payload,
            }
            for row in rows
        ],
    }


def _text(value: Any) -> Any:
    if isinstance(value, Money):
        return f"{value.plain()} {value.currency}"
    return value if isinstance(value, int | float | str | bool | list) or value is None else str(value)


def as_text(order: Mapping[str, Any], rows: Sequence[Row], said: str) -> str:
    """The same to read and to print. Times are UTC: whoever judges a dispute sits elsewhere."""
    money = Money(order["total"], order["currency"])
    lines = [f"{order['ref']}  {money.plain()} {money.currency}", said, ""]
    for row in rows:
        waited = f"  +{row.waited.total_seconds():.1f} s" if row.waited is not None else ""
        who = " ".join(part for part in (str(ACTORS[row.actor][0]), row.name) if part)
        lines.append(f"{row.at:%Y-%m-%d %H:%M:%S} UTC  {who}: {row.title}{waited}")
        marks = [text for text in (row.about, row.request) if text]
        facts = [f"{key}: {_text(value)}" for key, value in row.facts.items() if value not in ("", None)]
        if marks or facts:
            lines.append("    " + "; ".join([*marks, *facts]))
        lines += [f"    {line}" for line in row.payload.splitlines()]
    return "\n".join(lines) + "\n"
