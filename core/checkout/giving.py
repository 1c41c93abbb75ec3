"""That an order is a gift is stored by the statement that places it; its link can be made anew."""

from __future__ import annotations

from typing import Any

from core.db import Tx
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
    """``PLACE`` and its values after the first for a gift; for any other order as they were."""
    if gift is None:
        return statement, values
    give = GIVE.format(*range(len(values) + 2, len(values) + 7))
    token = new_token()
    more = (gift.recipient, gift.message, gift.send_at, token_hash(token), seal_secret(TOKEN_PURPOSE, token.encode()))
    return statement + give, (*values, *more)


async def renew_link(tx: Tx, order_id: int) -> bool:
    """The former link opens nothing any more, nor do browsers that came by it; False when it is no gift."""
    token = new_token()
    gift = await tx.fetchval(
        "UPDATE orders_gift SET token_hash = $2, token_sealed = $3 WHERE order_id = $1 RETURNING order_id",
        order_id,
        token_hash(token),
        seal_secret(TOKEN_PURPOSE, token.encode()),
    )
    await tx.execute("DELETE FROM orders_gift_access WHERE order_id = $1", order_id)
    return gift is not None
