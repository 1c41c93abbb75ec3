"""Sales by time, goods and way of paying: a page, a file of what it shows, and a series to zoom into."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any, Literal

import msgspec
from litestar import Response, get

from core.insight import breakdown, figures, span
from core.insight.breakdown import BY, Row, Table
from core.insight.figures import Point
from core.insight.span import NAMES, Span
from core.ledger.sheet import csv_text
from core.money import Money
from core.shops import service as shops
from core.shops.service import Shop
from core.web.forms import Line, read_query
from core.web.i18n import Text, _, in_words
from core.web.render import page
from core.web.request import AnyRequest, visit_of
from core.web.words import day, money, number, query
from core.web.xlsx import XLSX, XlsxFile

SeeMoney = "finance.read"


class Asked(msgspec.Struct):
    range: Line = "30"
    since: date | None = None
    until: date | None = None
    by: Literal["day", "week", "month", "product", "sku", "category", "method"] = "day"


class AskedFile(Asked):
    format: Literal["csv", "xlsx"] = "csv"


async def _shop(request: AnyRequest) -> Shop:
    return await shops.by_id(visit_of(request).shop.id)


def span_of(asked: Asked, shop: Shop) -> Span:
    return span.of(asked.range, asked.since, asked.until, shop.timezone)


def given_of(asked_for: Span) -> dict[str, str]:
    """The range as the parts of an address."""
    if asked_for.key != "custom":
        return {"range": asked_for.key}
    return {"range": "custom", "since": str(asked_for.first), "until": str(asked_for.last)}


def drawn(points: list[Point], days: Span) -> list[tuple[str, int, str]]:
    """Sales as a chart takes them: what the time is called, the amount, the amount in words."""
    by_hour = days.end - days.start <= figures.A_DAY
    return [
        (f"{one.at:%H:%M}" if by_hour else day(one.at.date(), "short"), one.money.amount, money(one.money))
        for one in points
    ]


def orders_of(days: Span, by: str = "", key: str = "") -> str:
    """The list of the orders that a row counts, or all of these days; empty where no list shows them."""
    first, last = days.first, days.last
    if by in breakdown.TIMES:
        first, last = (max(date.fromisoformat(key), days.first), min(_last_day(by, key), days.last))
    elif by and by != "sku":
        return ""
    counted = {"sold": "yes", "test": "no", "paid_since": str(first), "paid_until": str(last)}
    return "/admin/orders" + query(counted, sku=key if by == "sku" else "")


def _last_day(by: str, key: str) -> date:
    first = date.fromisoformat(key)
    if by == "month":
        return (first + timedelta(days=31)).replace(day=1) - timedelta(days=1)
    return first + timedelta(days=6 if by == "week" else 0)


@get("/insight", opt={"who": "staff:insight.read"})
async def insight(request: AnyRequest) -> Response[str]:
    asked, shop = read_query(request, Asked), await _shop(request)
    days = span_of(asked, shop)
    tables = await breakdown.of(shop, days, asked.by)
    context = {
        "span": days,
        "span_names": NAMES,
        "given": given_of(days),
        "by": asked.by,
        "by_names": BY,
        "tables": tables,
        "beside": await breakdown.costs_beside(shop, days, tables),
        "points": drawn(await figures.trend(shop, days.start, days.end), days),
        "tabs": [(f"/admin/insight{query(given_of(days), by=key)}", name, None) for key, name in BY.items()],
        "cut": breakdown.is_cut(tables),
        "most": breakdown.MOST,
        "may_see_cost": request.state.session.may(SeeMoney),
        "is_time": asked.by in breakdown.TIMES,
        "orders_of": orders_of,
    }
    return page(request, "insight/insight.html", context)


@get("/insight/export", opt={"who": "staff:insight.read"})
async def export(request: AnyRequest) -> Response[Any]:
    asked, shop = read_query(request, AskedFile), await _shop(request)
    days = span_of(asked, shop)
    rows = _sheet(await breakdown.of(shop, days, asked.by), asked.by, costs=request.state.session.may(SeeMoney))
    name = f"sales-by-{asked.by}-{days.first}-{days.last}.{asked.format}"
    headers = {"content-disposition": f'attachment; filename="{name}"', "cache-control": "no-store"}
    cells = [[cell.decimal() if isinstance(cell, Money) else cell for cell in row] for row in rows]
    if asked.format == "xlsx":
        file = XlsxFile()
        file.add(cells)
        return Response(file.bytes(), media_type=XLSX, headers=headers)
    return Response(csv_text(cells), media_type="text/csv", headers=headers)


def _sheet(tables: list[Table], by: str, *, costs: bool) -> list[list[Any]]:
    head: list[Any] = [BY[by], _("Name"), _("Currency"), _("Orders"), _("Units"), _("Sales"), _("Given back")]
    if costs:
        head += [_("Cost of goods"), _("Payment fees"), _("Profit")]
    rows = [head]
    for table in tables:
        rows += [[row.key, name_of(row, by), *_amounts(row, table.currency, costs)] for row in table.rows]
        rows.append([_("Total"), "", *_amounts(table.total, table.currency, costs)])
    if breakdown.is_cut(tables):
        rows.append([_("Only the first %(number)s rows are shown: choose fewer days.", number=number(breakdown.MOST))])
    return rows


def _amounts(row: Row, currency: str, costs: bool) -> list[Any]:
    amounts: list[Any] = [currency, row.orders, row.units, row.sales, row.refunded]
    return [*amounts, row.cost, row.fees, row.profit] if costs else amounts


def name_of(row: Row, by: str) -> str | Text:
    if not row.name:
        return {"category": _("Without a category"), "method": _("Nothing to pay")}.get(by, "")
    return " · ".join(text for text in (_said(row.name), _said(row.note)) if text)


def _said(words: dict[str, str] | str) -> str:
    return words if isinstance(words, str) else in_words(words)


@get("/insight/series.json", opt={"who": "staff:insight.read"})
async def series(request: AnyRequest) -> Response[dict[str, Any]]:
    """Sales and orders by day, or by hour of one day, in times of the shop's own clock."""
    asked, shop = read_query(request, Asked), await _shop(request)
    days = span_of(asked, shop)
    points = await figures.trend(shop, days.start, days.end)
    said = {
        "at": [f"{point.at:%Y-%m-%dT%H:%M}" for point in points],
        "sales": [float(point.money.decimal()) for point in points],
        "orders": [point.orders for point in points],
        "currency": shop.currency,
        "byHour": days.end - days.start <= figures.A_DAY,
    }
    return Response(said, headers={"cache-control": "no-store"})


ROUTES = (insight, export, series)
