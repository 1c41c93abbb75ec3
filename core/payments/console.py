"""Payments in the console: every attempt, what the gateways said, and money that has to go back."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import date
from typing import Annotated, Any

import msgspec
from litestar import Request, Response, get, post
from litestar.params import FromPath
from msgspec import Meta

from core import db
from core.audit.person import Person, person_of
from core.hooks import runtime
from core.jobs import bell, ring
from core.ledger import chart
from core.ledger import service as ledger
from core.money import Money
from core.orders import service as orders
from core.orders import words
from core.payments import chargebacks, money, queue, reconciliation, refunds, statements
from core.payments.lists import PAYMENTS
from core.payments.lists import REFUNDS as ALL_REFUNDS
from core.payments.refunds import Wish
from core.refused import Refused
from core.web.errors import NotFound
from core.web.flash import flash
from core.web.forms import Line, read_form, read_query
from core.web.hx import safe_next
from core.web.i18n import _
from core.web.list_page import list_page
from core.web.render import page, see_other
from core.web.request import shop_of, visit_of

METHODS = """
SELECT attempt.method, count(*) AS attempts, count(*) FILTER (WHERE attempt.state = 'paid') AS paid,
       percentile_cont(0.5) WITHIN GROUP (ORDER BY extract(epoch FROM attempt.settled_at - attempt.created_at))
           FILTER (WHERE attempt.state = 'paid') AS median_seconds
FROM payments_attempt attempt JOIN orders_order o ON o.id = attempt.order_id
WHERE o.shop_id = $1 AND attempt.created_at > now() - interval '30 days' GROUP BY attempt.method ORDER BY attempt.method
"""


REFUNDS = """
SELECT refund.*, o.ref AS order_ref, o.test, event.method, asker.email AS asked_by_email, asker.name AS asked_by_name,
       approver.email AS approved_by_email, approver.name AS approved_by_name
FROM payments_refund refund JOIN orders_order o ON o.id = refund.order_id
JOIN payments_event event ON event.id = refund.payment_id JOIN people_staff asker ON asker.id = refund.asked_by
LEFT JOIN people_staff approver ON approver.id = refund.approved_by
WHERE refund.shop_id = $1
"""
OPEN_REFUNDS = REFUNDS + "AND refund.state = ANY($2) ORDER BY refund.id LIMIT 200"

Id = Annotated[int, Meta(ge=1, le=2**63 - 1)]


class Asked(msgspec.Struct):
    """A refund or a chargeback of one payment, from the order's page."""

    order: Line
    payment: Id
    amount: Line
    way: Line = "source"
    take_codes: bool = False
    note: Line = ""
    stand: Line = ""
    """Of the payment as it was shown, so that a second click, or a second person, does not give back twice."""


class Decision(msgspec.Struct):
    way: Line = ""
    note: Line = ""
    next: Line = ""


@get("/payments", opt={"who": "staff:payments.read", "repeats": ("col",)})
async def payment_list(request: Request[Any, Any, Any]) -> Response[Any]:
    shop = shop_of(request)
    methods = await db.fetch(METHODS, shop.id)
    accounts = {row["method"]: ledger.GATEWAY.format(row["method"]) for row in methods}
    balances = await ledger.balances(shop.id, [*accounts.values()], shop.currency)
    context = {
        "methods": [
            {**row, "balance": Money(balances.get(accounts[row["method"]], 0), shop.currency)} for row in methods
        ],
        "method_title": chart.method_title,
        "offered": sorted(runtime.current().payment_methods_in(shop.id)),
    }
    return await list_page(request, PAYMENTS, context, template="payments/list.html")


@get("/refunds/all", opt={"who": "staff:payments.read", "repeats": ("col",)})
async def refund_list(request: Request[Any, Any, Any]) -> Response[Any]:
    return await list_page(request, ALL_REFUNDS)


# -- money that has to go back ----------------------------------------------------------


@get("/refunds", opt={"who": "staff:payments.read"})
async def refund_page(request: Request[Any, Any, Any]) -> Response[str]:
    return await _refund_page(request)


async def _refund_page(
    request: Request[Any, Any, Any],
    problem: Any = "",
    status: int = 200,
    back: str = "",
    again: dict[str, Any] | None = None,
) -> Response[str]:
    shop = visit_of(request).shop
    context = {
        "rows": await queue.rows(shop.id),
        "asked": [_shown(row) for row in await db.fetch(OPEN_REFUNDS, shop.id, ["asked"])],
        "doubted": [_shown(row) for row in await db.fetch(OPEN_REFUNDS, shop.id, ["unknown"])],
        "me": person_of(request).staff_id,
        "kinds": words.REVIEW,
        "states": words.REFUND,
        "ways": words.WAYS,
        "method_title": chart.method_title,
        "problem": problem,
        "back": back,
        "again": again,
        "words": words,
    }
    return page(request, "payments/refunds.html", context, status=status)


def _shown(row: Any) -> dict[str, Any]:
    return {**row, "money": Money(row["amount"], row["currency"])}


@post("/refunds/ask", opt={"who": "staff:refunds.ask"})
async def ask_refund(request: Request[Any, Any, Any]) -> Response[Any]:
    form = await read_form(request, Asked)

    async def act(tx: db.Tx) -> list[int]:
        order = await refunds.locked(tx, visit_of(request).shop.id, form.order)
        payment, amount = await _payment(tx, order["id"], form)
        wish = Wish(form.way, form.take_codes, form.note)
        return await refunds.ask(tx, order, [(payment, amount)], wish, person_of(request))

    return await _acted(request, act, _("Written down."), f"/admin/orders/{form.order}", ("ask", form))


async def _payment(tx: db.Tx, order_id: int, form: Asked) -> tuple[money.Payment, int]:
    found = next((one for one in await money.payments_of(order_id, tx) if one.id == form.payment), None)
    if found is None:
        raise Refused(_("There is no such payment."))
    if form.stand not in ("", found.stand):
        raise Refused(_("Something was given back or taken back meanwhile. See what is left, then decide again."))
    try:
        return found, Money.parse(form.amount, found.amount.currency).amount
    except ValueError:
        raise Refused(_("Write an amount such as 19.90."), "amount") from None


@post("/refunds/chargeback", opt={"who": "staff:refunds.ask"})
async def tell_chargeback(request: Request[Any, Any, Any]) -> Response[Any]:
    form = await read_form(request, Asked)
    visit, who = visit_of(request), person_of(request)

    async def act(tx: db.Tx) -> None:
        order = await refunds.locked(tx, visit.shop.id, form.order)
        payment, amount = await _payment(tx, order["id"], form)
        await chargebacks.told_by_staff(
            tx, visit.shop.id, form.order, payment.id, amount, who.staff_id, form.note, who.ip
        )

    return await _acted(request, act, _("Booked as taken back."), f"/admin/orders/{form.order}", ("chargeback", form))


@post("/refunds/won", opt={"who": "staff:refunds.won", "fresh": True})
async def tell_won(request: Request[Any, Any, Any]) -> Response[Any]:
    form = await read_form(request, Asked)
    visit, who = visit_of(request), person_of(request)

    async def act(tx: db.Tx) -> None:
        order = await refunds.locked(tx, visit.shop.id, form.order)
        payment, amount = await _payment(tx, order["id"], form)
        await chargebacks.won(tx, visit.shop.id, form.order, payment.id, amount, who.staff_id, form.note, who.ip)

    return await _acted(request, act, _("Booked as won."), f"/admin/orders/{form.order}", ("won", form))


@post("/refunds/questions/{item_id:int}/back", opt={"who": "staff:refunds.ask"})
async def give_back(request: Request[Any, Any, Any], item_id: FromPath[int]) -> Response[Any]:
    form = await read_form(request, Decision)

    async def act(tx: db.Tx) -> list[int]:
        wish = Wish(form.way, note=form.note)
        return await queue.give_back(tx, visit_of(request).shop.id, item_id, wish, person_of(request))

    return await _acted(request, act, _("Written down."), form.next)


@post("/refunds/questions/{item_id:int}/keep", opt={"who": "staff:review.decide"})
async def keep(request: Request[Any, Any, Any], item_id: FromPath[int]) -> Response[Any]:
    form = await read_form(request, Decision)

    async def act(tx: db.Tx) -> None:
        await queue.keep(tx, visit_of(request).shop.id, item_id, form.note, person_of(request))

    return await _acted(request, act, _("Closed: nothing more will happen."), form.next)


@post("/refunds/questions/{item_id:int}/seen", opt={"who": "staff:review.decide"})
async def seen(request: Request[Any, Any, Any], item_id: FromPath[int]) -> Response[Any]:
    form = await read_form(request, Decision)

    async def act(tx: db.Tx) -> None:
        await queue.seen(tx, visit_of(request).shop.id, item_id, form.note, person_of(request))

    return await _acted(request, act, _("Closed."), form.next)


@post("/refunds/{refund_id:int}/approve", opt={"who": "staff:refunds.approve", "fresh": True})
async def approve(request: Request[Any, Any, Any], refund_id: FromPath[int]) -> Response[Any]:
    return await _decided(request, refund_id, refunds.approve, _("Approved; the money goes back."))


@post("/refunds/{refund_id:int}/decline", opt={"who": "staff:refunds.approve"})
async def decline(request: Request[Any, Any, Any], refund_id: FromPath[int]) -> Response[Any]:
    return await _decided(request, refund_id, refunds.decline, _("Declined; the money stays."))


@post("/refunds/{refund_id:int}/arrived", opt={"who": "staff:refunds.approve"})
async def arrived(request: Request[Any, Any, Any], refund_id: FromPath[int]) -> Response[Any]:
    return await _decided(request, refund_id, refunds.arrived, _("Booked as given back."))


@post("/refunds/{refund_id:int}/not-arrived", opt={"who": "staff:refunds.approve"})
async def not_arrived(request: Request[Any, Any, Any], refund_id: FromPath[int]) -> Response[Any]:
    return await _decided(request, refund_id, refunds.not_arrived, _("Written down: the money is still here."))


async def _decided(
    request: Request[Any, Any, Any],
    refund_id: int,
    decide: Callable[[db.Tx, int, int, Person], Awaitable[list[int]]],
    said: Any,
) -> Response[Any]:
    async def act(tx: db.Tx) -> list[int]:
        return await decide(tx, visit_of(request).shop.id, refund_id, person_of(request))

    return await _acted(request, act, said)


async def _acted(
    request: Request[Any, Any, Any],
    act: Callable[[db.Tx], Awaitable[list[int] | None]],
    said: Any,
    back: str = "",
    typed: tuple[str, Asked] | None = None,
) -> Response[Any]:
    """Do it in one transaction, and go back to where the button was. A mistake shows what was ``typed`` again."""
    back = safe_next(back, "/admin/refunds")
    try:
        await ring(*(await db.transaction(act) or ()))
    except Refused as refused:
        again = await _again(request, *typed) if typed and refused.field else None
        return await _refund_page(request, refused.text, 409, back, again)
    ref = typed[1].order if typed else back.removeprefix("/admin/orders/")
    await bell.ring(f"order:{ref}", "changed")
    return flash(see_other(back), said)


async def _again(request: Request[Any, Any, Any], door: str, typed: Asked) -> dict[str, Any]:
    """The form of a refund or a chargeback with a mistake in it."""
    order = await orders.for_staff(visit_of(request).shop.id, typed.order)
    if order is None:
        raise NotFound()
    payment = next(one for one in await money.payments_of(order["id"]) if one.id == typed.payment)
    to_source = refunds.way_back(payment.method)
    return {"door": door, "typed": typed, "order": order, "payment": payment, "to_source": to_source}


# -- the gateways' statements -----------------------------------------------------------


class StatementDay(msgspec.Struct):
    method: Line = ""
    day: date | None = None


class Settled(msgspec.Struct):
    item: Id
    note: Line = ""


@get("/statements", opt={"who": "staff:finance.read"})
async def statement_page(request: Request[Any, Any, Any]) -> Response[str]:
    return await _statement_page(request, read_query(request, StatementDay))


async def _statement_page(
    request: Request[Any, Any, Any], chosen: StatementDay, problem: Any = "", status: int = 200
) -> Response[str]:
    shop_id = visit_of(request).shop.id
    days = await reconciliation.days(shop_id)
    shown = next((one for one in days if (one.method, one.day) == (chosen.method, chosen.day)), None)
    context = {
        "days": days,
        "shown": shown,
        "lines": await reconciliation.lines(shop_id, shown.method, shown.day) if shown else [],
        "ours": await reconciliation.only_ours(shop_id, shown.method, shown.day) if shown else [],
        "kinds": words.LINES,
        "results": words.RESULTS,
        "method_title": chart.method_title,
        "with_statements": sorted(statements.with_statements()),
        "problem": problem,
    }
    return page(request, "payments/statements.html", context, status=status)


@post("/statements/settled", opt={"who": "staff:review.decide"})
async def statement_settled(request: Request[Any, Any, Any]) -> Response[Any]:
    form, visit, who = await read_form(request, Settled), visit_of(request), person_of(request)
    try:
        await db.transaction(reconciliation.settled, visit.shop.id, form.item, who.staff_id, form.note, who.ip)
    except Refused as refused:
        return await _statement_page(request, StatementDay(), refused.text, 409)
    return flash(see_other("/admin/statements"), _("Closed."))


ROUTES = (
    statement_page,
    statement_settled,
    payment_list,
    refund_list,
    refund_page,
    ask_refund,
    tell_chargeback,
    tell_won,
    give_back,
    keep,
    seen,
    approve,
    decline,
    arrived,
    not_arrived,
)
