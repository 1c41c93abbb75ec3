"""What risk rules found is stored by the statement that places the order."""

from __future__ import annotations

from typing import Any

from core.review.assess import Verdict

# Added to PLACE.
FOUND = """, found AS (
    INSERT INTO review_evidence (order_id, rule, title, score, action, reason, data)
    SELECT placed.id, one.* FROM placed, jsonb_to_recordset(${evidence}) AS one (
        rule text, title jsonb, score int, action text, reason jsonb, data jsonb)
)
"""


def with_evidence(statement: str, values: tuple[Any, ...], verdict: Verdict) -> tuple[str, tuple[Any, ...]]:
    """``PLACE`` and its values after the first for an order that rules found something about; for any other as they
    were."""
    if not verdict.findings:
        return statement, values
    return statement + FOUND.format(evidence=len(values) + 2), (*values, verdict.rows())
