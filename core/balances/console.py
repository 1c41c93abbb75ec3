"""The balances of buyers in the console: what is there, how it changed, and changing it with a reason."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from litestar import Response, get, post
from litestar.params import FromPath
from msgspec import Meta

from core.balances.lists import BALANCES
from core.ledger import chart, customers
from core.money import Money
from core.people.email import read_email
from core.refused import Refused
from core.web.amounts import read_amount_above_zero
from core.web.errors import FormError, NotFound
from core.web.flash import flash
from core.web.forms import Line, read_form, read_query
from core.web.i18n import _
from core.web.list_page import list_page
from core.web.render import page, see_other
from core.web.request import AnyRequest, shop_of, visit_of

PAGE = 50


class Paging(msgspec.Struct):
    page: Annotated[int, Meta(ge=1, le=100_000)] = 1


class ChangeForm(msgspec.Struct):
    contact: Line
    amount: Line
    way: Literal["in", "out"]
    why: Literal["cash", "goodwill"]
    reason: Annotated[str, Meta(min_length=1, max_length=300, extra={"strip": True})]
    key: Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{8,100}$")]
    currency: Line = ""


@get("/balances", opt={"who": "staff:balance.read", "repeats": ("col",)})
async def balance_list(request: AnyRequest) -> Response[Any]:
    return await _balance_list(request, {}, {})


async def _balance_list(
    request: AnyRequest, kept: dict[str, Any], errors: dict[str, Any], status: int = 200
) -> Response[Any]:
    context = {"owed": await customers.owed_to_all(shop_of(request).id), "kept": kept, "errors": errors}
    return await list_page(request, BALANCES, context, template="balances/list.html", status=status)


@get("/balances/{balance_id:int}", opt={"who": "staff:balance.read"})
async def balance_page(request: AnyRequest, balance_id: FromPath[int]) -> Response[str]:
    search = read_query(request, Paging)
    balance = await customers.by_id(shop_of(request).id, balance_id)
    if balance is None:
        raise NotFound()
    changes = await customers.history(balance, PAGE + 1, (search.page - 1) * PAGE)
    context = {
        "balance": balance,
        "changes": changes[:PAGE],
        "more": len(changes) > PAGE,
        "number": search.page,
        "kinds": chart.KINDS,
        "kept": {"contact": balance.contact, "currency": balance.money.currency},
        "errors": {},
    }
    return page(request, "balances/one.html", context)


@post("/balances", opt={"who": "staff:balance.edit", "fresh": True, "max_body": 8192})
async def change_balance(request: AnyRequest) -> Response[Any]:
    kept: dict[str, Any] = {}
    try:
        form = await read_form(request, ChangeForm)
        kept = msgspec.structs.asdict(form)
        balance_id = await _change(request, form)
    except FormError as error:
        return await _balance_list(request, error.kept, dict(error.fields), 422)
    except Refused as refused:
        return await _balance_list(request, kept, {refused.field or "amount": refused.text}, 422)
    return flash(see_other(f"/admin/balances/{balance_id}"), _("The balance was changed."))


async def _change(request: AnyRequest, form: ChangeForm) -> int:
    shop, staff_id, visit = shop_of(request), request.state.session.staff_id, visit_of(request)
    contact = read_email(form.contact, "contact")
    money = read_amount_above_zero(form.amount, form.currency or shop.currency, "amount")
    signed = money if form.way == "in" else Money(-money.amount, money.currency)
    await customers.change_once(
        shop.id,
        contact,
        signed,
        about=f"buyer:{contact}",
        cash=form.why == "cash",
        staff_id=staff_id,
        reason=form.reason,
        key=form.key,
        ip=visit.ip or None,
        limited=not request.state.session.may("limits.set"),
    )
    [balance] = [one for one in await customers.of_contact(shop.id, contact) if one.money.currency == money.currency]
    return balance.id


ROUTES = (balance_list, balance_page, change_balance)
