"""That an order is a gift is stored by the statement that places it."""

from __future__ import annotations

from typing import Any

from core.ids import new_token, token_hash
from core.orders.gifts import TOKEN_PURPOSE, Gift
from core.vault.cipher import seal_secret

# Added to PLACE.
GIVE = """, gift AS (
    INSERT INTO orders_gift (order_id, recipient, message, send_at, token_hash, token_sealed)
    SELECT id, ${0}, ${1}, ${2}, ${3}, ${4} FROM placed
)
"""


def with_gift(statement: str, values: tuple[Any, ...], gift: Gift | None) -> tuple[str, tuple[Any, ...]]:
    """``PLACE`` and its values for a gift; as they were for any other order."""
    if gift is None:
        return statement, values
    head, _end, last = statement.rpartition("SELECT (SELECT id FROM placed)")
    give = GIVE.format(*range(len(values) + 1, len(values) + 6))
    token = new_token()
    more = (gift.recipient, gift.message, gift.send_at, token_hash(token), seal_secret(TOKEN_PURPOSE, token.encode()))
    return f"{head.rstrip()}{give}{_end}{last}", (*values, *more)
