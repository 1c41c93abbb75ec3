"""Places on the shop's pages where plugins may show something: the list of all of them, and how they are filled.

A page is drawn first, with a mark at each place that a plugin wants to fill. Then all of them are asked side by side,
and what they give takes the place of the marks. A page waits a fifth of a second for them and not longer: who is late,
breaks or gives something else than the place is for is left out and counted. Time in which the process was busy with
other pages is nobody's fault and does not count.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Literal

from markupsafe import Markup

from core.money import Money
from core.tasks import strangers_code
from core.web.i18n import Text
from core.web.visit import Visit

log = logging.getLogger("vouchsafe.web")

FILL_SECONDS = 0.2
FILL_STEPS = 10

State = Literal["good", "warning", "bad", "neutral"]


# -- what is shown to a plugin ----------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ProductShown:
    """The product of a page. ``title`` is by locale."""

    slug: str
    title: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class CheckoutShown:
    """What a buyer is about to order; nothing of it is stored yet. ``total`` is what must be paid as it stands now."""

    sku_code: str
    product_slug: str
    quantity: int
    total: Money


@dataclass(frozen=True, slots=True)
class OrderShown:
    """The order of a page, or of one row of a list. States as in ``OrderView``.

    ``contact`` and ``ip`` are empty on pages for buyers, and unless the plugin's manifest asks for the permission
    ``contacts``.
    """

    ref: str
    payment_state: str
    fulfilment_state: str
    total: Money
    contact: str = ""
    ip: str = ""


@dataclass(frozen=True, slots=True)
class HelpShown(OrderShown):
    """The order somebody may want help with, and what they said before they came to it: nothing unless they did.

    ``line`` is the line they mean, ``sku_code`` what was sold on it, ``reason`` is ``did_not_work`` or empty, and
    ``device`` the one they tried it on: ``ios``, ``android``, ``pc``, ``tv`` or empty.
    """

    line: int | None = None
    sku_code: str = ""
    reason: str = ""
    device: str = ""


@dataclass(frozen=True, slots=True)
class AccountShown:
    """The account of a page. ``contact`` is whose it is; empty unless the plugin's manifest asks for ``contacts``."""

    contact: str = ""


@dataclass(frozen=True, slots=True)
class PluginShown:
    """The plugin whose page this is: only this plugin itself is asked."""

    id: str


@dataclass(frozen=True, slots=True)
class SearchShown:
    """What a member of staff looks for, as typed. A code that was found is shown to nobody, an address only to
    plugins whose manifest asks for ``contacts``."""

    text: str


# -- what a plugin gives ----------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Fragment:
    """A template of the plugin's own (``templates/<id>/…``), drawn with ``context``, ``visit`` and ``shop``."""

    template: str
    context: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Link:
    """A way to a page of this shop. ``count`` stands beside it when it is more than 0; ``icon`` as in ``ui.icon``."""

    title: Text | str
    path: str
    icon: str = ""
    count: int = 0


@dataclass(frozen=True, slots=True)
class StateRow:
    """Something that is well or not, in a word or two; ``text`` is the rest of it, ``path`` where to do something.

    ``state`` is ``good``, ``warning``, ``bad`` or ``neutral``, and gives the colour.
    """

    title: Text | str
    state: State
    text: Text | str = ""
    path: str = ""


@dataclass(frozen=True, slots=True)
class SetupRow:
    """A step on the way to the first sale. ``path`` is where it is done, ``text`` says more about it."""

    title: Text | str
    path: str
    done: bool
    text: Text | str = ""


@dataclass(frozen=True, slots=True)
class TimelineRow:
    """Something that happened to an order, at ``at`` (UTC)."""

    at: datetime
    title: Text | str
    text: Text | str = ""
    state: State = "neutral"


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a list: a text for each row, by the order's reference; a row that is missing stays empty."""

    title: Text | str
    cells: Mapping[str, Text | str]


# -- the places -------------------------------------------------------------------------

Given = Any
Show = Callable[[Given], Any]
Filler = Callable[[Visit, Any], Any]


@dataclass(frozen=True, slots=True)
class Place:
    """``subject`` is what the filler is shown (None: nothing), ``gives`` what it may give, ``where`` says it in words.

    ``everyone``: the page is kept for two seconds and shown to every visitor without a session, so what is shown must
    not depend on who looks.
    """

    name: str
    subject: type | None
    gives: type
    where: str
    everyone: bool = False


def _part(given: Any, name: str) -> Any:
    """Pages hand over rows of the database as well as views."""
    return getattr(given, name) if hasattr(given, name) else given[name]


def _order(given: Any) -> OrderShown:
    total = _part(given, "total")
    return OrderShown(
        _part(given, "ref"),
        _part(given, "payment_state"),
        _part(given, "fulfilment_state"),
        total if isinstance(total, Money) else Money(total, _part(given, "currency")),
    )


def without_contacts(subject: Any) -> Any:
    """The same for a plugin that may not know who the buyer is."""
    if isinstance(subject, AccountShown):
        return AccountShown()
    if isinstance(subject, SearchShown) and "@" in subject.text:
        return SearchShown("")
    return replace(subject, contact="", ip="") if isinstance(subject, OrderShown) else subject


def _help(given: Any) -> HelpShown:
    of = _order(given["order"])
    said = (given["line"], given["sku_code"], given["reason"], given["device"])
    return HelpShown(of.ref, of.payment_state, of.fulfilment_state, of.total, "", "", *said)


_SHOWS: dict[type, Show] = {
    ProductShown: lambda given: ProductShown(_part(given, "slug"), _part(given, "title")),
    CheckoutShown: lambda given: CheckoutShown(
        given["sku"].code, given["sku"].product_slug, given["quantity"], given["total"]
    ),
    OrderShown: _order,
    HelpShown: _help,
    AccountShown: lambda given: AccountShown(given),
    PluginShown: lambda given: PluginShown(given.id),
    SearchShown: lambda given: SearchShown(given),
    tuple: lambda given: tuple(_order(one) for one in given),
}

PLACES: dict[str, Place] = {
    place.name: place
    for place in (
        Place("shop.nav", None, Link, "the head of every page of the storefront", everyone=True),
        Place("shop.footer", None, Fragment, "the foot of every page of the storefront", everyone=True),
        Place("home.top", None, Fragment, "the first page, above the goods", everyone=True),
        Place("home.bottom", None, Fragment, "the first page, below the goods", everyone=True),
        Place("product.before_price", ProductShown, Fragment, "a product's page, above the price", everyone=True),
        Place("product.after_price", ProductShown, Fragment, "a product's page, below the buy button", everyone=True),
        Place("product.more", ProductShown, Fragment, "a product's page, below its description", everyone=True),
        Place("checkout.before_pay", CheckoutShown, Fragment, "the order form, above the ways to pay"),
        Place("order.top", OrderShown, Fragment, "a buyer's order, above everything"),
        Place("order.help", HelpShown, Fragment, "a buyer's order in every state, under Help"),
        Place("order.bottom", OrderShown, Fragment, "a buyer's order, below everything"),
        Place("orders.nav", None, Link, "My orders, beside the title"),
        Place("orders.more", None, Fragment, "My orders, below the orders of this device"),
        Place("account.points", AccountShown, Fragment, "a buyer's account, beside the balance"),
        Place("account.more", AccountShown, Fragment, "a buyer's account, below everything"),
        Place("admin.top", None, Link, "the head of every page of the console"),
        Place("admin.search", SearchShown, Link, "the search of the console, behind what the shop found"),
        Place("admin.dashboard", None, Fragment, "the dashboard, below its figures"),
        Place("admin.setup", None, SetupRow, "the dashboard, among the steps to the first sale"),
        Place("admin.health", None, StateRow, "the dashboard: what is well and what is not"),
        Place("admin.orders.column", tuple, Column, "the list of orders: a column more; shown all orders of the page"),
        Place("admin.order.tab", OrderShown, Link, "an order in the console: tabs below its head"),
        Place("admin.order.action", OrderShown, Fragment, "an order in the console, among what to do"),
        Place("admin.order.detail", OrderShown, Fragment, "an order in the console, a card of its own"),
        Place("admin.order.timeline", OrderShown, TimelineRow, "an order in the console, after the shop's timeline"),
        Place("admin.product.detail", ProductShown, Fragment, "a product in the console, below its SKUs"),
        Place("admin.plugin", PluginShown, Fragment, "the plugin's own page in the console, above its settings"),
    )
}
"""Every place a plugin may fill, in the order of a visit."""

OWN = frozenset({"order.pay", "order.codes"})
"""Places that belong to features of the shop itself."""


class BadSlot(Exception):
    """A plugin wants to fill a place that does not exist."""


def check(names: Iterable[str]) -> None:
    """:raises BadSlot: naming the first that no plugin can fill."""
    unknown = sorted(set(names) - PLACES.keys())
    if unknown:
        raise BadSlot(f"there is no slot called {unknown[0]}")


# -- filling ----------------------------------------------------------------------------

CountFailure = Callable[[str, str, BaseException], None]
Draw = Callable[[str, Mapping[str, Any]], str]


class WrongGift(Exception):
    """A plugin gave something that does not belong into that place."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """One place of a page that is already drawn: who fills it, and how what comes is drawn."""

    place: Place
    subject: Any
    fillers: Sequence[tuple[str, Filler]]
    draw: Draw
    mark: str
    count_failure: CountFailure

    def cell(self, ref: str) -> Markup:
        """For a column: the mark of the cells of one row."""
        return _marked(f"{self.mark}:{ref}")

    @property
    def head(self) -> Markup:
        return _marked(self.mark)

    async def filled(self, visit: Visit) -> dict[str, str]:
        """What stands in for each mark; empty where nothing came."""
        given = await asyncio.gather(*(self._given(owner, filler, visit) for owner, filler in self.fillers))
        items = [item for some in given for item in some]
        if self.place.gives is Column:
            return self._cells(items)
        if self.place.gives is Fragment:
            return {self.head: "".join(items)}
        return {self.head: self.draw(f"web/slots/{self.place.name}.html", {"items": items}) if items else ""}

    def _cells(self, columns: list[Column]) -> dict[str, str]:
        texts = {self.head: "".join(Markup('<th scope="col">{}</th>').format(one.title) for one in columns)}
        for order in self.subject:
            cells = (Markup("<td>{}</td>").format(one.cells.get(order.ref, "")) for one in columns)
            texts[self.cell(order.ref)] = "".join(cells)
        return texts

    async def _given(self, owner: str, filler: Filler, visit: Visit) -> list[Any]:
        try:
            async with strangers_code(), _patience() as limit:
                answer = filler(visit, self.subject)
                answer = await answer if inspect.isawaitable(answer) else answer
            return [self._taken(owner, one) for one in _several(answer)]
        except (Exception, SystemExit) as error:  # noqa: BLE001  a plugin's mistake of any kind must not take the page down
            late = isinstance(error, TimeoutError) and limit.expired()
            said = TimeoutError(f"it took longer than {FILL_SECONDS:g} s") if late else error
            self.count_failure(owner, f"slot {self.place.name}", said)
            return []

    def _taken(self, owner: str, item: Any) -> Any:
        if not isinstance(item, self.place.gives):
            wanted, got = self.place.gives.__name__, type(item).__name__
            raise WrongGift(f"{self.place.name} takes a {wanted}, not a {got}")
        if not isinstance(item, Fragment):
            _check_words(item)
        path = getattr(item, "path", "")
        if path and (not path.startswith("/") or path.startswith("//")):
            raise WrongGift(f"{path} is not a page of this shop")
        if not isinstance(item, Fragment):
            return item
        if not item.template.startswith(f"{owner}/"):
            raise WrongGift(f"{item.template} is not a template of its own")
        return self.draw(item.template, item.context)


def _check_words(item: Link | StateRow | SetupRow | TimelineRow | Column) -> None:
    """All plugins' rows are drawn together: one that cannot be drawn must not take the others with it."""
    wanted: dict[str, Any] = {"title": str | Text, "text": str | Text, "path": str, "count": int, "cells": Mapping}
    wrong = [name for name, kind in wanted.items() if hasattr(item, name) and not isinstance(getattr(item, name), kind)]
    if isinstance(item, TimelineRow) and not (isinstance(item.at, datetime) and item.at.tzinfo):
        wrong.append("at")
    if wrong:
        raise WrongGift(f"{wrong[0]} of a {type(item).__name__} is wrong: {getattr(item, wrong[0])!r:.100}")


@asynccontextmanager
async def _patience() -> AsyncIterator[asyncio.Timeout]:
    """Ends after so many short steps of the event loop: one in which it stood still for long is one step too."""
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(None) as limit:

        def step(left: int) -> None:
            nonlocal timer
            if left:
                timer = loop.call_later(FILL_SECONDS / FILL_STEPS, step, left - 1)
            else:
                limit.reschedule(loop.time())

        timer = loop.call_later(FILL_SECONDS / FILL_STEPS, step, FILL_STEPS - 1)
        try:
            yield limit
        finally:
            timer.cancel()


def _several(answer: Any) -> Sequence[Any]:
    if answer is None:
        return ()
    return answer if isinstance(answer, list | tuple) else (answer,)


def _marked(mark: str) -> Markup:
    return Markup("<!--slot:{}-->").format(mark)


def later(
    visit: Visit,
    place: Place,
    given: Any,
    fillers: Sequence[tuple[str, Filler]],
    draw: Draw,
    count_failure: CountFailure,
) -> Waiting:
    """Leave a mark in the page, to be filled before it is sent."""
    subject = _SHOWS[place.subject](given) if place.subject else None
    if isinstance(subject, OrderShown) and place.name.startswith("admin."):
        subject = replace(subject, contact=given["contact"], ip=str(given["ip"] or ""))
    if isinstance(subject, PluginShown):
        fillers = [(owner, filler) for owner, filler in fillers if owner == subject.id]
    # nobody outside can know the name of this request before it is answered
    waiting = Waiting(place, subject, fillers, draw, f"{visit.id}:{len(visit.waiting)}", count_failure)
    visit.waiting.append(waiting)
    return waiting


async def filled(page: str, visit: Visit) -> str:
    """The page with what plugins gave in place of the marks."""
    waiting, visit.waiting = visit.waiting, []
    given: list[Awaitable[dict[str, str]]] = [one.filled(visit) for one in waiting if one.head in page]
    for texts in await asyncio.gather(*given):
        for mark, text in texts.items():
            page = page.replace(mark, text)
    return page
