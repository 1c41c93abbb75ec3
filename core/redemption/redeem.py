"""The till: look at a code, redeem it, void it. Every try leaves a row; a request id has one answer for ever."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum
from typing import Any, Literal
from zoneinfo import ZoneInfo

import msgspec

from core import clock, db
from core.audit import service as audit
from core.crash_point import crash_point
from core.redemption.issue import SINGLE_USE
from core.vault import own_code
from core.vault.cipher import fingerprint
from core.vault.generate import lookup

Act = Literal["verify", "redeem", "void"]
MOST_REASON = 300


class Outcome(StrEnum):
    """What came of a try; programs rely on these words."""

    OK = "ok"
    MISTYPED = "code_mistyped"
    UNKNOWN = "code_unknown"
    NOT_SOLD = "code_not_sold"
    USED = "code_used"
    EXPIRED = "code_expired"
    VOID = "code_void"
    NOT_ENOUGH = "balance_too_low"
    AMOUNT_NEEDED = "amount_needed"
    AMOUNT_NOT_ALLOWED = "amount_not_allowed"
    WRONG_CURRENCY = "wrong_currency"
    IN_CHECKOUT = "code_in_checkout"


MISSES = (Outcome.MISTYPED, Outcome.UNKNOWN)


class RequestReused(Exception):
    """This request id was used before, for something else. Nothing was done."""


@dataclass(frozen=True, slots=True)
class Till:
    """Who asks, and where. ``caller`` is ``staff:<id>`` or ``key:<id>``."""

    shop_id: int
    timezone: str
    caller: str
    place: str
    ip: str | None = None

    def today(self) -> date:
        return clock.now().astimezone(ZoneInfo(self.timezone)).date()


class Card(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a code. ``kind`` is ``single`` (one use) or ``value``; amounts are minor units."""

    kind: Literal["single", "value"]
    mask: str
    sku: str
    batch: str
    balance: int
    face_value: int | None
    currency: str | None
    expires_on: date | None
    first_used_at: datetime | None
    first_used_place: str | None
    voided_at: datetime | None
    void_reason: str | None


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """``amount`` is what this very request took off. ``card`` is as it was right after; null when no code was found."""

    id: int
    act: Act
    outcome: Outcome
    at: datetime
    amount: int | None = None
    card: Card | None = None

    @property
    def ok(self) -> bool:
        return self.outcome is Outcome.OK


@dataclass(frozen=True, slots=True)
class Wish:
    act: Act
    code: str
    request_id: str | None = None
    amount: int | None = None
    currency: str | None = None
    reason: str = ""


FACTS = """
SELECT voucher.code_id, voucher.balance, voucher.first_used_at, voucher.first_used_place, voucher.voided_at,
       voucher.void_reason, code.state, code.replaced_by, code.mask, code.expires_on, own.face_value, own.currency,
       sku.code AS sku, batch.name AS batch
FROM redemption_voucher voucher
JOIN vault_code code ON code.id = voucher.code_id
JOIN redemption_batch own ON own.batch_id = voucher.batch_id
JOIN vault_batch batch ON batch.id = voucher.batch_id
JOIN catalog_sku sku ON sku.id = code.sku_id
"""

# All that may refuse stands in the WHERE, and is asked again by PostgreSQL after it waited for another till.
TAKE = """
UPDATE redemption_voucher voucher
SET balance = voucher.balance - $2, first_used_at = coalesce(voucher.first_used_at, $3),
    first_used_place = coalesce(voucher.first_used_place, $4)
FROM vault_code code
WHERE voucher.code_id = $1 AND code.id = voucher.code_id AND voucher.voided_at IS NULL AND voucher.balance >= $2
  AND code.state IN ('delivered', 'staged') AND code.replaced_by IS NULL
  AND (code.expires_on IS NULL OR code.expires_on >= $5)
RETURNING true
"""

ASK = """
INSERT INTO redemption_try (shop_id, act, caller, request_id, wish, amount, place, ip, at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
ON CONFLICT (shop_id, caller, request_id) DO NOTHING RETURNING id
"""


async def verify(till: Till, code: str) -> Answer:
    """What this code is worth here and now. Changes nothing."""
    return await _try(till, Wish("verify", code))


async def redeem(
    till: Till, request_id: str, code: str, amount: int | None = None, currency: str | None = None
) -> Answer:
    """Use a code: all of it when it works once, ``amount`` of it when it is a value card.

    :raises RequestReused: when the request id stands for another wish.
    """
    return await _try(till, Wish("redeem", code, request_id, amount, currency))


async def redeem_rest(tx: db.Tx, till: Till, request_id: str, code: str) -> Answer:
    """Use all that is left on a value card, in the caller's transaction. A code that works once is only looked at.

    :raises RequestReused: when the request id stands for another wish.
    """
    body = own_code.read(code)
    seen = await _tried(tx, till, Wish("verify", code), body)
    if not seen.ok or seen.card is None or seen.card.kind != "value":
        return seen
    return await _tried(tx, till, Wish("redeem", code, request_id, seen.card.balance, seen.card.currency), body)


async def void(till: Till, request_id: str, code: str, reason: str) -> Answer:
    """Make a code worthless for ever.

    :raises RequestReused: when the request id stands for another wish.
    """
    return await _try(till, Wish("void", code, request_id, reason=reason[:MOST_REASON]))


async def answer_to(shop_id: int, caller: str, request_id: str) -> Answer | None:
    """The answer this caller got, or should have got, to a request."""
    row = await db.fetchrow(
        "SELECT answer FROM redemption_try WHERE shop_id = $1 AND caller = $2 AND request_id = $3",
        shop_id,
        caller,
        request_id,
    )
    return _stored(row) if row else None


async def _try(till: Till, wish: Wish) -> Answer:
    # what cannot be one of our codes is not looked for
    answer = await db.transaction(_tried, till, wish, own_code.read(wish.code))
    crash_point("redemption.written")
    return answer


async def _tried(tx: db.Tx, till: Till, wish: Wish, body: str | None) -> Answer:
    now = clock.now()
    mark = _mark(till, wish)
    try_id = await tx.fetchval(
        ASK, till.shop_id, wish.act, till.caller, wish.request_id, mark, wish.amount, till.place, till.ip, now
    )
    if try_id is None:
        return await _answered_before(tx, till, wish, mark)
    facts = None if body is None else await _found(tx, till.shop_id, body)
    outcome = Outcome.MISTYPED if body is None else await _done(tx, till, wish, facts, now)
    changed = wish.act != "verify" and outcome is Outcome.OK
    if facts is not None and wish.act != "verify":
        facts = await _facts(tx, facts["code_id"])
    answer = Answer(
        id=try_id,
        act=wish.act,
        outcome=outcome,
        at=now,
        amount=_taken(wish, facts) if changed and wish.act == "redeem" else None,
        card=_card(facts) if facts else None,
    )
    await tx.execute(
        "UPDATE redemption_try SET outcome = $2, code_id = $3, amount = $4, answer = $5 WHERE id = $1",
        try_id,
        outcome.value,
        facts and facts["code_id"],
        answer.amount,
        msgspec.to_builtins(answer),
    )
    return answer


def _mark(till: Till, wish: Wish) -> bytes | None:
    """Tells two wishes under one request id apart. Keyed, for the code is in it."""
    if wish.request_id is None:
        return None
    parts = (wish.act, own_code.compact(wish.code), wish.amount, wish.currency, wish.reason, till.place)
    return fingerprint(till.shop_id, "wish " + msgspec.json.encode(parts).decode())


async def _answered_before(tx: db.Tx, till: Till, wish: Wish, mark: bytes | None) -> Answer:
    row = await tx.fetchrow(
        "SELECT wish, answer FROM redemption_try WHERE shop_id = $1 AND caller = $2 AND request_id = $3",
        till.shop_id,
        till.caller,
        wish.request_id,
    )
    assert row is not None  # noqa: S101 - the insert ran into it, and such rows are never deleted
    if row["wish"] != mark:
        raise RequestReused
    return _stored(row)


def _stored(row: Any) -> Answer:
    return msgspec.convert(row["answer"], Answer)


async def _found(tx: db.Tx, shop_id: int, body: str) -> Any:
    return await tx.fetchrow(
        f"{FACTS} WHERE voucher.shop_id = $1 AND voucher.lookup = $2", shop_id, lookup(shop_id, body)
    )


async def _facts(tx: db.Tx, code_id: int) -> Any:
    return await tx.fetchrow(f"{FACTS} WHERE voucher.code_id = $1", code_id)


async def _done(tx: db.Tx, till: Till, wish: Wish, facts: Any, now: datetime) -> Outcome:
    if facts is None:
        return Outcome.UNKNOWN
    if wish.act == "void":
        return await _void(tx, till, wish, facts, now)
    refusal = _refusal(facts, till, wish)
    if refusal or wish.act == "verify":
        return refusal or Outcome.OK
    taken = await tx.fetchval(TAKE, facts["code_id"], _taken(wish, facts), now, till.place, till.today())
    if taken:
        crash_point("redemption.taken")
        return Outcome.OK
    # somebody was faster: say what it is now
    return _refusal(await _facts(tx, facts["code_id"]), till, wish) or Outcome.USED


def _taken(wish: Wish, facts: Any) -> int:
    return SINGLE_USE if facts["face_value"] is None else wish.amount or 0


def _refusal(facts: Any, till: Till, wish: Wish) -> Outcome | None:
    """Why this is not possible, the most final reason first."""
    if facts["voided_at"] is not None or facts["replaced_by"] is not None:
        return Outcome.VOID
    if facts["balance"] == 0:
        return Outcome.USED
    if facts["expires_on"] is not None and facts["expires_on"] < till.today():
        return Outcome.EXPIRED
    if facts["state"] not in ("delivered", "staged"):
        return Outcome.NOT_SOLD
    return None if wish.act == "verify" else _wrong_amount(facts, wish)


def _wrong_amount(facts: Any, wish: Wish) -> Outcome | None:
    if facts["face_value"] is None:
        return Outcome.AMOUNT_NOT_ALLOWED if wish.amount is not None or wish.currency is not None else None
    if wish.amount is None:
        return Outcome.AMOUNT_NEEDED
    if wish.currency != facts["currency"]:
        return Outcome.WRONG_CURRENCY
    return Outcome.NOT_ENOUGH if wish.amount > facts["balance"] else None


VOID = """
UPDATE redemption_voucher SET voided_at = $2, void_reason = $3 WHERE code_id = $1 AND voided_at IS NULL RETURNING true
"""


async def _void(tx: db.Tx, till: Till, wish: Wish, facts: Any, now: datetime) -> Outcome:
    if facts["voided_at"] is not None:
        return Outcome.VOID
    # what is not sold yet must not be sold any more; what somebody is about to pay for is theirs
    await tx.execute(
        "UPDATE vault_code SET state = 'void' WHERE id = $1 AND state IN ('free', 'staged', 'quarantined')",
        facts["code_id"],
    )
    if await tx.fetchval("SELECT state FROM vault_code WHERE id = $1", facts["code_id"]) == "reserved":
        return Outcome.IN_CHECKOUT
    if not await tx.fetchval(VOID, facts["code_id"], now, wish.reason):
        return Outcome.VOID
    await audit.record(
        tx,
        till.caller,
        "code.voided",
        f"code:{facts['code_id']}",
        {"reason": wish.reason, "balance": facts["balance"]},
        shop_id=till.shop_id,
        ip=till.ip,
    )
    return Outcome.OK


async def void_codes(tx: db.Tx, code_ids: list[int], reason: str) -> set[int]:
    """Void those of these codes that are our own and were never used, for a refund; gives which."""
    rows = await tx.fetch(
        "UPDATE redemption_voucher SET voided_at = $2, void_reason = $3"
        " WHERE code_id = ANY($1) AND voided_at IS NULL AND first_used_at IS NULL RETURNING code_id",
        code_ids,
        clock.now(),
        reason[:MOST_REASON],
    )
    return {row["code_id"] for row in rows}


async def replaced(tx: db.Tx, code_id: int) -> bool:
    """Another code is given for this one, which is worth nothing from now on. False: it is our own and was used.

    The voucher itself is voided, so that a till at the same moment waits for this and finds nothing to take.
    """
    voucher = await tx.fetchrow(
        "SELECT first_used_at IS NOT NULL AS used FROM redemption_voucher WHERE code_id = $1 FOR UPDATE", code_id
    )
    if voucher is None:
        return True
    if voucher["used"]:
        return False
    await tx.execute(
        "UPDATE redemption_voucher SET voided_at = $2, void_reason = 'replaced'"
        " WHERE code_id = $1 AND voided_at IS NULL",
        code_id,
        clock.now(),
    )
    return True


def _card(facts: Any) -> Card:
    return Card(
        kind="single" if facts["face_value"] is None else "value",
        mask=facts["mask"],
        sku=facts["sku"],
        batch=facts["batch"],
        balance=facts["balance"],
        face_value=facts["face_value"],
        currency=facts["currency"],
        expires_on=facts["expires_on"],
        first_used_at=facts["first_used_at"],
        first_used_place=facts["first_used_place"],
        voided_at=facts["voided_at"],
        void_reason=facts["void_reason"],
    )
