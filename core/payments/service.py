"""Payment attempts: begin one, start it at the gateway, ask the gateway about silent ones."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from core import clock, db
from core.catalog.service import words
from core.db import Tx
from core.money import Money
from core.orders import timeline
from core.payments import calls, money
from core.payments.method import (
    Attempt,
    Claim,
    GatewayRefused,
    GatewayUnavailable,
    Instructions,
    PaymentMethod,
    PostForm,
    QrCode,
    Redirect,
    Started,
    Step,
)
from core.payments.purse import AttemptPurse
from core.refused import Refused
from core.shops import service as shops
from core.tasks import strangers_code
from core.vault.code_text import storable
from core.web.i18n import _

log = logging.getLogger("vouchsafe.payments")

START_SECONDS = 12
PLUGIN_MAY_BE_BACK = timedelta(minutes=1)
PLUGIN_STAYS_AWAY = timedelta(days=3)
MOST_ATTEMPTS = 10
LONGEST_QR = 2331
"""Bytes that fit into the largest code, as :func:`core.web.qr.qr` draws it."""

ATTEMPT = """
SELECT attempt.*, o.ref AS order_ref, o.locale, o.ip, o.agent, o.expires_at, o.payment_state, o.shop_id,
       (SELECT line.product_title FROM orders_line line WHERE line.order_id = o.id ORDER BY line.id LIMIT 1) AS title
FROM payments_attempt attempt JOIN orders_order o ON o.id = attempt.order_id
"""


@dataclass(frozen=True, slots=True)
class StoredAttempt:
    """An attempt's row with what a gateway needs to know of its order."""

    id: int
    order_id: int
    shop_id: int
    method: str
    state: str
    payment_state: str
    queries: int
    started: dict[str, Any] | None
    view: Attempt


async def load_attempt(ref: str, base_url: str) -> StoredAttempt | None:
    row = await db.fetchrow(ATTEMPT + "WHERE attempt.ref = $1", ref)
    return await _stored(row, base_url) if row else None


async def attempts_to_query(base_url: str, limit: int = 50) -> list[StoredAttempt]:
    """Attempts that stayed silent longer than their method allows."""
    rows = await db.fetch(
        ATTEMPT + "WHERE attempt.next_query_at <= now() ORDER BY attempt.next_query_at LIMIT $1", limit
    )
    return [await _stored(row, base_url) for row in rows]


async def _stored(row: Any, base_url: str) -> StoredAttempt:
    shop = await shops.by_id(row["shop_id"])
    return StoredAttempt(
        id=row["id"],
        order_id=row["order_id"],
        shop_id=row["shop_id"],
        method=row["method"],
        state=row["state"],
        payment_state=row["payment_state"],
        queries=row["queries"],
        started=row["started"],
        view=view(
            ref=row["ref"],
            order_ref=row["order_ref"],
            method=row["method"],
            amount=Money(row["amount"], row["currency"]),
            title=row["title"] or {},
            option=row["option"],
            locale=row["locale"],
            ip=str(row["ip"]) if row["ip"] else "",
            agent=row["agent"],
            base_url=base_url,
            shop_address=shops.address(shop.host, base_url),
            created_at=row["created_at"],
            expires_at=row["expires_at"],
            gateway_ref=row["gateway_ref"],
        ),
    )


def view(
    *,
    ref: str,
    order_ref: str,
    method: str,
    amount: Money,
    title: dict[str, str],
    option: str,
    locale: str,
    ip: str,
    agent: str,
    base_url: str,
    shop_address: str,
    created_at: datetime,
    expires_at: datetime,
    gateway_ref: str | None = None,
) -> Attempt:
    """An attempt as its payment method sees it: gateways call the server, buyers return to the shop of the order."""
    return Attempt(
        ref=ref,
        order_ref=order_ref,
        amount=amount,
        title=words(title, locale) or order_ref,
        option=option,
        locale=locale,
        client_ip=ip,
        device=device(agent),
        notify_url=f"{base_url}/pay/{method}/notify",
        return_url=f"{shop_address}/pay/{method}/return?order={order_ref}",
        created_at=created_at,
        expires_at=expires_at,
        gateway_ref=gateway_ref,
    )


def device(agent: str) -> str:
    """``pc``, ``mobile``, ``wechat`` or ``alipay``: which page a gateway should show."""
    lowered = agent.lower()
    for sign, name in (("micromessenger", "wechat"), ("alipayclient", "alipay"), ("mobile", "mobile")):
        if sign in lowered:
            return name
    return "mobile" if "android" in lowered else "pc"


async def begin(tx: Tx, order_id: int, method: PaymentMethod, option: str) -> str:
    """A further attempt for an unpaid order (another method, or another try); its row comes before the gateway."""
    order = await tx.fetchrow("SELECT * FROM orders_order WHERE id = $1 FOR UPDATE", order_id)
    missing = await _missing(tx, order) if order else 0
    if order is None or missing <= 0:
        raise Refused(_("This order cannot be paid any more."))
    if method.test_only != order["test"]:
        raise Refused(_("This order cannot be paid that way."))
    number = await tx.fetchval("SELECT count(*) + 1 FROM payments_attempt WHERE order_id = $1", order_id)
    if number > MOST_ATTEMPTS:
        raise Refused(_("There were too many tries to pay this order. Please place a new one."))
    ref = f"{order['ref']}-{number}"
    await tx.execute(
        "INSERT INTO payments_attempt (ref, order_id, method, label, option, amount, currency)"
        " VALUES ($1, $2, $3, $4, $5, $6, $7)",
        ref,
        order_id,
        method.key,
        label(method, option),
        option,
        missing,
        order["currency"],
    )
    await timeline.add(tx, order_id, "payment_begun", "buyer", {"method": method.key, "option": option, "attempt": ref})
    return ref


async def _missing(tx: Tx, order: Any) -> int:
    """What is still to be paid: all of it, or what was paid too little. For the latter there is time again."""
    if order["payment_state"] == "unpaid":
        return int(order["total"])
    if order["payment_state"] != "mismatch" or order["fulfilment_state"] != "review":
        return 0
    missing = order["total"] - await money.here(tx, order["id"], order["currency"])
    await tx.execute(
        "UPDATE orders_order SET expires_at = greatest(expires_at, now() + (SELECT make_interval(mins =>"
        " coalesce((settings ->> 'reservation_minutes')::int, 15)) FROM shops_shop WHERE id = orders_order.shop_id))"
        " WHERE id = $1",
        order["id"],
    )
    return int(missing)


def label(method: PaymentMethod, option: str) -> dict[str, str]:
    """What is stored on the attempt for the day when the plugin is gone."""
    chosen = next((o for o in method.options if o.key == option), None)
    return dict(chosen.title if chosen else method.title)


async def start(method: PaymentMethod, attempt: StoredAttempt, session_hash: bytes | None = None) -> str:
    """Let the method prepare the payment and keep the buyer's next step. Gives the error for people, or ``""``.

    ``session_hash`` is who pays: only they can pay from a balance.
    """
    if db.inside_transaction():
        raise RuntimeError("a gateway is never called inside a transaction")
    started = await try_start(method, _with_purse(method, attempt.view, session_hash))
    if isinstance(started, str):
        return await _not_started(attempt, started)
    await db.execute(
        "UPDATE payments_attempt SET state = 'waiting', started = $2, gateway_ref = coalesce($3, gateway_ref),"
        " error = '', next_query_at = $4 WHERE id = $1 AND state IN ('created', 'waiting', 'failed')",
        attempt.id,
        step_to_json(started.step),
        started.gateway_ref,
        next_query_time(method, attempt.view.created_at, 0),
    )
    return ""


def _with_purse(method: PaymentMethod, view: Attempt, session_hash: bytes | None = None) -> Attempt:
    return replace(view, purse=AttemptPurse(view.ref, session_hash)) if method.from_balance else view


async def try_start(method: PaymentMethod, view: Attempt) -> Started | str:
    """The method's answer, or why there is none; a method that hangs or breaks takes nothing down with it."""
    try:
        async with strangers_code(START_SECONDS):
            started = await method.start(view)
        _check_started(started)
        return started
    except (GatewayUnavailable, TimeoutError) as error:
        return f"unavailable: {error}"
    except GatewayRefused as error:
        return f"refused: {error}"
    except Exception as error:
        log.exception("method %s broke", method.key)
        return f"broke: {type(error).__name__}"


def _check_started(started: Started) -> None:
    """:raises ValueError, TypeError: it is not what a method gives, or cannot be stored and shown."""
    match started:
        case Started(Redirect(url)):
            words = [url]
        case Started(PostForm(url, fields)):
            words = [url, *fields, *fields.values()]
        case Started(QrCode(text, deep_link)):
            words = [text, deep_link or ""]
        case Started(Instructions(text)):
            words = [*text, *text.values()]
        case _:
            raise TypeError("start() gives a Started with a step")
    for one in [*words, started.gateway_ref or ""]:
        if not isinstance(one, str) or storable(one) != one:
            raise TypeError(f"a step is made of text, not {type(one).__name__}")
    if isinstance(started.step, QrCode) and len(started.step.text.encode()) > LONGEST_QR:
        raise ValueError(f"a QR code holds {LONGEST_QR} bytes at most")


async def _not_started(attempt: StoredAttempt, error: str) -> str:
    error = storable(error)
    log.warning("attempt %s could not be started: %s", attempt.view.ref, error)

    async def write(tx: Tx) -> None:
        await tx.execute(
            "UPDATE payments_attempt SET state = 'failed', error = $2"
            " WHERE id = $1 AND state IN ('created', 'waiting')",
            attempt.id,
            error[:500],
        )
        await timeline.add(
            tx, attempt.order_id, "payment_not_started", "system", {"attempt": attempt.view.ref, "error": error[:500]}
        )

    await db.transaction(write)
    return error


def asked_at_once(method: PaymentMethod) -> bool:
    """Whether the outcome can be known as soon as the payment is started."""
    return method.query_after[:1] == (0,)


def next_query_time(method: PaymentMethod, since: datetime, queries: int) -> datetime | None:
    if queries >= len(method.query_after):
        return None
    return max(since + timedelta(seconds=method.query_after[queries]), clock.now())


async def ask(method: PaymentMethod, attempt: StoredAttempt) -> Claim | None:
    """Ask the gateway about one attempt and plan the next question."""
    claim, said, watch = None, "nothing", calls.Stopwatch()
    payload: dict[str, Any] = {}
    try:
        async with strangers_code(START_SECONDS):
            claim = await method.query(_with_purse(method, attempt.view))
        payload = calls.of_claim(claim) if claim else {}
    except (GatewayUnavailable, GatewayRefused, TimeoutError) as error:
        said = storable(f"{'refused' if isinstance(error, GatewayRefused) else 'unavailable'}: {error}")
        log.warning("attempt %s could not be asked about: %s", attempt.view.ref, said)
    except Exception:
        # One method's mistake must not keep the timer from asking about the payments of all others.
        claim, said = None, "broke"
        log.exception("method %s broke when asked about attempt %s", attempt.method, attempt.view.ref)
    said = str(claim.state) if claim else said
    await calls.write([calls.Call(attempt.method, "query", [attempt.view.ref], said, watch.ms, payload=payload)])
    await db.execute(
        "UPDATE payments_attempt SET queries = queries + 1, next_query_at = $2 WHERE id = $1 AND state <> 'paid'",
        attempt.id,
        next_query_time(method, attempt.view.created_at, attempt.queries + 1),
    )
    return claim


async def ask_soon(order_ref: str, method: str, session_hash: bytes) -> None:
    """The buyer came back from the gateway: let the timer ask about their attempt now instead of later."""
    await db.execute(
        """
        UPDATE payments_attempt attempt SET next_query_at = now() FROM orders_order o
        JOIN orders_access access ON access.order_id = o.id AND access.session_hash = $3
        WHERE o.id = attempt.order_id AND o.ref = $1 AND attempt.method = $2 AND attempt.state = 'waiting'
          AND attempt.next_query_at > now()
        """,
        order_ref,
        method,
        session_hash,
    )


async def ask_now(shop_id: int, order_id: int) -> None:
    """Staff want to know: let the timer ask about the open payments of this order at once.

    :raises Refused: none of them is open.
    """
    asked = await db.fetch(
        "UPDATE payments_attempt attempt SET next_query_at = now() FROM orders_order o"
        " WHERE o.id = attempt.order_id AND o.id = $1 AND o.shop_id = $2"
        " AND attempt.state IN ('created', 'waiting') RETURNING attempt.id",
        order_id,
        shop_id,
    )
    if not asked:
        raise Refused(_("No payment of this order is open."))


async def ask_later(attempt: StoredAttempt) -> None:
    """Its plugin is off or broken now: look again in a while, for the days in which it may come back."""
    again = clock.now() + PLUGIN_MAY_BE_BACK
    gives_up = attempt.view.created_at + PLUGIN_STAYS_AWAY < again
    await db.execute(
        "UPDATE payments_attempt SET next_query_at = $2 WHERE id = $1 AND state <> 'paid'",
        attempt.id,
        None if gives_up else again,
    )


# -- the buyer's next step as stored -----------------------------------------------------


def step_to_json(step: Step) -> dict[str, Any]:
    match step:
        case Redirect(url):
            return {"kind": "redirect", "url": url}
        case PostForm(url, fields):
            return {"kind": "form", "url": url, "fields": dict(fields)}
        case QrCode(text, deep_link):
            return {"kind": "qr", "text": text, "deep_link": deep_link}
        case Instructions(text):
            return {"kind": "instructions", "text": dict(text)}
