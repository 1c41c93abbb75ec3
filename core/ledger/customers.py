"""What buyers keep with the shop: one guarded row for each buyer and currency, in step with its account.

A row and its entry change in one statement, so that a balance is exact and never below zero however many
payments come at once. Sales paid another way touch none of this.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

import asyncpg

from core import clock, db
from core.audit import service as audit
from core.db import Tx
from core.ledger import service as ledger
from core.ledger.chart import CUSTOMER
from core.money import Money
from core.refused import Refused
from core.web.i18n import _

PREFIX = "balance_"
"""Every kind of entry that moves a balance begins so; the indexes of the history rely on it."""

IN = """
WITH held AS (
    UPDATE ledger_balance SET amount = amount + $2, changed_at = clock_timestamp() WHERE id = $1
    RETURNING account_id, currency
)
INSERT INTO ledger_entry (kind, source, order_id, debit_id, credit_id, amount, currency)
SELECT $3, $4, $5, $6, account_id, $2, currency FROM held RETURNING id
"""

OUT = """
WITH held AS (
    UPDATE ledger_balance SET amount = amount - $2, changed_at = clock_timestamp() WHERE id = $1 AND amount >= $2
    RETURNING account_id, currency
)
INSERT INTO ledger_entry (kind, source, order_id, debit_id, credit_id, amount, currency)
SELECT $3, $4, $5, account_id, $6, $2, currency FROM held RETURNING id
"""

# A value card may have been a gift: the number of the order that bought it is not for its holder.
HISTORY = """
SELECT entry.id, entry.kind, entry.at, entry.currency, o.ref AS order_ref, note.reason,
       coalesce(nullif(staff.name, ''), staff.email, '') AS staff,
       CASE WHEN entry.credit_id = $1 THEN entry.amount ELSE -entry.amount END AS amount
FROM ledger_entry entry LEFT JOIN orders_order o ON o.id = entry.order_id AND entry.kind <> 'balance_card'
LEFT JOIN ledger_note note ON note.entry_id = entry.id LEFT JOIN people_staff staff ON staff.id = note.staff_id
WHERE starts_with(entry.kind, 'balance_') AND (entry.debit_id = $1 OR entry.credit_id = $1)
ORDER BY entry.id DESC LIMIT $2 OFFSET $3
"""


class NotEnough(Refused):
    """The balance is smaller than what was to be taken out; nothing was changed."""

    def __init__(self) -> None:
        super().__init__(_("The balance is not enough."), "amount")


@dataclass(frozen=True, slots=True)
class Balance:
    id: int
    shop_id: int
    contact: str
    account_id: int
    money: Money
    changed_at: datetime


@dataclass(frozen=True, slots=True)
class Change:
    """One line of a balance's history. ``money`` is negative where it went out."""

    entry_id: int
    kind: str
    at: datetime
    money: Money
    order_ref: str | None
    reason: str | None
    staff: str


async def put_in(
    tx: Tx,
    shop_id: int,
    contact: str,
    money: Money,
    *,
    kind: str,
    source: str,
    against: str,
    order_id: int | None = None,
) -> int:
    """Raise a buyer's balance by ``money``, opening it when it is the first; gives the id of the entry.

    ``against`` is the account the money comes from. A refund to the balance (kind ``balance_refund``) goes
    through ``gateway:balance``, as every refund through the account of its method: first ``ledger.move`` into it,
    then this out of it. Staff puts in against ``cash`` or ``goodwill`` (``balance_in``). ``source`` is unique, as
    everywhere: the same thing is never booked twice.
    """
    balance = await _open(tx, shop_id, contact, money.currency)
    return await _write(tx, IN, balance, money, kind, source, against, order_id)


async def take_out(
    tx: Tx,
    shop_id: int,
    contact: str,
    money: Money,
    *,
    kind: str,
    source: str,
    against: str,
    order_id: int | None = None,
) -> int:
    """Lower a buyer's balance by ``money``; gives the id of the entry.

    :raises NotEnough: there is less than that, or nothing at all.
    """
    balance = await _find(tx, shop_id, contact, money.currency)
    if balance is None:
        raise NotEnough
    return await _write(tx, OUT, balance, money, kind, source, against, order_id)


async def _write(
    tx: Tx, statement: str, balance: Balance, money: Money, kind: str, source: str, against: str, order_id: int | None
) -> int:
    if money.amount <= 0 or not kind.startswith(PREFIX):
        raise ValueError("a balance changes by an amount above zero, in an entry whose kind begins with balance_")
    other = await ledger.account(tx, balance.shop_id, against, money.currency)
    entry_id = await tx.fetchval(statement, balance.id, money.amount, kind, source, order_id, other)
    if entry_id is None:
        raise NotEnough
    return int(entry_id)


async def change_by_staff(
    tx: Tx,
    shop_id: int,
    contact: str,
    money: Money,
    *,
    cash: bool,
    staff_id: int,
    reason: str,
    key: str,
    limited: bool = False,
) -> None:
    """Staff puts money in, or takes it out where ``money`` is negative, and says why. The caller audits it.

    ``cash``: real money changed hands outside the shop. ``key`` is the form's: a second click does nothing.
    ``limited``: no more is put in within a day than one person may give back.

    :raises NotEnough: more was to be taken out than there is.
    :raises Refused: more was to be put in than that.
    """
    against = "cash" if cash else "goodwill"
    change, kind = (put_in, "balance_in") if money.amount > 0 else (take_out, "balance_out")
    entry_id = await change(
        tx,
        shop_id,
        contact,
        Money(abs(money.amount), money.currency),
        kind=kind,
        source=f"balance:staff:{key}",
        against=against,
    )
    await tx.execute(
        "INSERT INTO ledger_note (entry_id, staff_id, reason) VALUES ($1, $2, $3)", entry_id, staff_id, reason
    )
    if limited and money.amount > 0:
        await _check_limit(tx, shop_id, staff_id, money)


async def change_once(
    shop_id: int,
    contact: str,
    money: Money,
    *,
    about: str,
    cash: bool,
    staff_id: int,
    reason: str,
    key: str,
    ip: str | None,
    limited: bool = False,
) -> None:
    """As ``change_by_staff``, in a transaction of its own that also writes the audit log, as a line ``about`` whose
    balance it is. A second click does nothing.

    :raises NotEnough: as there.
    :raises Refused: as there.
    """

    async def write(tx: Tx) -> None:
        await change_by_staff(
            tx, shop_id, contact, money, cash=cash, staff_id=staff_id, reason=reason, key=key, limited=limited
        )
        against = "cash" if cash else "goodwill"
        detail = {"amount": money.amount, "currency": money.currency, "against": against, "reason": reason}
        await audit.record(tx, f"staff:{staff_id}", "balance.changed", about, detail, shop_id=shop_id, ip=ip)

    try:
        await db.transaction(write)
    except asyncpg.UniqueViolationError as error:
        if error.constraint_name != "ledger_entry_source_key":
            raise


PUT_IN_TODAY = """
SELECT coalesce(sum(entry.amount), 0)::bigint FROM ledger_note note JOIN ledger_entry entry ON entry.id = note.entry_id
JOIN ledger_account account ON account.id = entry.credit_id
WHERE note.staff_id = $1 AND account.shop_id = $2 AND entry.kind = 'balance_in' AND entry.at > $3
"""


async def _check_limit(tx: Tx, shop_id: int, staff_id: int, money: Money) -> None:
    """Money in a balance is as good as a refund: what takes two people there is not put in by one alone here.

    :raises Refused: with this, a day of that member of staff is above the limit, or it is another currency.
    """
    shop = await tx.fetchrow(
        "SELECT currency, (settings ->> 'refund_limit')::bigint AS most FROM shops_shop WHERE id = $1", shop_id
    )
    if shop["most"] is None:
        return
    await tx.execute("SELECT 1 FROM people_staff WHERE id = $1 FOR NO KEY UPDATE", staff_id)
    sum_of_day = await tx.fetchval(PUT_IN_TODAY, staff_id, shop_id, clock.now() - timedelta(days=1))
    if money.currency != shop["currency"] or sum_of_day > shop["most"]:
        most = Money(shop["most"], shop["currency"])
        raise Refused(_("More than %(limit)s in a day is put in by an owner alone.", limit=most), "amount")


# -- rows -------------------------------------------------------------------------------

FIND = """
SELECT id, shop_id, contact, account_id, amount, currency, changed_at FROM ledger_balance
WHERE shop_id = $1 AND contact = $2 AND currency = $3
"""


async def _find(tx: Tx, shop_id: int, contact: str, currency: str) -> Balance | None:
    row = await tx.fetchrow(FIND, shop_id, contact, currency)
    return _balance(row) if row else None


async def _open(tx: Tx, shop_id: int, contact: str, currency: str) -> Balance:
    found = await _find(tx, shop_id, contact, currency)
    if found is not None:
        return found
    # two who open the same balance at once: the second waits here and finds it
    await tx.execute("SELECT pg_advisory_xact_lock(hashtextextended($1, 0))", f"balance:{shop_id}:{contact}:{currency}")
    found = await _find(tx, shop_id, contact, currency)
    if found is not None:
        return found
    number = await tx.fetchval("SELECT nextval(pg_get_serial_sequence('ledger_balance', 'id'))")
    account_id = await ledger.account(tx, shop_id, CUSTOMER.format(number), currency)
    await tx.execute(
        "INSERT INTO ledger_balance (id, shop_id, contact, currency, account_id) OVERRIDING SYSTEM VALUE"
        " VALUES ($1, $2, $3, $4, $5)",
        number,
        shop_id,
        contact,
        currency,
        account_id,
    )
    opened = await _find(tx, shop_id, contact, currency)
    assert opened is not None  # noqa: S101 - it was written just now
    return opened


def _balance(row: asyncpg.Record) -> Balance:
    return Balance(
        id=row["id"],
        shop_id=row["shop_id"],
        contact=row["contact"],
        account_id=row["account_id"],
        money=Money(row["amount"], row["currency"]),
        changed_at=row["changed_at"],
    )


# -- looking ----------------------------------------------------------------------------


async def of_contact(shop_id: int, contact: str) -> list[Balance]:
    rows = await db.fetch(
        "SELECT * FROM ledger_balance WHERE shop_id = $1 AND contact = $2 ORDER BY currency", shop_id, contact
    )
    return [_balance(row) for row in rows]


PAYERS = """
SELECT proof.contact FROM people_contact_proof proof JOIN ledger_balance balance
    ON balance.shop_id = proof.shop_id AND balance.contact = proof.contact AND balance.currency = $3
WHERE proof.shop_id = $1 AND proof.session_hash = $2 AND proof.expires_at > $5 AND balance.amount >= $4
ORDER BY proof.expires_at DESC
"""


async def payers(shop_id: int, session_hash: bytes, money: Money) -> list[str]:
    """The contacts a session has proven and whose balance is enough for that much."""
    rows = await db.fetch(PAYERS, shop_id, session_hash, money.currency, money.amount, clock.now())
    return [row["contact"] for row in rows]


async def by_id(shop_id: int, balance_id: int) -> Balance | None:
    row = await db.fetchrow("SELECT * FROM ledger_balance WHERE shop_id = $1 AND id = $2", shop_id, balance_id)
    return _balance(row) if row else None


async def owed_to_all(shop_id: int) -> list[Money]:
    """What the shop owes to all buyers together, in each currency."""
    rows = await db.fetch(
        "SELECT currency, sum(amount)::bigint AS amount FROM ledger_balance WHERE shop_id = $1 GROUP BY 1 ORDER BY 1",
        shop_id,
    )
    return [Money(row["amount"], row["currency"]) for row in rows]


async def history(balance: Balance, limit: int, offset: int = 0) -> list[Change]:
    """What changed a balance, the newest first."""
    return [
        Change(
            entry_id=row["id"],
            kind=row["kind"],
            at=row["at"],
            money=Money(row["amount"], row["currency"]),
            order_ref=row["order_ref"],
            reason=row["reason"],
            staff=row["staff"],
        )
        for row in await db.fetch(HISTORY, balance.account_id, limit, offset)
    ]


OUT_OF_STEP = """
SELECT balance.id, balance.shop_id, balance.contact, balance.amount, balance.currency,
       coalesce(booked.amount, 0)::bigint AS booked
FROM ledger_balance balance LEFT JOIN (
    SELECT account_id, -sum(amount) AS amount FROM ledger_posting GROUP BY account_id
) AS booked ON booked.account_id = balance.account_id
WHERE balance.amount <> coalesce(booked.amount, 0) ORDER BY balance.id
"""


async def out_of_step() -> list[asyncpg.Record]:
    """Balances whose row says something else than the ledger: there must be none."""
    return await db.fetch(OUT_OF_STEP)
