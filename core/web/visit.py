"""One request as the pages see it: who, from where, in which shop, language and colours."""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

Colours = Literal["auto", "light", "dark"]
Surface = Literal["shop", "console", "api"]

LANGUAGE_COOKIE = "lang"
COLOURS_COOKIE = "colours"
PREVIEW_COOKIE = "preview"


class Shop(Protocol):
    """What every page may know of the shop it shows."""

    @property
    def id(self) -> int: ...
    @property
    def name(self) -> str: ...
    @property
    def theme(self) -> str: ...
    @property
    def locale(self) -> str: ...
    @property
    def currency(self) -> str: ...
    @property
    def timezone(self) -> str: ...
    @property
    def test_mode(self) -> bool: ...
    @property
    def settings(self) -> Any: ...


@dataclass(frozen=True, slots=True)
class Dress:
    """How the shop looks in this visit, and what stands at its foot."""

    theme: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Of the theme, those that are not as it comes."""
    stylesheet: str = ""
    """The address of what they make."""
    notices: tuple[Any, ...] = ()
    """The merchant's own pages that every page links to."""
    draft: bool = False
    """Not what buyers see: staff looks at it before it is published."""
    framed: bool = False
    """The console shows the page in a frame of its own."""


@dataclass(slots=True)
class Visit:
    """One request. ``shop`` is the shop it came to; ``session`` is who asks, None as long as nobody is known; of staff
    it has ``staff_id`` and ``may(act)``. ``locale`` is the language of the page (``zh_CN``)."""

    id: str
    """Stands in the log beside what the request did, and on error pages."""
    ip: str
    """The visitor's address, empty when it is not known."""
    host: str
    https: bool
    """How the browser came, as far as the proxies in front of the shop are known."""
    secure: bool
    """Cookies are for https only: decided by the shop's own address, not by the request."""
    method: str
    path: str
    shop: Shop
    query: str = ""
    surface: Surface = "shop"
    locale: str = "en"
    colours: Colours = "auto"
    cookie: str | None = None
    """The session cookie as sent; proves nothing until the session is loaded."""
    session: Any = None
    flash: str | None = None
    preview: str | None = None
    """What lets the browser of staff see a draft of the shop's looks; proves nothing by itself."""
    language: str | None = None
    """Chosen by the visitor with the language switch."""
    switched: bool = False
    """The address asks for a language that the visitor would not get otherwise."""
    htmx: bool = False
    boosted: bool = False
    agent: str = ""
    """What the browser calls itself; never more than a hint."""
    dress: Dress | None = None
    """None where there are no shops to ask, such as in the console."""
    frames: bool = False
    """This page of the console shows pages of the shop in frames."""
    endless: bool = False
    """The answer is a stream that ends when its page is left."""
    undrawn: str = ""
    """Why a draft of the shop's looks could not draw this page: template, line and reason."""
    waiting: list[Any] = field(default_factory=list)
    """Places of the page that plugins fill before it is sent."""

    @property
    def address(self) -> str:
        """Path and query, to come back to."""
        return f"{self.path}?{self.query}" if self.query else self.path

    @property
    def origin(self) -> str:
        """The site as the browser calls it, without a slash at the end: ``https://shop.example.com``."""
        return f"{'https' if self.https else 'http'}://{self.host}"


_current: ContextVar[Visit | None] = ContextVar("visit", default=None)


def current() -> Visit | None:
    return _current.get()


def enter(visit: Visit) -> Any:
    return _current.set(visit)


def leave(token: Any) -> None:
    _current.reset(token)
