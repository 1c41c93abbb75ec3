"""A list as a page of the console."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from litestar import Response

from core import db
from core.money import Money
from core.web import lists
from core.web.lists import Act, Asked, Choice, Column, Listing, Scope
from core.web.render import page, see_other
from core.web.request import AnyRequest, visit_of

EXPORT = "lists.export"
VIEWS = "SELECT id, name, query, is_default FROM web_view WHERE staff_id = $1 AND page = $2 ORDER BY name"


@dataclass(frozen=True, slots=True)
class Shown:
    """What the template draws."""

    listing: Listing
    asked: Asked
    path: str
    columns: list[Column]
    rows: list[dict[str, Any]]
    filters: list[tuple[Any, list[tuple[str, Any]], str]]
    total: int | None
    more: bool
    sums: list[Money]
    sums_of_all: bool
    said: Any
    views: list[Any]
    view: Any
    acts: list[Act]
    may_export: bool
    fixed: Mapping[str, str]

    @property
    def given(self) -> dict[str, Any]:
        return self.asked.given()

    @property
    def query(self) -> str:
        """With what stands in the address of the page."""
        return replace(self.asked, filters={**self.asked.filters, **self.fixed}).query()

    @property
    def beyond(self) -> bool:
        """There are more than are counted."""
        return self.total is not None and self.total > lists.DEEPEST

    @property
    def pages(self) -> int | None:
        if self.total is None:
            return None
        return max(1, -(-min(self.total, lists.DEEPEST) // self.asked.size))

    @property
    def all_columns(self) -> list[tuple[Column, bool]]:
        chosen = {one.key for one in self.columns}
        return [(one, one.key in chosen) for one in self.listing.columns[1:] if one.title]

    def sort_link(self, column: Column) -> str:
        """What a click on the head sorts by: first up, then down, then as always."""
        then = {column.key: f"-{column.key}", f"-{column.key}": ""}
        return then.get(self.asked.sort, column.key)

    def sorted_by(self, column: Column) -> str:
        return {column.key: "ascending", f"-{column.key}": "descending"}.get(self.asked.sort, "")


def scope_of(request: AnyRequest) -> Scope:
    visit = visit_of(request)
    session = request.state.session
    return Scope(
        visit.shop.id,
        session.staff_id or 0,
        session.whole_server,
        visit.shop.currency,
        visit.shop.timezone,
        session.may,
    )


async def list_page(
    request: AnyRequest,
    listing: Listing,
    context: Mapping[str, Any] | None = None,
    *,
    template: str = "list.html",
    status: int = 200,
    path: str = "",
    fixed: Mapping[str, str] | None = None,
) -> Response[Any]:
    """``path`` and ``fixed`` are for a list below something: its own address, and filters that stand in that."""
    scope = scope_of(request)
    query = request.scope.get("query_string", b"") if request.method == "GET" else b""
    views = await db.fetch(VIEWS, scope.staff_id, listing.name)
    path = path or listing.path
    if request.method == "GET" and not query:
        default = next((one for one in views if one["is_default"]), None)
        if default is not None and default["query"]:
            return see_other(f"{path}?{default['query']}")
    shown = await show(listing, scope, lists.read(listing, query), views, path, fixed or {})
    return page(request, template, {**(context or {}), "shown": shown, "kind_of": lists.kind_of}, status)


async def show(
    listing: Listing, scope: Scope, asked: Asked, views: list[Any], path: str, fixed: Mapping[str, str]
) -> Shown:
    narrowed = replace(asked, filters={**asked.filters, **fixed})
    want = await lists.wanted(listing, scope, narrowed)
    keys = await want.keys(asked.size + 1, (asked.page - 1) * asked.size)
    more = len(keys) > asked.size
    rows = await want.rows(keys[: asked.size])
    sums: list[Money] = []
    if listing.total and listing.count and rows:
        total, sums = await want.totals()
    else:
        total = await _total(want, asked, len(keys), more) if listing.count else None
    of_all = total is not None and total <= lists.DEEPEST
    if listing.total and rows and not of_all:
        _shown, sums = await want.totals(keys[: asked.size])
    current = asked.query()
    return Shown(
        listing=listing,
        asked=asked,
        path=path,
        columns=lists.visible(listing, asked),
        rows=rows,
        filters=[
            (one, await _options(one, replace(scope, within=fixed), value) if isinstance(one, Choice) else [], value)
            for one in listing.filters
            if one.name not in fixed
            for value in [asked.filters.get(one.name, getattr(one, "default", ""))]
        ],
        total=total,
        more=more and asked.page * asked.size < lists.DEEPEST,
        sums=sums,
        sums_of_all=of_all,
        said=want.match.said if want.match else "",
        views=views,
        view=next((one for one in views if one["query"] == current), None),
        acts=[one for one in listing.acts if scope.may(one.right)],
        may_export=scope.may(EXPORT),
        fixed=fixed,
    )


async def _options(choice: Choice, scope: Scope, value: str) -> list[tuple[str, Any]]:
    """What can be chosen, and what is: the next press of the button must not lose it."""
    options = list(await lists.options_of(choice.options, scope))
    return options if not value or value in dict(options) else [*options, (value, value)]


async def _total(want: lists.Wanted, asked: Asked, found: int, more: bool) -> int:
    """The last page tells by itself how many there are."""
    if not more and (found or asked.page == 1):
        return (asked.page - 1) * asked.size + found
    return await want.count()
