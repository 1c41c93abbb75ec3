"""Everything that happened to one order, out of all the tables that know of it, as one timeline."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from core import db
from core.audit import service as audit
from core.checkout.trace_words import ACTS, CALLS
from core.fulfilment import console as purchase_words
from core.jobs.titles import title_of
from core.ledger import chart
from core.messages.events import EVENTS
from core.messages.lists import STATES as MESSAGE_STATES
from core.money import Money
from core.orders import words
from core.payments import calls
from core.review.queue import evidence_of
from core.supply import answers
from core.vault.aead import DecryptError
from core.vault.providers import KeyAway
from core.web.i18n import Text, _, in_language, in_words
from core.web.words import device

GOOD = ("paid", "delivered", "done", "payment_confirmed", "refunded", "was_sold")
BAD = (
    "needs_review",
    "paid_wrong_amount",
    "paid_again",
    "charged_back",
    "refund_failed",
    "refund_unknown",
    "payment_not_started",
    "payment_failed",
    "failed",
    "unknown",
    "code_reported",
)

WAITED_FOR: dict[str, tuple[str, ...]] = {
    "attempt": ("placed",),
    "callback": ("attempt", "payment_begun"),
    "query": ("attempt", "payment_begun"),
    "paid": ("callback", "query", "attempt", "payment_begun", "placed"),
    "preparing": ("paid",),
    "delivered": ("paid", "risk_approved"),
    "begun": ("paid",),
    "sent": ("begun",),
    "answer": ("sent",),
    "done": ("sent", "begun"),
    "failed": ("sent", "begun"),
    "waiting": ("sent",),
    "unknown": ("sent",),
    "message_sent": ("message",),
    "message_failed": ("message",),
    "shown": ("delivered",),
    "codes_mailed": ("delivered",),
    "refund_sent": ("refund_asked",),
    "refunded": ("refund_sent", "refund_asked"),
    "risk_approved": ("placed",),
    "risk_refused": ("placed",),
    "code_replaced": ("code_reported",),
    "expired": ("placed",),
}
"""What a step came after, whose wait is the time that is shown."""

TOLD_ELSEWHERE = {"mail_queued", "mail_sent", "mail_failed", "revealed", "staff_revealed"}
"""Steps of an order that other tables tell in more detail."""
AUDITED_ELSEWHERE = {
    "order.confirm_paid",
    "order.cancelled",
    "order.approved",
    "order.refused",
    "order.extended",
    "order.contact_changed",
    "order.delivered_anyway",
    "codes.revealed",
    "code.replaced",
    "refund.asked",
    "refund.approved",
    "refund.declined",
    "refund.arrived",
    "refund.not_arrived",
}
SECRET = ("token", "secret", "password", "sign", "key")
LONGEST = 4000


@dataclass(frozen=True, slots=True)
class Row:
    """One step. ``about`` is what it belongs to (a payment no., a purchase no.), ``request`` its number in the log;
    ``waited`` how long it took after the step named by ``after``."""

    at: datetime
    kind: str
    title: Any
    actor: str
    name: str = ""
    state: str = "neutral"
    about: str = ""
    request: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)
    payload: str = ""
    href: str = ""
    waited: timedelta | None = None
    after: Any = None


async def of(order: Mapping[str, Any]) -> list[Row]:
    """The rows of an order as ``orders.for_staff`` gives it, the oldest first."""
    names = await _names(order["shop_id"])
    sources = [
        await _events(order["id"], names),
        await _tries(order["id"]),
        await _calls(order["id"]),
        await _evidence(order["id"]),
        await _purchases(order["id"], names),
        await _messages(order),
        await _looks(order["id"], names),
        await _refunds(order["id"]),
        await _audited(order, names),
        await _jobs(order),
    ]
    # the payment that is begun with an order is written in one statement with it
    first = order["created_at"]
    rows = sorted(
        (row for source in sources for row in source),
        key=lambda row: (first, 0) if row.kind == "placed" else (row.at, 1),
    )
    return with_waits(rows)


def with_waits(rows: Sequence[Row]) -> list[Row]:
    """Each row with the time since the newest step it came after: of the same payment or purchase if there is one."""
    done: list[Row] = []
    for row in rows:
        wanted = WAITED_FOR.get(row.kind, ())
        before = [one for one in done if one.kind in wanted]
        same = [one for one in before if row.about and one.about == row.about]
        last = (same or before or [None])[-1]
        done.append(replace(row, waited=max(row.at - last.at, timedelta()), after=last.title) if last else row)
    return done


def counted(rows: Iterable[Row]) -> Counter[str]:
    """How many steps each kind of actor did."""
    return Counter(row.actor for row in rows)


async def _names(shop_id: int) -> dict[str, str]:
    rows = await db.fetch("SELECT id, name, email FROM people_staff WHERE shop_id = $1", shop_id)
    return {f"staff:{row['id']}": row["name"] or row["email"] for row in rows}


def _who(actor: str, names: Mapping[str, str]) -> tuple[str, str]:
    """``(kind, name)`` of ``staff:3``, ``gateway:epay``, ``system``."""
    kind, _colon, key = actor.partition(":")
    if kind == "staff":
        return "staff", names.get(actor, "")
    if kind == "gateway":
        return "gateway", chart.method_title(key) if key else ""
    if kind == "supplier":
        return "supplier", key
    return ("buyer", "") if kind == "buyer" else ("shop", "")


def _state(kind: str) -> str:
    return "good" if kind in GOOD else "bad" if kind in BAD else "neutral"


def _shown(data: Mapping[str, Any]) -> dict[str, Any]:
    """Facts without what nobody needs to read, amounts as money."""
    kept = {key: value for key, value in data.items() if not any(one in key.lower() for one in SECRET)}
    for key in ("amount", "total"):
        if isinstance(kept.get(key), int) and isinstance(kept.get("currency"), str):
            kept[key] = Money(kept[key], kept.pop("currency").strip())
    if kept.get("outcome") in words.OUTCOMES:
        kept["outcome"] = words.OUTCOMES[kept["outcome"]]
    return kept


# -- where the rows come from -----------------------------------------------------------


async def _events(order_id: int, names: Mapping[str, str]) -> list[Row]:
    rows = await db.fetch("SELECT * FROM orders_event WHERE order_id = $1 ORDER BY at, id", order_id)
    codes = await db.fetch(
        "SELECT mask FROM vault_code WHERE line_id = ANY(ARRAY(SELECT id FROM orders_line WHERE order_id = $1))"
        " AND state IN ('reserved', 'delivered') ORDER BY id LIMIT 20",
        order_id,
    )
    masks = ", ".join(row["mask"] for row in codes)
    found = []
    for row in rows:
        if row["kind"] in TOLD_ELSEWHERE or row["kind"].startswith("purchase_"):
            continue
        actor, name = _who(row["actor"], names)
        facts = _shown(row["data"])
        if row["kind"] == "delivered" and masks:
            facts["masks"] = masks
        title = words.STEPS.get(row["kind"], row["kind"])
        about = str(row["data"].get("attempt", ""))
        found.append(Row(row["at"], row["kind"], title, actor, name, _state(row["kind"]), about, facts=facts))
    return found


async def _tries(order_id: int) -> list[Row]:
    """The first payment begins with the order and has no step of its own."""
    rows = await db.fetch(
        "SELECT * FROM payments_attempt WHERE order_id = $1 AND NOT EXISTS (SELECT 1 FROM orders_event"
        " WHERE order_id = $1 AND kind = 'payment_begun' AND data ->> 'attempt' = payments_attempt.ref) ORDER BY id",
        order_id,
    )
    return [
        Row(
            row["created_at"],
            "attempt",
            _("Payment begun by %(method)s", method=in_words(row["label"]) or chart.method_title(row["method"])),
            "buyer",
            about=row["ref"],
            facts={"amount": Money(row["amount"], row["currency"]), "option": row["option"]},
        )
        for row in rows
    ]


async def _calls(order_id: int) -> list[Row]:
    return [
        Row(
            row["at"],
            row["came_by"] if not row["said"].startswith("forged") else "forged",
            _call_title(row["said"], row["came_by"]),
            "gateway",
            chart.method_title(row["method"]),
            _call_state(row["said"]),
            row["attempt"],
            row["request_id"],
            {"ms": row["ms"], **({"ip": str(row["ip"])} if row["ip"] else {})},
            json.dumps(row["payload"], ensure_ascii=False, indent=1)[:LONGEST] if row["payload"] else "",
        )
        for row in await calls.of_order(order_id)
    ]


def _call_state(said: str) -> str:
    kind = said.partition(":")[0]
    if kind in ("delivered", "preparing", "paid"):
        return "good"
    return "bad" if kind in ("forged", "broke", "refused", "unavailable") else "neutral"


def _call_title(said: str, came_by: str) -> Any:
    kind, _colon, why = said.partition(": ")
    if kind == "forged":
        return _("A call that is not signed as the gateway signs: %(why)s", why=in_language(why))
    if kind in ("unavailable", "refused"):
        return _("Asked: the gateway did not answer: %(why)s", why=why)
    return CALLS.get(said, said)


async def _evidence(order_id: int) -> list[Row]:
    found = (await evidence_of([order_id])).get(order_id, [])
    return [
        Row(
            row["at"],
            "evidence",
            _("Risk rule “%(rule)s”: %(score)s points", rule=in_words(row["title"]), score=row["score"]),
            "shop",
            state="bad" if row["action"] in ("review", "refuse") else "neutral",
            facts={"why": row["reason"], "rule": row["rule"], **row["data"]},
        )
        for row in found
    ]


async def _purchases(order_id: int, names: Mapping[str, str]) -> list[Row]:
    bought = await db.fetch("SELECT id, ref, supplier FROM supply_purchase WHERE order_id = $1", order_id)
    if not bought:
        return []
    by_id = {row["id"]: row for row in bought}
    steps = await db.fetch("SELECT * FROM supply_event WHERE purchase_id = ANY($1) ORDER BY id", list(by_id))
    given = await db.fetch("SELECT * FROM supply_answer WHERE purchase_id = ANY($1) ORDER BY id", list(by_id))
    return [
        *(_purchase_step(row, by_id[row["purchase_id"]], names) for row in steps),
        *(_answer(row, by_id[row["purchase_id"]]) for row in given),
    ]


def _purchase_step(row: Any, purchase: Any, names: Mapping[str, str]) -> Row:
    kind = row["kind"]
    return Row(
        row["at"],
        kind,
        purchase_words.STEPS.get(kind, kind),
        *_who(row["actor"], names),
        _state(kind),
        purchase["ref"],
        facts={"supplier": purchase["supplier"], **_shown(purchase_words.facts(row["data"]))},
        href=f"/admin/purchases/{purchase['id']}",
    )


def _answer(row: Any, purchase: Any) -> Row:
    return Row(
        row["at"],
        "answer",
        purchase_words.CAME_BY[row["came_by"]],
        "supplier",
        purchase["supplier"],
        about=purchase["ref"],
        facts={"bytes": row["size"]},
        payload=_masked(row),
        href=f"/admin/purchases/{purchase['id']}",
    )


def _masked(answer: Any) -> str:
    """Nothing while the vault has no key, or has lost the one it was sealed with."""
    try:
        return answers.masked(answer)[:LONGEST]
    except (KeyAway, DecryptError):
        return ""


async def _messages(order: Mapping[str, Any]) -> list[Row]:
    rows = await db.fetch("SELECT * FROM messages_message WHERE order_id = $1 ORDER BY id", order["id"])
    return [step for row in rows for step in _message_steps(row, _written(row["created_at"], order["delivered_at"]))]


def _message_steps(row: Any, written: datetime) -> list[Row]:
    title: Any = EVENTS[row["event"]].title if row["event"] in EVENTS else row["event"]
    facts = {"to": row["recipient"], "channel": row["channel"]}
    first = Row(
        written,
        "message",
        _("Message “%(title)s” written", title=title),
        "shop",
        about=f"message {row['id']}",
        facts=facts,
        href=f"/admin/messages/{row['id']}",
    )
    then = replace(first, actor="system")
    if row["sent_at"] is not None:
        sent = _("Message “%(title)s” sent", title=title)
        facts = {**facts, "receipt": row["receipt"], "tries": row["tries"]}
        return [first, replace(then, at=row["sent_at"], kind="message_sent", title=sent, state="good", facts=facts)]
    if row["state"] in ("failed", "held") or row["error"]:
        why = _("Message “%(title)s”: %(state)s", title=title, state=MESSAGE_STATES[row["state"]][0])
        facts = {**facts, "error": row["error"], "tries": row["tries"]}
        at = written + timedelta(microseconds=1)
        return [first, replace(then, at=at, kind="message_failed", title=why, state="bad", facts=facts)]
    return [first]


def _written(at: datetime, delivered: datetime | None) -> datetime:
    """A message of a delivery is written in its statement, and dated from where that began."""
    together = delivered is not None and at <= delivered < at + timedelta(seconds=1)
    return delivered if together and delivered else at


LOOKS = """
SELECT reveal.at, reveal.ip, reveal.agent, reveal.staff_id, reveal.export_id, count(*) AS codes,
       string_agg(code.mask, ', ' ORDER BY code.id) AS masks,
       (SELECT data ->> 'reason' FROM orders_event
        WHERE order_id = $1 AND kind = 'staff_revealed' AND actor = 'staff:' || reveal.staff_id
          AND at BETWEEN reveal.at AND reveal.at + interval '5 seconds' ORDER BY at LIMIT 1) AS reason
FROM vault_reveal reveal JOIN vault_code code ON code.id = reveal.code_id
WHERE code.id = ANY(ARRAY(
    SELECT id FROM vault_code WHERE line_id = ANY(ARRAY(SELECT id FROM orders_line WHERE order_id = $1))))
GROUP BY reveal.at, reveal.ip, reveal.agent, reveal.staff_id, reveal.export_id ORDER BY reveal.at LIMIT 200
"""


async def _looks(order_id: int, names: Mapping[str, str]) -> list[Row]:
    found = []
    for row in await db.fetch(LOOKS, order_id):
        staff = f"staff:{row['staff_id']}" if row["staff_id"] else ""
        title = words.STEPS["staff_revealed"] if staff else words.STEPS["revealed"]
        if row["export_id"]:
            title = _("Codes taken along in export %(number)s", number=row["export_id"])
        facts = {"codes": row["codes"], "masks": row["masks"][:300], "ip": str(row["ip"] or "–")}
        if row["reason"]:
            facts["reason"] = row["reason"]
        if row["agent"]:
            facts["device"] = device(row["agent"])
        actor, name = ("staff", names.get(staff, "")) if staff else ("buyer", "")
        found.append(Row(row["at"], "staff_shown" if staff else "shown", title, actor, name, facts=facts))
    return found


async def _refunds(order_id: int) -> list[Row]:
    """That it went to the gateway; asked, approved and done are steps of the order."""
    rows = await db.fetch(
        "SELECT * FROM payments_refund WHERE order_id = $1 AND sent_at IS NOT NULL ORDER BY id", order_id
    )
    return [
        Row(
            row["sent_at"],
            "refund_sent",
            _("Refund sent to the gateway"),
            "shop",
            about=row["ref"],
            facts={
                "amount": Money(row["amount"], row["currency"]),
                "gateway_ref": row["gateway_ref"] or "–",
                **({"error": row["error"]} if row["error"] else {}),
            },
        )
        for row in rows
    ]


async def _audited(order: Mapping[str, Any], names: Mapping[str, str]) -> list[Row]:
    purchases = await db.fetch("SELECT ref FROM supply_purchase WHERE order_id = $1", order["id"])
    objects = [f"order:{order['ref']}", *(f"purchase:{row['ref']}" for row in purchases)]
    rows = await db.fetch("SELECT * FROM audit_entry WHERE object = ANY($1) ORDER BY id", objects)
    told = AUDITED_ELSEWHERE | {f"purchase.{kind}" for kind in purchase_words.STEPS}
    found = []
    for row in rows:
        if row["act"] in told:
            continue
        actor, name = _who(row["actor"], names)
        title = ACTS.get(row["act"]) or audit.title(row["act"]) or row["act"]
        facts = {**_shown(row["detail"]), **({"ip": str(row["ip"])} if row["ip"] else {})}
        found.append(Row(row["at"], "audit", title, actor, name, request=row["request_id"] or "", facts=facts))
    return found


# What is done is told by its own step; these are the ones that hang or gave up.
JOBS = """
SELECT id, name, state, tries, error, created_at, run_at, finished_at FROM jobs_job
WHERE (state = 'queued' OR state = 'running' OR state = 'failed') AND (
    args ->> 'subject' = $2 OR args ->> 'order' = ($1::bigint)::text
    OR args ->> 'message' = ANY(ARRAY(SELECT id::text FROM messages_message WHERE order_id = $1))
    OR args ->> 'purchase' = ANY(ARRAY(SELECT id::text FROM supply_purchase WHERE order_id = $1))
    OR args ->> 'refund' = ANY(ARRAY(SELECT id::text FROM payments_refund WHERE order_id = $1)))
ORDER BY id LIMIT 50
"""


async def _jobs(order: Mapping[str, Any]) -> list[Row]:
    rows = await db.fetch(JOBS, order["id"], order["ref"])
    return [
        Row(
            row["finished_at"] or row["created_at"],
            f"job_{row['state']}",
            _job_title(row["state"], row["name"]),
            "system",
            state="bad" if row["state"] == "failed" else "neutral",
            facts={"tries": row["tries"], **({"error": row["error"]} if row["error"] else {})},
            href=f"/admin/jobs/{row['id']}",
        )
        for row in rows
    ]


def _job_title(state: str, name: str) -> Text:
    title = title_of(name)
    if state == "failed":
        return _("Job “%(name)s” gave up", name=title)
    return _("Job “%(name)s” runs", name=title) if state == "running" else _("Job “%(name)s” waits", name=title)
