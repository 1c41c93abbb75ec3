"""Staff replace a bad code or find it good, hand goods over, and decide about purchases."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import msgspec
from litestar import Request, Response, get, post
from litestar.params import FromPath
from msgspec import Meta

from core import db
from core.audit import service as audit
from core.audit.person import person_of
from core.fulfilment import by_hand, deciding, replacement
from core.fulfilment.lists import PURCHASE, PURCHASES
from core.jobs import bell, ring
from core.money import Money
from core.orders import words
from core.refused import Refused
from core.supply import answers, purchases
from core.vault import staff_reveal
from core.vault.staff_reveal import Onlooker
from core.web.errors import NotFound
from core.web.flash import flash
from core.web.forms import Line, read_form
from core.web.i18n import Text, _, in_language
from core.web.list_page import list_page
from core.web.render import page, see_other
from core.web.request import shop_of, visit_of

Id = Annotated[int, Meta(ge=1, le=2**63 - 1)]
Codes = Annotated[str, Meta(max_length=500_000)]

STEPS: dict[str, Text] = {
    "begun": _("Written down"),
    "sent": _("Sent to the supplier"),
    "not_sent": _("It did not arrive"),
    "waiting": _("The supplier works on it"),
    "unknown": _("The answer is not clear"),
    "needs_review": _("A person has to look"),
    "done": _("The supplier delivered"),
    "failed": _("The supplier sold nothing"),
    "was_sold": _("A person looked: it was sold"),
    "was_not_sold": _("A person looked: it was not sold"),
    "seen": _("Dealt with"),
}
FAILURES: dict[str, Text] = {
    "out_of_stock": _("out of stock"),
    "above_cap": _("dearer than the price cap"),
    "refused": _("refused"),
    "not_sent": _("could not be reached"),
    "absent": _("the supplier does not know it"),
    "failed": _("failed at the supplier"),
    "given_up": _("the order wants it no more"),
    "looked": _("a person looked"),
}
CAME_BY: dict[str, Text] = {
    "purchase": _("Answer to the purchase"),
    "query": _("Answer to a question"),
    "callback": _("Call of the supplier"),
    "staff": _("Staff"),
}


FACTS: dict[str, Text] = {
    "offer": _("Offer"),
    "cap": _("Price cap"),
    "why": _("Why"),
    "reason": _("Reason"),
    "codes": _("Codes"),
    "pieces": _("Quantity"),
}


def facts(data: Mapping[str, Any]) -> dict[str, Any]:
    """The details of a step, as its reader says them."""
    shown = {key: value for key, value in data.items() if value not in ("", [], None)}
    if "why" in shown:
        shown["why"] = FAILURES.get(shown["why"], shown["why"])
    if "reason" in shown:
        shown["reason"] = in_language(shown["reason"])
    return shown


class Why(msgspec.Struct):
    note: Line = ""


@post("/orders/{ref:str}/codes/{code_id:int}/replace", opt={"who": "staff:codes.replace"})
async def give_another(request: Request[Any, Any, Any], ref: FromPath[str], code_id: FromPath[int]) -> Response[Any]:
    form = await read_form(request, Why)
    visit, staff_id = visit_of(request), request.state.session.staff_id
    back = see_other(f"/admin/orders/{ref}")
    try:
        done = await replacement.give_another(visit.shop.id, ref, code_id, form.note, staff_id, visit.ip or None)
    except Refused as refused:
        return flash(back, refused.text, "error")
    await ring(*done.jobs)
    await bell.ring(f"order:{ref}", "changed")
    if not done.mask:
        return flash(
            back, _("No other code is in stock. It waits for a decision: import codes, then replace it."), "warning"
        )
    return flash(back, _("Replaced: the order has the new code %(mask)s.", mask=done.mask))


@post("/orders/{ref:str}/codes/{code_id:int}/good", opt={"who": "staff:codes.replace"})
async def is_good(request: Request[Any, Any, Any], ref: FromPath[str], code_id: FromPath[int]) -> Response[Any]:
    form = await read_form(request, Why)
    visit, staff_id = visit_of(request), request.state.session.staff_id
    back = see_other(f"/admin/orders/{ref}")
    try:
        await replacement.is_good(visit.shop.id, ref, code_id, form.note, staff_id, visit.ip or None)
    except Refused as refused:
        return flash(back, refused.text, "error")
    return flash(back, _("Closed: the code is good."))


# -- goods of an order that are not there yet -------------------------------------------


class HandOver(msgspec.Struct):
    codes: Codes = ""
    note: Line = ""


class BuyAgain(msgspec.Struct):
    offer: Id


@post("/orders/{ref:str}/lines/{line_id:int}/hand-over", opt={"who": "staff:purchases.decide", "max_body": 600_000})
async def hand_over(request: Request[Any, Any, Any], ref: FromPath[str], line_id: FromPath[int]) -> Response[Any]:
    form = await read_form(request, HandOver)
    who = person_of(request)
    act = by_hand.hand_over(who.shop_id, ref, line_id, form.codes, form.note, who.staff_id, who.ip)
    return await _acted(request, act, f"/admin/orders/{ref}", ref, _("Handed over."))


@post("/orders/{ref:str}/lines/{line_id:int}/buy", opt={"who": "staff:purchases.decide"})
async def buy_again(request: Request[Any, Any, Any], ref: FromPath[str], line_id: FromPath[int]) -> Response[Any]:
    form = await read_form(request, BuyAgain)
    who = person_of(request)
    act = deciding.buy_again(who.shop_id, ref, line_id, form.offer, who)
    return await _acted(request, act, f"/admin/orders/{ref}", ref, _("It is being bought."))


async def _acted(request: Request[Any, Any, Any], act: Any, path: str, order_ref: str, said: Any) -> Response[Any]:
    try:
        jobs = await act
    except Refused as refused:
        return flash(see_other(path), refused.text, "error")
    await ring(*(jobs or ()))
    await bell.ring(f"order:{order_ref}", "changed")
    return flash(see_other(path), said)


# -- purchases --------------------------------------------------------------------------


class WasSold(msgspec.Struct):
    codes: Codes = ""
    cost: Line = ""


class NotSold(msgspec.Struct):
    offer: Id | None = None


@get("/purchases", opt={"who": "staff:purchases.read", "repeats": ("col",)})
async def purchase_list(request: Request[Any, Any, Any]) -> Response[Any]:
    return await list_page(request, PURCHASES)


def _money(row: Any) -> Money | None:
    return Money(row["cost"], row["cost_currency"]) if row["cost_currency"] else None


@get("/purchases/{purchase_id:int}", opt={"who": "staff:purchases.read"})
async def purchase_page(request: Request[Any, Any, Any], purchase_id: FromPath[int]) -> Response[str]:
    return await _purchase_page(request, purchase_id)


async def _purchase_page(
    request: Request[Any, Any, Any], purchase_id: int, opened: tuple[int, str] | None = None, problem: Any = ""
) -> Response[str]:
    row = await _of_shop(request, purchase_id)
    kept = await answers.of_purchase(purchase_id)
    context = {
        "purchase": row,
        "cost": _money(row),
        "cap": Money(row["price_cap"], row["currency"]),
        "states": PURCHASE,
        "steps": [
            (
                one,
                STEPS.get(one["kind"], one["kind"]),
                {FACTS.get(key, key): said for key, said in facts(one["data"]).items()},
            )
            for one in await purchases.events(purchase_id)
        ],
        "error": in_language(row["error"]),
        "failures": FAILURES,
        "answers": [(one, CAME_BY[one["came_by"]], answers.masked(one)) for one in kept],
        "opened": opened,
        "in_doubt": row["state"] in purchases.IN_DOUBT,
        "live": row["state"] in purchases.LIVE,
        "offers": await deciding.offers_of(row["sku_id"]),
        "odd": [
            {**one, "reason": in_language(one["reason"])}
            for one in await db.fetch(
                "SELECT * FROM review_item WHERE kind = 'purchase_odd' AND state = 'open' AND data ->> 'ref' = $1"
                " ORDER BY id",
                row["ref"],
            )
        ],
        "names": await _staff_names(row["shop_id"]),
        "words": words,
        "problem": problem,
    }
    return page(request, "fulfilment/purchase.html", context)


async def _of_shop(request: Request[Any, Any, Any], purchase_id: int) -> Any:
    row = await purchases.load(purchase_id)
    if row is None or row["shop_id"] != person_of(request).shop_id:
        raise NotFound()
    return row


async def _staff_names(shop_id: int) -> dict[str, str]:
    rows = await db.fetch("SELECT id, name, email FROM people_staff WHERE shop_id = $1", shop_id)
    return {f"staff:{row['id']}": row["name"] or row["email"] for row in rows}


@post("/purchases/{purchase_id:int}/ask", opt={"who": "staff:purchases.decide"})
async def ask_now(request: Request[Any, Any, Any], purchase_id: FromPath[int]) -> Response[Any]:
    row = await _of_shop(request, purchase_id)
    act = deciding.ask_now(purchase_id, row["shop_id"])
    return await _acted(
        request, act, f"/admin/purchases/{purchase_id}", row["order_ref"], _("The supplier is being asked.")
    )


@post("/purchases/{purchase_id:int}/sold", opt={"who": "staff:purchases.decide", "max_body": 600_000})
async def was_sold(request: Request[Any, Any, Any], purchase_id: FromPath[int]) -> Response[Any]:
    form = await read_form(request, WasSold)
    row = await _of_shop(request, purchase_id)
    try:
        cost = Money.parse(form.cost, row["currency"]) if form.cost else None
    except ValueError:
        said = _("Write an amount in digits, such as 19.90.")
        return flash(see_other(f"/admin/purchases/{purchase_id}"), said, "error")
    act = deciding.was_sold(purchase_id, form.codes, cost, person_of(request))
    return await _acted(request, act, f"/admin/purchases/{purchase_id}", row["order_ref"], _("Written down as sold."))


@post("/purchases/{purchase_id:int}/not-sold", opt={"who": "staff:purchases.decide"})
async def was_not_sold(request: Request[Any, Any, Any], purchase_id: FromPath[int]) -> Response[Any]:
    form = await read_form(request, NotSold)
    row = await _of_shop(request, purchase_id)
    act = deciding.was_not_sold(purchase_id, form.offer, person_of(request))
    return await _acted(
        request, act, f"/admin/orders/{row['order_ref']}", row["order_ref"], _("Written down as not sold.")
    )


@post("/purchases/{purchase_id:int}/seen", opt={"who": "staff:purchases.decide"})
async def purchase_seen(request: Request[Any, Any, Any], purchase_id: FromPath[int]) -> Response[Any]:
    row = await _of_shop(request, purchase_id)
    act = deciding.seen(purchase_id, person_of(request))
    return await _acted(request, act, f"/admin/purchases/{purchase_id}", row["order_ref"], _("Closed."))


@post("/purchases/{purchase_id:int}/answers/{answer_id:int}", opt={"who": "staff:codes.reveal", "fresh": True})
async def open_answer(
    request: Request[Any, Any, Any], purchase_id: FromPath[int], answer_id: FromPath[int]
) -> Response[Any]:
    """What the supplier answered, with its codes: for a person who has to find out what went wrong."""
    row, who = await _of_shop(request, purchase_id), person_of(request)
    kept = {one["id"]: one for one in await answers.of_purchase(purchase_id)}
    if answer_id not in kept:
        raise NotFound()

    most = shop_of(request).settings.staff_codes_per_day
    onlooker = Onlooker(who.shop_id, request.state.session.staff_id, most, who.ip)

    async def write(tx: db.Tx) -> bool:
        if not await staff_reveal.counted(tx, onlooker, row["order_ref"], row["quantity"]):
            return False
        await audit.record(
            tx,
            who.actor,
            "purchase.answer_opened",
            f"purchase:{row['ref']}",
            {"answer": answer_id},
            shop_id=who.shop_id,
            ip=who.ip,
        )
        return True

    if not await db.transaction(write):
        return flash(see_other(f"/admin/purchases/{purchase_id}"), staff_reveal.enough(onlooker).text, "error")
    return await _purchase_page(request, purchase_id, (answer_id, answers.opened(kept[answer_id])))


ROUTES = (
    give_another,
    is_good,
    hand_over,
    buy_again,
    purchase_list,
    purchase_page,
    ask_now,
    was_sold,
    was_not_sold,
    purchase_seen,
    open_answer,
)
