"""Topping up by buying: a value card of the shop, sold like any product, is emptied into its holder's balance."""

from __future__ import annotations

from core import db
from core.db import Tx
from core.ledger import customers
from core.ledger.chart import GOODWILL, REVENUE
from core.money import Money
from core.redemption import redeem
from core.redemption.limits import guarded
from core.redemption.redeem import Answer, Till
from core.redemption.words import SAYS
from core.refused import Refused
from core.web.i18n import _

# A card sold here was booked as a sale; what it is worth is owed now. One handed out on paper was never sold.
SOLD = """
SELECT code.line_id IS NOT NULL AS here, coalesce(o.test, false) AS test, o.id AS order_id FROM redemption_try AS asked
JOIN vault_code code ON code.id = asked.code_id LEFT JOIN orders_line line ON line.id = code.line_id
LEFT JOIN orders_order o ON o.id = line.order_id WHERE asked.id = $1
"""


async def put_in(till: Till, contact: str, key: str, code: str) -> Money:
    """Move all that is left on a card into the balance of ``contact``; gives how much that was.

    ``key`` is the form's: a second click gives the first answer. Who misses too often is stopped.

    :raises Refused: the code is no value card of this shop, or nothing can be taken from it.
    """
    before = await redeem.answer_to(till.shop_id, till.caller, key)
    answer = before or await guarded(_try, till, contact, key, code)
    if not answer.ok:
        raise Refused(SAYS[answer.outcome], "code")
    if answer.amount is None or answer.card is None or answer.card.currency is None:
        raise Refused(_("This code is good, but it is no value card."), "code")
    return Money(answer.amount, answer.card.currency)


async def _try(till: Till, contact: str, key: str, code: str) -> Answer:
    return await db.transaction(_put_in, till, contact, key, code)


async def _put_in(tx: Tx, till: Till, contact: str, key: str, code: str) -> Answer:
    answer = await redeem.redeem_rest(tx, till, key, code)
    if not answer.ok or answer.amount is None or answer.card is None or answer.card.currency is None:
        return answer
    sold = await tx.fetchrow(SOLD, answer.id)
    if sold["test"]:
        raise Refused(_("This card comes from a test order: it is worth nothing."), "code")
    await customers.put_in(
        tx,
        till.shop_id,
        contact,
        Money(answer.amount, answer.card.currency),
        kind="balance_card",
        source=f"balance:card:{answer.id}",
        against=REVENUE if sold["here"] else GOODWILL,
        order_id=sold["order_id"],
    )
    return answer
