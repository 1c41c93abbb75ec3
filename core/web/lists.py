"""Lists of the console: filters, order, page and columns stand in the address, are read strictly, and become two
statements, one that finds the keys of a page and one that fetches its rows. The same rows make exports.

A feature's lists stand in its ``lists.py``; SQL in them names values in braces: ``{shop}``, ``{staff}``, ``{whole}``,
``{keys}`` and, in a filter, ``{value}``.
"""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

from core import db
from core.money import Money
from core.web.errors import FormError
from core.web.forms import CONTROL, parse_urlencoded
from core.web.i18n import Text, _

SIZES = (20, 50, 100, 200)
SIZE = 50
DEEPEST = 10_000
"""So many rows are counted and can be paged through; what lies behind them is found by a filter or an export."""
LONGEST = 300
PLACE = re.compile(r"\{(\w+)\}")
WHOLE = re.compile(r"[0-9]{1,9}")

Row = Mapping[str, Any]


# -- what a cell may show ---------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Badge:
    text: Any
    kind: str = "neutral"


@dataclass(frozen=True, slots=True)
class Cell:
    """Text, perhaps a link, with badges behind it and a note below it. ``copy`` offers the text to the clipboard."""

    text: Any
    href: str = ""
    note: Any = ""
    badges: tuple[Badge, ...] = ()
    copy: bool = False
    code: bool = False


@dataclass(frozen=True, slots=True)
class Many:
    """Several of them, one below the other."""

    items: Sequence[Any]


def kind_of(value: Any) -> str:
    """How a template shows it."""
    if value is None or value == "":
        return "none"
    for kind, types in KINDS:
        if isinstance(value, types):
            return kind
    return "text"


KINDS: tuple[tuple[str, Any], ...] = (
    ("money", Money),
    ("time", datetime),
    ("day", date),
    ("badge", Badge),
    ("cell", Cell),
    ("many", Many),
    ("bool", bool),
    ("number", int),
)


def badge(table: Mapping[str, Any], key: str) -> Badge:
    """The state's name in its colour; a state nobody knows stands as it is."""
    found = table.get(key)
    return Badge(found[0], found[1]) if found else Badge(key)


# -- what a list is made of -------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Scope:
    """For whom a list is made. ``may`` tells the rights of that person, ``within`` the filters its address fixes."""

    shop_id: int
    staff_id: int
    whole_server: bool
    currency: str
    timezone: str
    may: Callable[[str], bool]
    within: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Column:
    """``value`` makes the cell out of a row. ``sort`` is what the database sorts by; ``draw`` a template of its own for
    what is more than a value, such as buttons: such a column without ``value`` is in no export. ``shown_with`` is the
    filter and its value with which a column stands there that otherwise has to be chosen."""

    key: str
    title: Any
    value: Callable[[Row], Any] | None = None
    sort: str = ""
    shown: bool = True
    kind: str = ""
    draw: str = ""
    shown_with: tuple[str, str] = ("", "")

    def is_shown(self, filters: Mapping[str, str]) -> bool:
        name, value = self.shown_with
        return self.shown or bool(name and filters.get(name) == value)

    def of(self, row: Row) -> Any:
        return self.value(row) if self.value else None


Options = Mapping[str, Any] | Callable[[Scope], Awaitable[Sequence[tuple[str, Any]]]]


@dataclass(frozen=True, slots=True)
class Choice:
    """``where`` is one condition with ``{value}``, or one for each value."""

    name: str
    title: Any
    options: Options
    where: str | Mapping[str, str]
    default: str = ""


@dataclass(frozen=True, slots=True)
class Day:
    """A day in the shop's zone. ``where`` compares with ``{value}``, the moment it begins; ``after`` with its end."""

    name: str
    title: Any
    where: str
    after: bool = False


@dataclass(frozen=True, slots=True)
class Match:
    """What a search came to: a condition with its values, and what it was that matched."""

    where: str
    values: Mapping[str, Any] = field(default_factory=dict)
    said: Any = ""


@dataclass(frozen=True, slots=True)
class Nothing:
    """What an empty list says: why it is empty and what to do next."""

    title: Any
    text: Any = ""
    href: str = ""
    action: Any = ""
    icon: str = "box"


@dataclass(frozen=True, slots=True)
class Ask:
    """One more thing an act wants to know."""

    name: str
    title: Any
    options: Options | None = None
    help: Any = ""


@dataclass(frozen=True, slots=True)
class Doing:
    """Who does an act to many rows, with what was asked for it."""

    scope: Scope
    ip: str | None
    fields: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Act:
    """Done to rows one by one, each with its own guards. ``run`` raises ``Refused`` where a row is left as it is.

    ``fits`` is the condition for rows it can be done to, and ``others`` says why not to the rest: told before
    anything is done. ``preview`` gives (name, before, after) of the first rows.
    """

    name: str
    title: Any
    right: str
    question: Any
    run: Callable[[Doing, Any], Awaitable[None]]
    fits: str = "true"
    others: Any = ""
    fields: tuple[Ask, ...] = ()
    preview: Callable[[Doing, list[Any]], Awaitable[list[tuple[Any, Any, Any]]]] | None = None
    danger: bool = False
    fresh: bool = False


@dataclass(frozen=True)
class Listing:
    """``source`` is FROM … WHERE … without any filter, ``rows`` the statement that fetches the rows of ``{keys}``."""

    name: str
    title: Any
    path: str
    right: str
    key: str
    source: str
    rows: str
    columns: tuple[Column, ...]
    order: str
    about: Any = ""
    filters: tuple[Choice | Day, ...] = ()
    hint: Any = ""
    search: str | Callable[[Scope, str], Awaitable[Match]] = ""
    find: str = ""
    prepare: Callable[[Scope, list[dict[str, Any]]], Awaitable[None]] | None = None
    total: tuple[str, str, str] | None = None
    """The column, the currency and the amount in SQL of what is summed up."""
    acts: tuple[Act, ...] = ()
    label: Callable[[Row], Any] = lambda row: row["id"]
    empty: Nothing = Nothing(_("Nothing yet"))
    slot: str = ""
    count: bool = True
    given: Callable[[], Mapping[str, Any]] = dict
    """More values for the SQL: what the program knows and the database does not."""

    def act(self, name: str) -> Act | None:
        return next((one for one in self.acts if one.name == name), None)


_known: dict[str, Listing] = {}


def import_core() -> None:
    """Make the lists of every feature known: they stand in ``core.<feature>.lists``."""
    import core

    for feature in pkgutil.iter_modules(core.__path__):
        if feature.ispkg and importlib.util.find_spec(f"core.{feature.name}.lists"):
            module = importlib.import_module(f"core.{feature.name}.lists")
            for one in getattr(module, "LISTS", ()):
                _known[one.name] = one


def known() -> dict[str, Listing]:
    if not _known:
        import_core()
    return _known


# -- what the address asks for ----------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Asked:
    """An address that was read: every value in it is one the list knows."""

    q: str = ""
    filters: Mapping[str, str] = field(default_factory=dict)
    sort: str = ""
    page: int = 1
    size: int = SIZE
    columns: tuple[str, ...] = ()

    @property
    def narrowed(self) -> bool:
        return bool(self.q or self.filters)

    def given(self) -> dict[str, Any]:
        """The same as the parts of an address; what is as always is left out."""
        size = self.size if self.size != SIZE else ""
        return {"q": self.q, **self.filters, "sort": self.sort, "size": size, "col": list(self.columns)}

    def query(self) -> str:
        return urlencode([pair for pair in self.given().items() if pair[1] not in ("", [])], doseq=True)


def read(listing: Listing, query: bytes | str) -> Asked:
    """:raises FormError: something in it is none of what the list offers. Names it does not know are ignored."""
    given = parse_urlencoded(query.encode() if isinstance(query, str) else query).fields
    wrong: dict[str, Any] = {}
    named = {one.name: one for one in listing.filters}
    sorts = {one.key for one in listing.columns if one.sort}
    known_columns = {one.key for one in listing.columns}
    values: dict[str, str] = {}
    for name in ("q", "sort", "page", "size", *named):
        items = given.get(name, [])
        value = items[0].strip() if items else ""
        if len(items) > 1:
            wrong[name] = _("This was sent more than once.")
        elif len(value) > LONGEST:
            wrong[name] = _("This is too long.")
        elif CONTROL.intersection(value) or "\x7f" in value:
            wrong[name] = _("This contains signs that cannot be used.")
        elif value:
            values[name] = value
            problem = _problem(name, value, named, sorts)
            if problem:
                wrong[name] = problem
    columns = [one for one in given.get("col", []) if one]
    if not known_columns.issuperset(columns):
        wrong["col"] = _("The list has no such column.")
    page, size = _whole(values.get("page"), 1), _whole(values.get("size"), SIZE)
    if not wrong and (page - 1) * size >= DEEPEST:
        wrong["page"] = _("Only the first 10,000 rows can be turned through. Use the filters, or export the list.")
    if wrong:
        raise FormError(wrong)
    filters = {name: values[name] for name in named if name in values}
    return Asked(values.get("q", ""), filters, values.get("sort", ""), page, size, tuple(dict.fromkeys(columns)))


def _problem(name: str, value: str, named: Mapping[str, Choice | Day], sorts: set[str]) -> Text | None:
    if name == "page" and (not WHOLE.fullmatch(value) or int(value) < 1):
        return _("A page is a whole number from 1 up.")
    if name == "size" and value not in map(str, SIZES):
        return _("A page has 20, 50, 100 or 200 rows.")
    if name == "sort" and value.removeprefix("-") not in sorts:
        return _("The list cannot be sorted by this.")
    found = named.get(name)
    if isinstance(found, Day) and _day(value) is None:
        return _("Write a day such as 2026-11-23.")
    if isinstance(found, Choice) and not callable(found.options) and value not in found.options:
        return _("“%(value)s” is none of the choices.", value=value)
    return None


def _whole(value: str | None, otherwise: int) -> int:
    return int(value) if value and WHOLE.fullmatch(value) else otherwise


def _day(value: str) -> date | None:
    try:
        found = date.fromisoformat(value)
    except ValueError:
        return None
    return found if date(2000, 1, 1) <= found <= date(2199, 12, 31) else None


# -- what is asked of the database ------------------------------------------------------


class Sql:
    """One statement with its values."""

    def __init__(self, scope: Scope, given: Mapping[str, Any] | None = None) -> None:
        self.values: list[Any] = []
        self._own = {"shop": scope.shop_id, "staff": scope.staff_id, "whole": scope.whole_server, **(given or {})}

    def text(self, sql: str, **named: Any) -> str:
        given = {**self._own, **named}

        def put(match: re.Match[str]) -> str:
            if match[1] not in given:
                return match[0]
            self.values.append(given[match[1]])
            return f"${len(self.values)}"

        return PLACE.sub(put, sql)


@dataclass(frozen=True, slots=True)
class Wanted:
    """A list with what was asked of it, for one person: makes the statements."""

    listing: Listing
    scope: Scope
    asked: Asked
    match: Match | None = None

    def _sql(self) -> Sql:
        return Sql(self.scope, self.listing.given())

    def _where(self, sql: Sql) -> str:
        parts = [sql.text(self.listing.source)]
        if self.match:
            parts.append(f"({sql.text(self.match.where, **self.match.values)})")
        for one in self.listing.filters:
            value = self.asked.filters.get(one.name, getattr(one, "default", ""))
            if value:
                parts.append(f"({self._condition(sql, one, value)})")
        return " AND ".join(parts)

    def _condition(self, sql: Sql, one: Choice | Day, value: str) -> str:
        if isinstance(one, Day):
            begin = datetime.combine(_day(value) or date.min, time(), ZoneInfo(self.scope.timezone))
            return sql.text(one.where, value=(begin + timedelta(days=1 if one.after else 0)).astimezone(UTC))
        return sql.text(one.where if isinstance(one.where, str) else one.where[value], value=value)

    def _order(self) -> str:
        if not self.asked.sort:
            return self.listing.order
        column = next(one for one in self.listing.columns if one.key == self.asked.sort.removeprefix("-"))
        way = "DESC" if self.asked.sort.startswith("-") else "ASC"
        return f"{column.sort} {way}, {self.listing.key} {way}"

    def keys_statement(self, limit: int, offset: int = 0, only: str = "") -> tuple[str, list[Any]]:
        sql = self._sql()
        where = self._where(sql) + (f" AND ({only})" if only else "")
        text = f"SELECT {self.listing.key} AS row_key {where} ORDER BY {self._order()}"
        return sql.text(text + " LIMIT {limit} OFFSET {offset}", limit=limit, offset=offset), sql.values

    async def keys(self, limit: int, offset: int = 0) -> list[Any]:
        text, values = self.keys_statement(limit, offset)
        return [row["row_key"] for row in await db.fetch(text, *values)]

    async def count(self) -> int:
        """How many there are; ``DEEPEST + 1`` when there are more than that."""
        sql = self._sql()
        inner = f"SELECT 1 {self._where(sql)}"
        text = sql.text(f"SELECT count(*) FROM ({inner} LIMIT {{most}}) AS counted", most=DEEPEST + 1)  # noqa: S608
        return int(await db.fetchval(text, *sql.values))

    async def totals(self, keys: list[Any] | None = None) -> tuple[int, list[Money]]:
        """How many there are and what the money column comes to: of all that is matched, or of these rows.

        More than ``DEEPEST + 1`` are neither counted nor summed up.
        """
        assert self.listing.total is not None  # noqa: S101
        sql = self._sql()
        _column, currency, amount = self.listing.total
        where = self._where(sql) if keys is None else sql.text(self._of_keys(), keys=keys)
        inner = sql.text(f"SELECT {currency} AS currency, {amount} AS amount {where} LIMIT {{most}}", most=DEEPEST + 1)
        text = "SELECT currency, sum(amount)::bigint AS amount, count(*) AS number FROM"
        found = await db.fetch(f"{text} ({inner}) AS summed GROUP BY 1 ORDER BY 1", *sql.values)
        sums = [Money(row["amount"], row["currency"]) for row in found if row["amount"] is not None]
        return sum(row["number"] for row in found), sums

    def _of_keys(self) -> str:
        return f"{self.listing.source} AND {self.listing.key} = ANY({{keys}})"

    async def rows(self, keys: list[Any]) -> list[dict[str, Any]]:
        """The rows of these keys, in their order; a row that is gone meanwhile is left out."""
        if not keys:
            return []
        sql = self._sql()
        text = sql.text(self.listing.rows, keys=keys)
        found = {row["row_key"]: dict(row) for row in await db.fetch(text, *sql.values)}
        rows = [found[key] for key in keys if key in found]
        if self.listing.prepare:
            await self.listing.prepare(self.scope, rows)
        return rows

    async def fitting(self, act: Act, keys: list[Any]) -> int:
        sql = self._sql()
        where = sql.text(self._of_keys(), keys=keys)
        return int(await db.fetchval(f"SELECT count(*) {where} AND ({sql.text(act.fits)})", *sql.values))


async def wanted(listing: Listing, scope: Scope, asked: Asked) -> Wanted:
    match: Match | None = None
    if asked.q and callable(listing.search):
        match = await listing.search(scope, asked.q)
    elif asked.q and isinstance(listing.search, str) and listing.search:
        match = Match(listing.search, {"q": asked.q, "like": f"%{escaped(asked.q)}%"})
    return Wanted(listing, scope, asked, match)


def escaped(text: str) -> str:
    """For LIKE: no sign of it stands for others."""
    return text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")


def visible(listing: Listing, asked: Asked) -> list[Column]:
    """The first column and those with buttons are always there."""
    first, *rest = listing.columns
    chosen = set(asked.columns)
    return [
        first,
        *(one for one in rest if not one.title or (one.key in chosen if chosen else one.is_shown(asked.filters))),
    ]


async def options_of(options: Options, scope: Scope) -> Iterable[tuple[str, Any]]:
    if callable(options):
        return await options(scope)
    return [(key, value[0] if isinstance(value, tuple) else value) for key, value in options.items()]
