"""The books in the console: trial balance, statements, fees."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Any

import msgspec
from litestar import Response, get, post
from msgspec import Meta

from core import db
from core.ledger import books, chart, fees
from core.ledger.books import Entry, Period, TrialBalance
from core.ledger.lists import ENTRIES
from core.ledger.sheet import csv_text
from core.money import Money
from core.refused import Refused
from core.web.errors import FormError, NotFound
from core.web.flash import flash
from core.web.forms import Line, read_form, read_query
from core.web.i18n import _
from core.web.list_page import list_page
from core.web.render import page, see_other
from core.web.request import AnyRequest, shop_of
from core.web.words import number

PAGE = 50
MOST_ROWS = 100_000


# -- the books --------------------------------------------------------------------------


class Asked(msgspec.Struct):
    currency: Line = ""
    first: date | None = None
    last: date | None = None
    account: Line = ""
    page: Annotated[int, Meta(ge=1, le=100_000)] = 1


def _span(asked: Asked, shop: Any) -> Period:
    return books.period(asked.first, asked.last, shop.timezone)


def _given(asked: Asked, span: Period, currency: str) -> dict[str, Any]:
    return {
        "currency": currency,
        "first": span.first.isoformat(),
        "last": span.last.isoformat(),
        "account": asked.account,
    }


@get("/books", opt={"who": "staff:finance.read"})
async def trial_balance(request: AnyRequest) -> Response[str]:
    asked, shop = read_query(request, Asked), shop_of(request)
    currency, span = _known(asked.currency or shop.currency), _span(asked, shop)
    context = {
        "trial": await books.trial_balance(shop.id, currency, span),
        "currencies": sorted({*await books.currencies(shop.id), shop.currency}),
        "given": _given(asked, span, currency),
        "natures": chart.NATURES,
        "title": chart.title,
    }
    return page(request, "ledger/trial_balance.html", context)


def _known(currency: str) -> str:
    try:
        return Money(0, currency).currency
    except ValueError:
        raise NotFound() from None


@get("/books/trial-balance.csv", opt={"who": "staff:finance.read"})
async def trial_balance_csv(request: AnyRequest) -> Response[str]:
    asked, shop = read_query(request, Asked), shop_of(request)
    currency, span = _known(asked.currency or shop.currency), _span(asked, shop)
    trial = await books.trial_balance(shop.id, currency, span)
    return _csv(f"trial-balance-{currency}-{span.first}-{span.last}", _trial_rows(trial))


def _trial_rows(trial: TrialBalance) -> list[list[Any]]:
    head = [
        _("Account"),
        _("Name"),
        _("Kind"),
        _("Currency"),
        _("Opening debit"),
        _("Opening credit"),
        _("Debits"),
        _("Credits"),
        _("Closing debit"),
        _("Closing credit"),
    ]
    rows: list[list[Any]] = [head]
    for line in trial.lines:
        names = [line.code, chart.title(line.code), chart.NATURES[line.heading.nature], trial.debit.currency]
        rows.append(
            [*names, *_sides(line.opening), line.debit.plain(), line.credit.plain(), *_sides(line.closing)],
        )
    totals = ["", "", trial.debit.plain(), trial.credit.plain(), trial.debits.plain(), trial.credits.plain()]
    return [*rows, ["", _("Total"), "", trial.debit.currency, *totals]]


def _sides(balance: Money) -> list[str]:
    """A balance in the column of its side."""
    if balance.amount >= 0:
        return [balance.plain(), ""]
    return ["", Money(-balance.amount, balance.currency).plain()]


@get("/books/account", opt={"who": "staff:finance.read"})
async def account(request: AnyRequest) -> Response[str]:
    asked, shop = read_query(request, Asked), shop_of(request)
    currency, span = _known(asked.currency or shop.currency), _span(asked, shop)
    heading = _heading(asked.account)
    entries = await books.statement(shop.id, asked.account, currency, span, PAGE + 1, (asked.page - 1) * PAGE)
    context = {
        "code": asked.account,
        "heading": heading,
        "opening": await books.opening(shop.id, asked.account, currency, span),
        "entries": entries[:PAGE],
        "more": len(entries) > PAGE,
        "number": asked.page,
        "given": _given(asked, span, currency),
        "kinds": chart.KINDS,
        "title": chart.title,
    }
    return page(request, "ledger/account.html", context)


@get("/books/entries", opt={"who": "staff:finance.read", "repeats": ("col",)})
async def entries(request: AnyRequest) -> Response[Any]:
    return await list_page(request, ENTRIES, template="ledger/entries.html")


def _heading(code: str) -> chart.Heading:
    try:
        return chart.heading(code)
    except chart.UnknownAccount:
        raise NotFound() from None


@get("/books/account.csv", opt={"who": "staff:finance.read"})
async def account_csv(request: AnyRequest) -> Response[str]:
    asked, shop = read_query(request, Asked), shop_of(request)
    currency, span = _known(asked.currency or shop.currency), _span(asked, shop)
    _heading(asked.account)
    entries = await books.statement(shop.id, asked.account, currency, span, MOST_ROWS + 1)
    rows = _statement_rows(entries[:MOST_ROWS], shop.timezone)
    if len(entries) > MOST_ROWS:
        rows.append([_("Only the first %(number)s rows are shown: choose fewer days.", number=number(MOST_ROWS))])
    name = f"{asked.account.replace(':', '-')}-{currency}-{span.first}-{span.last}"
    return _csv(name, rows)


def _statement_rows(entries: list[Entry], zone: str) -> list[list[Any]]:
    head = [
        _("Entry"),
        _("Time"),
        _("What"),
        _("Order"),
        _("Other account"),
        _("Debit"),
        _("Credit"),
        _("Balance debit"),
        _("Balance credit"),
        _("Source"),
    ]
    rows: list[list[Any]] = [head]
    for entry in entries:
        rows.append(
            [
                entry.id,
                books.local(entry.at, zone),
                chart.KINDS.get(entry.kind, entry.kind),
                entry.order_ref,
                entry.other,
                entry.debit.plain() if entry.debit else "",
                entry.credit.plain() if entry.credit else "",
                *_sides(entry.balance),
                entry.source,
            ]
        )
    return rows


def _csv(name: str, rows: list[list[Any]]) -> Response[str]:
    safe = "".join(sign if sign.isalnum() or sign in "-_." else "-" for sign in name if sign.isascii())
    headers = {"content-disposition": f'attachment; filename="{safe}.csv"', "cache-control": "no-store"}
    return Response(csv_text(rows), media_type="text/csv", headers=headers)


# -- fees -------------------------------------------------------------------------------


class FeeForm(msgspec.Struct):
    method: Line
    percent: Line = ""
    fixed: Line = ""


@get("/books/fees", opt={"who": "staff:finance.read"})
async def fee_page(request: AnyRequest) -> Response[str]:
    return await _fee_page(request)


async def _fee_page(
    request: AnyRequest, kept: dict[str, Any] | None = None, errors: dict[str, Any] | None = None, status: int = 200
) -> Response[str]:
    shop = shop_of(request)
    context = {
        "fees": await fees.of_shop(shop.id, shop.currency),
        "method_title": chart.method_title,
        "kept": kept or {},
        "errors": errors or {},
    }
    return page(request, "ledger/fees.html", context, status=status)


@post("/books/fees", opt={"who": "staff:settings.edit", "max_body": 4096})
async def save_fee(request: AnyRequest) -> Response[Any]:
    shop, staff_id = shop_of(request), request.state.session.staff_id
    kept: dict[str, Any] = {}
    try:
        form = await read_form(request, FeeForm)
        kept = msgspec.structs.asdict(form)
        fee = fees.read(form.method, form.percent, form.fixed, shop.currency)
        await db.transaction(fees.save, shop.id, fee, staff_id)
    except FormError as error:
        return await _fee_page(request, error.kept, dict(error.fields), 422)
    except Refused as refused:
        return await _fee_page(request, kept, {refused.field or "method": refused.text}, 422)
    return flash(see_other("/admin/books/fees"), _("Saved. It counts for payments from now on."))


ROUTES = (trial_balance, trial_balance_csv, account, account_csv, entries, fee_page, save_fee)
