"""Place an order: order, lines, reserved codes and the first payment attempt, in one statement."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from ipaddress import ip_address
from typing import Any

import asyncpg

from core import clock, db
from core.checkout import free
from core.checkout.discounts import UsedUp, is_used_up, with_discounts
from core.checkout.evidence import with_evidence
from core.checkout.giving import with_gift
from core.crash_point import crash_point
from core.db import Tx
from core.ids import new_ref, new_token, token_hash
from core.orders.gifts import Gift
from core.people import forgotten
from core.pricing.quote import LineRefused, Quote, QuoteLine
from core.refused import Refused
from core.review.assess import NOTHING_FOUND, Verdict
from core.shops.service import Shop
from core.supply import skus as supply
from core.together import Together
from core.vault import stock
from core.vault.cipher import seal_secret
from core.web.i18n import _

TOKEN_PURPOSE = "order-token"  # noqa: S105 - the name of a purpose
LOOKS_BEFORE_SOLD_OUT = 4
RACES_FOR_A_PLACE = 50
PLACES = ("orders_order_contact_slot", "orders_order_address_slot")


Answers = Mapping[str, Mapping[str, str]]
"""What the buyer answered to the questions of each SKU, by its code."""


class SoldOut(LineRefused):
    """Not enough is left of ``skus``; nothing was reserved or charged, also of what there is enough of."""

    def __init__(self, lines: Sequence[QuoteLine]) -> None:
        words = _("Sold out: the last ones were just taken. You have not been charged.")
        super().__init__(words, "quantity", [line.sku.code for line in lines])


class TooManyOpen(Refused):
    """This buyer already holds as many unpaid orders as one may."""

    def __init__(self) -> None:
        super().__init__(_("You have unpaid orders already. Pay or cancel one of them, or wait until it expires."))


class OrderedAlready(Refused):
    """The form placed an order before, and now says something else: what, the buyer must hear."""

    def __init__(self) -> None:
        super().__init__(
            _(
                "This form has placed an order already, and what you changed is not in it. You find it under My orders."
                " To place a second order with what is below, send it again."
            )
        )


class _CodesTaken(Exception):
    pass


@dataclass(frozen=True, slots=True)
class Buyer:
    """Who asks: the contact, and the session that will be let in to the order."""

    contact_kind: str
    contact: str
    session_hash: bytes
    session_is_new: bool
    ip: str
    agent: str
    locale: str


@dataclass(frozen=True, slots=True)
class Chosen:
    """How the buyer wants to pay."""

    method: str
    label: dict[str, str]
    option: str
    test: bool
    prepare: Prepare | None = None
    """Works out the buyer's next step beforehand, for a method that needs no call for it."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """The next step as it is stored, and when the gateway is asked first."""

    started: dict[str, Any]
    next_query_at: datetime | None


Prepare = Callable[[str, datetime, datetime], Awaitable[Prepared | None]]


@dataclass(frozen=True, slots=True)
class Placed:
    order_id: int
    ref: str
    attempt_ref: str
    expires_at: datetime
    is_new: bool
    started: bool = False
    jobs: tuple[int, ...] = ()
    """To ring for: only an order that was placed with nothing to pay has some yet."""
    token: str = field(repr=False, default="")


# Claim, order, lines, access and first attempt of each order in one statement, so that no transaction stays open
# between them. It writes nothing at all for an order unless every code of it was claimed, a place among the buyer's
# open orders is free and the key is new. The claim is the one of core.vault.stock, once for each SKU; what was
# claimed goes to the orders in the order of their places, first those that come first.
PLACE = """
WITH form AS MATERIALIZED (
    SELECT * FROM jsonb_to_recordset($1) AS form (
        place int, shop_id bigint, ref text, key text, contact text, contact_kind text, locale text, ip inet,
        address inet, agent text, currency text, total bigint, token_hash text, token_sealed text, session_hash text,
        session_is_new boolean, test boolean, expires_at timestamptz, contact_places int[], address_places int[],
        held boolean, method text, label jsonb, option text, started jsonb, next_query_at timestamptz, slot int,
        items jsonb)
), item AS MATERIALIZED (
    SELECT form.place, form.slot, item.* FROM form CROSS JOIN LATERAL jsonb_to_recordset(form.items) AS item (
        sku_id bigint, product_id bigint, product_title jsonb, sku_title jsonb, sku_code text, delivery_note jsonb,
        quantity int, unit_price bigint, total bigint, fields jsonb, first_slot int, claims int, source text)
), share AS MATERIALIZED (
    SELECT place, sku_id, claims, sum(claims) OVER (PARTITION BY sku_id ORDER BY place) AS upto
    FROM item WHERE claims > 0
), wanted AS (
    SELECT sku_id, max(first_slot) AS first_slot, min(slot) AS slot, sum(claims) AS claims
    FROM item WHERE claims > 0 GROUP BY sku_id
), claimed AS MATERIALIZED (
    SELECT wanted.sku_id, code.id, row_number() OVER (PARTITION BY wanted.sku_id) AS number
    FROM wanted CROSS JOIN LATERAL (
        SELECT coalesce(min(nearest.bucket) + (wanted.slot & 131071), wanted.slot) AS low,
               coalesce(min(nearest.bucket) + 131071, 2147483647) AS high
        FROM (SELECT slot >> 17 << 17 AS bucket FROM vault_code
              WHERE sku_id = wanted.sku_id AND state = 'free' AND slot >= wanted.first_slot AND slot < 0
              ORDER BY slot LIMIT 1) AS nearest
    ) AS start CROSS JOIN LATERAL (
        WITH first AS MATERIALIZED (
            SELECT id FROM vault_code WHERE sku_id = wanted.sku_id AND state = 'free'
                AND slot >= start.low AND slot <= start.high
            ORDER BY slot LIMIT wanted.claims FOR UPDATE SKIP LOCKED
        ), rest AS MATERIALIZED (
            SELECT id FROM vault_code WHERE sku_id = wanted.sku_id AND state = 'free' AND slot >= wanted.first_slot
                AND NOT (slot >= start.low AND slot <= start.high)
            ORDER BY slot LIMIT wanted.claims - (SELECT count(*) FROM first) FOR UPDATE SKIP LOCKED
        )
        SELECT id FROM first UNION ALL SELECT id FROM rest
    ) AS code
), free AS MATERIALIZED (
    SELECT form.place, NOT EXISTS (
               SELECT 1 FROM share WHERE share.place = form.place
                   AND share.upto > (SELECT count(*) FROM claimed WHERE claimed.sku_id = share.sku_id)) AS codes,
           (SELECT min(n) FROM unnest(form.contact_places) AS n WHERE NOT EXISTS (
                SELECT 1 FROM orders_order WHERE shop_id = form.shop_id AND contact = form.contact AND contact_slot = n
                    AND payment_state = 'unpaid' AND fulfilment_state = 'reserved')) AS by_contact,
           (SELECT min(n) FROM unnest(form.address_places) AS n WHERE NOT EXISTS (
                SELECT 1 FROM orders_order WHERE address = form.address AND address_slot = n
                    AND payment_state = 'unpaid' AND fulfilment_state = 'reserved')) AS by_address
    FROM form
), added AS (
    INSERT INTO orders_order (shop_id, ref, key, contact, contact_kind, locale, ip, address, agent, currency, total,
                              token_hash, token_sealed, test, expires_at, contact_slot, address_slot, held)
    SELECT shop_id, ref, key, contact, contact_kind, locale, ip, address, agent, currency, total,
           decode(token_hash, 'hex'), decode(token_sealed, 'hex'), test, expires_at, by_contact, by_address, held
    FROM form JOIN free USING (place)
    WHERE codes AND by_contact IS NOT NULL AND by_address IS NOT NULL
    ON CONFLICT (shop_id, key) DO NOTHING RETURNING id, ref
), placed AS MATERIALIZED (
    SELECT added.id, decode(form.session_hash, 'hex') AS session, form.* FROM added JOIN form USING (ref)
), session AS (
    INSERT INTO people_session (id_hash, kind, expires_at, ip, agent)
    SELECT session, 'buyer', now() + interval '30 days', ip, agent FROM placed WHERE session_is_new
    ON CONFLICT DO NOTHING
), access AS (
    INSERT INTO orders_access (order_id, session_hash, how) SELECT id, session, 'bought' FROM placed
), event AS (
    INSERT INTO orders_event (order_id, kind, actor, data)
    SELECT id, 'placed', 'buyer', jsonb_build_object('total', total, 'currency', currency) FROM placed
), attempt AS (
    INSERT INTO payments_attempt (ref, order_id, method, label, option, amount, currency, state, started, next_query_at)
    SELECT ref || '-1', id, method, label, option, total, currency,
           CASE WHEN started IS NULL THEN 'created' ELSE 'waiting' END, started, next_query_at
    FROM placed WHERE method <> ''
), line AS (
    INSERT INTO orders_line (order_id, sku_id, product_id, product_title, sku_title, sku_code, delivery_note,
                             quantity, unit_price, total, fields, source)
    SELECT placed.id, item.sku_id, item.product_id, item.product_title, item.sku_title, item.sku_code,
           item.delivery_note, item.quantity, item.unit_price, item.total, item.fields, item.source
    FROM placed JOIN item USING (place) RETURNING id, order_id, sku_id
), given AS MATERIALIZED (
    SELECT claimed.id, line.id AS line_id, placed.expires_at
    FROM placed JOIN line ON line.order_id = placed.id
    JOIN share ON share.place = placed.place AND share.sku_id = line.sku_id
    JOIN claimed ON claimed.sku_id = line.sku_id
        AND claimed.number > share.upto - share.claims AND claimed.number <= share.upto
), reserved AS (
    -- by array and not by join: the planner expects a million claims and would read the whole stock to join them
    UPDATE vault_code SET state = 'reserved',
        reserved_until = (SELECT expires_at FROM given WHERE given.id = vault_code.id),
        line_id = (SELECT line_id FROM given WHERE given.id = vault_code.id)
    WHERE id = ANY(ARRAY(SELECT id FROM given))
)
"""
PLACED = "SELECT free.place, placed.id, free.codes FROM free LEFT JOIN placed USING (place)"
_placing = Together(PLACE + PLACED)

BOUGHT = """
SELECT coalesce(sum(line.quantity), 0) FROM orders_line line JOIN orders_order o ON o.id = line.order_id
WHERE o.shop_id = $1 AND o.contact = ANY($2) AND line.sku_id = $3
  AND o.payment_state NOT IN ('expired', 'cancelled', 'refunded')
"""

ALREADY = """
SELECT o.id, o.ref, o.expires_at, attempt.ref AS attempt_ref, o.contact, gift.recipient, gift.message, gift.send_at,
    (SELECT jsonb_object_agg(sku_code, jsonb_build_array(quantity, fields))
     FROM orders_line WHERE order_id = o.id) AS items
FROM orders_order o
JOIN orders_access access ON access.order_id = o.id AND access.session_hash = $3
LEFT JOIN payments_attempt attempt ON attempt.order_id = o.id
LEFT JOIN orders_gift gift ON gift.order_id = o.id
WHERE o.shop_id = $1 AND o.key = $2 ORDER BY attempt.id DESC LIMIT 1
"""


async def place(
    shop: Shop,
    quote: Quote,
    answers: Answers,
    buyer: Buyer,
    chosen: Chosen,
    key: str,
    verdict: Verdict = NOTHING_FOUND,
    gift: Gift | None = None,
) -> Placed:
    """Place the order of ``quote`` and reserve its codes for the shop's reservation time.

    ``key`` is the form's idempotency key: a second click gives the first order back. ``verdict`` is stored with it.

    :raises SoldOut: not enough free codes; nothing was changed.
    :raises TooManyOpen: the caps on open reservations per contact and address are reached.
    :raises UsedUp: the limit of a discount was reached meanwhile; nothing was changed.
    :raises OrderedAlready: this buyer placed an order with that key, and it says something else.
    :raises Refused: a per-buyer limit, or a key that belongs to somebody else's order.
    """
    looks, races = LOOKS_BEFORE_SOLD_OUT, RACES_FOR_A_PLACE
    while True:
        await check_supplied(quote)
        try:
            placed = await _place(shop, quote, answers, buyer, chosen, key, verdict, gift)
            crash_point("checkout.placed")
            return placed
        except _CodesTaken:
            short = await lines_short(quote)
            elsewhere = [line for line in short if line.sku.source != "codes"]
            if elsewhere:
                quote = bought_instead(quote, elsewhere)
                continue
            # Codes that another buyer holds locked look taken but may come back when that one is refused.
            looks -= 1
            if not looks or await certainly_short(short):
                raise SoldOut(short) from None
            await asyncio.sleep(0.02 * (LOOKS_BEFORE_SOLD_OUT - looks))
        except asyncpg.UniqueViolationError as error:
            # Another request of the same buyer took that place among the open orders; look for the next one.
            if error.constraint_name not in PLACES:
                raise
            races -= 1
            if not races:
                raise TooManyOpen from None


async def check_supplied(quote: Quote) -> None:
    """Goods that are bought or made after the order is paid cannot be reserved; what is known of them is asked.

    :raises SoldOut: there are not enough for this order and those before it.
    """
    wanted = {line.sku.id: line.quantity for line in quote.lines if not line.claims}
    if wanted and not await supply.enough(wanted):
        lines = [line for line in quote.lines if line.sku.id in wanted]
        raise SoldOut([line for line in lines if not await supply.enough({line.sku.id: line.quantity})])


async def lines_short(quote: Quote) -> list[QuoteLine]:
    """Whose codes there are not enough of, after they could not be claimed: of one line it is that, of several those
    that the stock says; where it has enough of all they were only locked, and it may be any."""
    claiming = [line for line in quote.lines if line.claims]
    if len(claiming) == 1:
        return claiming
    free = await stock.free_counts([line.sku.id for line in claiming])
    return [line for line in claiming if free[line.sku.id] < line.claims] or claiming


def bought_instead(quote: Quote, short: Sequence[QuoteLine]) -> Quote:
    """Our own codes ran out: the same order with these lines bought where their SKUs may be."""
    lines = tuple(
        replace(line, sku=replace(line.sku, own_first=False)) if line in short else line for line in quote.lines
    )
    return replace(quote, lines=lines)


async def certainly_short(lines: Sequence[QuoteLine]) -> bool:
    """Whether there are too few codes for one of these lines, even if all that are locked come back."""
    free = await stock.free_counts([line.sku.id for line in lines])
    return any(free[line.sku.id] < line.claims for line in lines)


async def _place(
    shop: Shop,
    quote: Quote,
    answers: Answers,
    buyer: Buyer,
    chosen: Chosen,
    key: str,
    verdict: Verdict,
    gift: Gift | None,
) -> Placed:
    draft = await _draft(shop, quote, answers, buyer, chosen, key, verdict=verdict, gift=gift)
    jobs: list[int] = []
    locks = _locks(shop, quote, buyer, chosen)
    try:
        if locks:
            placed, jobs = await db.transaction(_step_by_step, shop, quote, buyer, chosen, draft, locks=locks)
        elif draft.values:
            [placed] = await db.steadily(*draft.whole())
        else:
            placed = await _placing.run(draft.row, buyer.contact, *filter(None, [draft.row["address"]]))
    except asyncpg.ForeignKeyViolationError:
        raise Refused(_("Your visit has expired. Reload the page and try again.")) from None
    except asyncpg.NotNullViolationError as error:
        if not is_used_up(error):
            raise
        raise UsedUp(quote) from None
    crash_point("checkout.reserved")
    if placed["id"] is None:
        return await _already(shop, quote, answers, buyer, key, gift, codes_there=placed["codes"])
    return replace(draft.placed(placed["id"]), jobs=tuple(jobs))


def _locks(shop: Shop, quote: Quote, buyer: Buyer, chosen: Chosen) -> list[int]:
    """What an order waits for: none for the ordinary one, which is a single statement of one line.

    Orders that want several things queue for each of them. Else two could each hold the last code that the other
    needs, and both be told that it is sold out.
    """
    names = [f"sku:{line.sku.id}" for line in quote.lines if line.claims] if len(quote.lines) > 1 else []
    if _is_free(quote, chosen) or any(line.sku.max_per_buyer is not None for line in quote.lines):
        names.append(f"contact:{shop.id}:{buyer.contact}")
    return [lock_key(name) for name in names]


async def place_in(
    tx: Tx,
    shop: Shop,
    quote: Quote,
    answers: Answers,
    buyer: Buyer,
    chosen: Chosen,
    key: str,
    place_number: int,
) -> Placed | None:
    """The same within the caller's transaction, for a program that pays at once. None: not enough free codes.

    The caller has made sure that ``key`` is new. ``place_number`` is the place its order takes among the open
    ones of this contact: any number, as the order is paid before anybody sees it open.
    """
    draft = await _draft(shop, quote, answers, buyer, chosen, key, [place_number])
    placed = await tx.fetchrow(*draft.whole())
    return draft.placed(placed["id"]) if placed and placed["id"] is not None else None


@dataclass(frozen=True, slots=True)
class _Draft:
    ref: str
    token: str = field(repr=False)
    expires_at: datetime
    started: bool
    row: Mapping[str, Any] = field(repr=False)
    statement: str
    """``PLACE``, and what is written beside."""
    values: tuple[Any, ...] = field(repr=False)
    """Of that, from the second on."""

    def whole(self) -> tuple[Any, ...]:
        """The statement with all its values, for this order alone."""
        return f"{self.statement}{PLACED}", [{**self.row, "place": 0}], *self.values

    def placed(self, order_id: int) -> Placed:
        return Placed(
            order_id,
            self.ref,
            f"{self.ref}-1",
            self.expires_at,
            is_new=True,
            started=self.started,
            token=self.token,
        )


async def _draft(
    shop: Shop,
    quote: Quote,
    answers: Answers,
    buyer: Buyer,
    chosen: Chosen,
    key: str,
    places: Sequence[int] | None = None,
    verdict: Verdict = NOTHING_FOUND,
    gift: Gift | None = None,
) -> _Draft:
    """An order as ``PLACE`` wants it."""
    ref, token = new_ref("V"), new_token()
    now = clock.now()
    expires_at = now + timedelta(minutes=shop.settings.reservation_minutes)
    step = await chosen.prepare(ref, now, expires_at) if chosen.prepare else None
    row = {
        "shop_id": shop.id,
        "ref": ref,
        "key": key,
        "contact": buyer.contact,
        "contact_kind": buyer.contact_kind,
        "locale": buyer.locale,
        "ip": buyer.ip or None,
        "address": _counted_address(buyer.ip),
        "agent": buyer.agent[:300],
        "currency": quote.total.currency,
        "total": quote.total.amount,
        "token_hash": token_hash(token).hex(),
        "token_sealed": seal_secret(TOKEN_PURPOSE, token.encode()).hex(),
        "session_hash": buyer.session_hash.hex(),
        "session_is_new": buyer.session_is_new,
        "test": chosen.test,
        "expires_at": expires_at.isoformat(),
        "contact_places": list(places or range(1, shop.settings.open_orders_per_contact + 1)),
        "address_places": list(range(1, shop.settings.open_orders_per_address + 1)),
        "held": verdict.held,
        "method": chosen.method,
        "label": chosen.label,
        "option": chosen.option,
        "started": step.started if step else None,
        "next_query_at": step.next_query_at.isoformat() if step and step.next_query_at else None,
        "slot": stock.random_slot(),
        "items": [_line(line, answers, stock.today(shop.timezone, now)) for line in quote.lines],
    }
    statement, values = with_evidence(*with_discounts(*with_gift(PLACE, (), gift), quote), verdict)
    return _Draft(ref, token, expires_at, step is not None, row, statement, values)


def _line(line: QuoteLine, answers: Answers, today: date) -> dict[str, Any]:
    sku = line.sku
    return {
        "sku_id": sku.id,
        "product_id": sku.product_id,
        "product_title": sku.product_title,
        "sku_title": sku.title,
        "sku_code": sku.code,
        "delivery_note": sku.delivery_note,
        "quantity": line.quantity,
        "unit_price": line.unit_price.amount,
        "total": line.total.amount,
        "fields": dict(answers.get(sku.code, {})),
        "first_slot": stock.first_slot(today + timedelta(days=sku.min_days_left)),
        "claims": line.claims,
        "source": "codes" if line.claims else sku.source,
    }


async def placed_before(shop: Shop, buyer: Buyer, key: str) -> bool:
    """Whether this buyer has placed an order with this form already."""
    return await db.fetchrow(ALREADY, shop.id, key, buyer.session_hash) is not None


async def first_click(
    shop: Shop, quote: Quote, answers: Answers, buyer: Buyer, key: str, gift: Gift | None
) -> Placed | None:
    """The order this buyer has placed with this form already.

    :raises OrderedAlready: it is not the one that is wanted now.
    """
    row = await db.fetchrow(ALREADY, shop.id, key, buyer.session_hash)
    if row is None:
        return None
    items = {line.sku.code: [line.quantity, dict(answers.get(line.sku.code, {}))] for line in quote.lines}
    given = (gift.recipient, gift.message, gift.send_at) if gift else (None, None, None)
    if (row["contact"], row["items"], row["recipient"], row["message"], row["send_at"]) != (
        buyer.contact,
        items,
        *given,
    ):
        raise OrderedAlready
    return Placed(row["id"], row["ref"], row["attempt_ref"] or "", row["expires_at"], is_new=False)


async def _already(
    shop: Shop, quote: Quote, answers: Answers, buyer: Buyer, key: str, gift: Gift | None, *, codes_there: bool
) -> Placed:
    """Nothing was placed: the key was used before, the codes are gone, or this buyer holds too many unpaid orders."""
    first = await first_click(shop, quote, answers, buyer, key, gift)
    if first is not None:
        return first
    if await db.fetchval("SELECT EXISTS (SELECT 1 FROM orders_order WHERE shop_id = $1 AND key = $2)", shop.id, key):
        raise Refused(_("This form was used already. Reload the page and try again."))
    if not codes_there:
        raise _CodesTaken
    raise TooManyOpen


def _is_free(quote: Quote, chosen: Chosen) -> bool:
    return quote.total.amount == 0 and not chosen.method


async def _step_by_step(
    tx: Tx, shop: Shop, quote: Quote, buyer: Buyer, chosen: Chosen, draft: _Draft
) -> tuple[Any, list[int]]:
    """The same statement after counting what this buyer has, and the goods when there is nothing to pay."""
    await _check_buyer_limits(tx, shop, quote, buyer)
    placed = await tx.fetchrow(*draft.whole())
    if placed["id"] is None or not _is_free(quote, chosen):
        return placed, []
    return placed, await free.settle_in(tx, placed["id"])


async def _check_buyer_limits(tx: Tx, shop: Shop, quote: Quote, buyer: Buyer) -> None:
    """The caller's lock queues orders of one buyer."""
    names = forgotten.names(shop.id, buyer.contact)
    for line in quote.lines:
        most = line.sku.max_per_buyer
        if most is not None and await tx.fetchval(BOUGHT, shop.id, names, line.sku.id) + line.quantity > most:
            words = _("One buyer may have at most %(most)d of these.", most=most)
            raise LineRefused(words, "quantity", [line.sku.code])


def _counted_address(ip: str) -> str | None:
    """Behind a proxy that was not named, every buyer comes from loopback: that says nothing about them."""
    return ip if ip and not ip_address(ip).is_loopback else None


def lock_key(name: str) -> int:
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "big", signed=True)
