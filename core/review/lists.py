"""The list of questions for a person, and that of orders that were not placed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from core import db
from core.money import Money
from core.orders import words
from core.review import claims, queue
from core.review.assess import KEPT_DAYS
from core.review.service import KINDS
from core.web.i18n import Text, _, in_language, in_words, ngettext
from core.web.lists import Act, Badge, Cell, Choice, Column, Day, Doing, Listing, Many, Nothing, Scope
from core.web.words import device

RESOLUTIONS: dict[str, Text] = {
    "delivered": _("delivered"),
    "refunded": _("paid back"),
    "replaced": _("replaced"),
    "good": _("found good"),
    "kept": _("settled by hand"),
    "seen": _("dealt with"),
    "paid": _("the rest was paid"),
    "charged_back": _("charged back"),
    "done": _("it went back"),
    "failed": _("it did not go back"),
    "matched": _("it matches now"),
    "approved": _("let go"),
    "refused": _("refused"),
    "sold": _("it was sold"),
    "unsold": _("it was not sold"),
    "accepted": _("accepted"),
}
LIVE = f"item.claimed_at >= now() - interval '{int(claims.LASTS.total_seconds())} seconds'"


async def kinds(scope: Scope) -> Sequence[tuple[str, Any]]:
    waiting = await queue.open_kinds(scope.shop_id)
    return [(kind, words.named(words.REVIEW, kind)) for kind in sorted({*KINDS, *waiting})]


async def _with_evidence(scope: Scope, rows: list[dict[str, Any]]) -> None:
    found = await queue.evidence_of([row["order_id"] for row in rows if row["kind"] == "risk"])
    for row in rows:
        row["holder"] = claims.holder(row)
        row["mine"] = row["holder"] == scope.staff_id
        row["evidence"] = found.get(row["order_id"], []) if row["kind"] == "risk" else []


def _question(row: Any) -> Cell:
    return Cell(
        "", badges=(Badge(words.named(words.REVIEW, row["kind"]), "bad" if row["state"] == "open" else "neutral"),)
    )


def _order(row: Any) -> Cell | None:
    if not row["ref"]:
        return None
    marks = (Badge(_("test"), "warning"),) if row["test"] else ()
    return Cell(row["ref"], f"/admin/orders/{row['ref']}", row["contact"], marks)


def _decision(row: Any) -> Cell | None:
    return Cell(RESOLUTIONS.get(row["resolution"], row["resolution"]), note=row["note"]) if row["resolved_at"] else None


def _who(row: Any) -> Any:
    if row["state"] == "done":
        return row["decider_name"]
    return (_("You") if row["mine"] else row["holder_name"]) if row["holder"] else None


async def claim(doing: Doing, key: int) -> None:
    await db.transaction(claims.claim, doing.scope.shop_id, key, doing.scope.staff_id)


ROWS = """
SELECT item.id AS row_key, item.*, o.ref, o.contact, o.total, o.currency, o.test, o.held,
       coalesce(nullif(holder.name, ''), holder.email) AS holder_name,
       coalesce(nullif(decider.name, ''), decider.email) AS decider_name
FROM review_item item LEFT JOIN orders_order o ON o.id = item.order_id
LEFT JOIN people_staff holder ON holder.id = item.claimed_by
LEFT JOIN people_staff decider ON decider.id = item.resolved_by
WHERE item.id = ANY({keys})
"""


REVIEW = Listing(
    name="review",
    title=_("Review"),
    about=_("What only a person can decide. Open the order to see what happened and act."),
    path="/admin/review",
    right="review.read",
    key="item.id",
    source="FROM review_item item LEFT JOIN orders_order o ON o.id = item.order_id WHERE item.shop_id = {shop}",
    rows=ROWS,
    order="CASE WHEN item.state = 'done' THEN item.resolved_at END DESC, item.id",
    columns=(
        Column("question", _("Question"), _question),
        Column("order", _("Order"), _order, kind="long"),
        Column(
            "amount",
            _("Amount"),
            lambda row: Money(row["total"], row["currency"]) if row["currency"] else None,
            kind="number",
        ),
        Column("why", _("Why"), lambda row: in_language(row["reason"]), draw="review/_why.html", kind="wide"),
        Column("decision", _("Decision"), _decision, shown=False, shown_with=("state", "done")),
        Column("who", _("Who"), _who),
        Column("asked", _("Since"), lambda row: row["created_at"], "item.id"),
        Column("decided", _("When"), lambda row: row["resolved_at"], shown=False, shown_with=("state", "done")),
        Column("do", "", draw="review/_acts.html"),
    ),
    hint=_("Order no. or contact"),
    search="item.order_id IN (SELECT id FROM orders_order WHERE ref = upper({q})"
    " UNION ALL SELECT id FROM orders_order WHERE shop_id = {shop} AND contact = lower({q}))",
    filters=(
        Choice(
            "state", _("State"), {"open": _("Waiting"), "done": _("Decided")}, "item.state = {value}", default="open"
        ),
        Choice("kind", _("All questions"), kinds, "item.kind = {value}"),
        Choice(
            "whose",
            _("Everybody's"),
            {"mine": _("Mine"), "free": _("Nobody's")},
            {"mine": f"item.claimed_by = {{staff}} AND {LIVE}", "free": f"item.claimed_by IS NULL OR NOT {LIVE}"},
        ),
        Day("since", _("From the day"), "item.created_at >= {value}"),
        Day("until", _("Up to the day"), "item.created_at < {value}", after=True),
    ),
    prepare=_with_evidence,
    acts=(
        Act(
            "claim",
            _("I take them"),
            "review.decide",
            _("They are yours for the next quarter of an hour; others see that."),
            claim,
            f"item.state = 'open' AND (item.claimed_by IS NULL OR item.claimed_by = {{staff}} OR NOT {LIVE})",
            _("they are decided, or somebody else is at them"),
        ),
    ),
    label=lambda row: f"{words.named(words.REVIEW, row['kind'])} {row['ref'] or row['id']}",
    empty=Nothing(
        _("Nothing waits for you"),
        _("Late, double and wrong payments, paid orders without stock and orders that risk rules hold come here."),
        "/admin/orders",
        _("See all orders"),
        "circle-check",
    ),
)


# -- orders that were not placed --------------------------------------------------------

RULES = "SELECT DISTINCT ON (rule) rule, title FROM review_evidence WHERE refused_id IS NOT NULL ORDER BY rule, id DESC"


async def rules(_scope: Scope) -> Sequence[tuple[str, Any]]:
    return [(row["rule"], in_words(row["title"])) for row in await db.fetch(RULES)]


async def _with_findings(_scope: Scope, rows: list[dict[str, Any]]) -> None:
    found = await queue.evidence_of_refused([row["id"] for row in rows])
    for row in rows:
        row["evidence"] = found.get(row["id"], [])


def _buyer(row: Any) -> Cell:
    tries = (Badge(ngettext("%(num)s try", "%(num)s tries", row["tries"]), "warning"),) if row["tries"] > 1 else ()
    return Cell(row["contact"], badges=tries)


REFUSED = Listing(
    name="refused",
    title=_("Not placed"),
    about=_(
        "Orders that risk rules refused. Buyers are not told why; look whether the rules are right."
        " Kept for %(days)s days.",
        days=KEPT_DAYS,
    ),
    path="/admin/review/refused",
    right="review.read",
    key="refused.id",
    source="FROM review_refused refused WHERE refused.shop_id = {shop}",
    rows="SELECT refused.id AS row_key, refused.*, host(refused.ip) AS address FROM review_refused refused"
    " WHERE refused.id = ANY({keys})",
    order="refused.id DESC",
    prepare=_with_findings,
    columns=(
        Column("buyer", _("Contact"), _buyer, kind="long"),
        Column("goods", _("Goods"), lambda row: Many([f"{one['title']} × {one['quantity']}" for one in row["lines"]])),
        Column("amount", _("Amount"), lambda row: Money(row["total"], row["currency"]), "refused.total", kind="number"),
        Column(
            "why",
            _("Why"),
            lambda row: Many([f"{one['reason']} ({in_words(one['title'])})" for one in row["evidence"]]),
            draw="review/_found.html",
        ),
        Column("points", _("Points"), lambda row: row["score"], "refused.score", shown=False, kind="number"),
        Column(
            "device", _("Device"), lambda row: Cell(row["address"] or _("address unknown"), note=device(row["agent"]))
        ),
        Column("at", _("When"), lambda row: row["at"], "refused.id"),
    ),
    hint=_("Contact or address"),
    search="refused.contact = lower({q}) OR host(refused.ip) = {q}",
    filters=(
        Choice(
            "rule",
            _("All rules"),
            rules,
            "EXISTS (SELECT 1 FROM review_evidence WHERE refused_id = refused.id AND rule = {value})",
        ),
        Day("since", _("From the day"), "refused.at >= {value}"),
        Day("until", _("Up to the day"), "refused.at < {value}", after=True),
    ),
    total=("amount", "refused.currency", "refused.total"),
    label=lambda row: row["contact"],
    empty=Nothing(
        _("No order was refused"),
        _("What risk rules refuse is listed here, with what they saw."),
        "/admin/review/rules",
        _("Risk rules"),
        "circle-check",
    ),
)

LISTS = (REVIEW, REFUSED)
