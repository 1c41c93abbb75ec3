"""Which pages of the console the visitor may open: a button that leads to a refusal is not shown."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

from core.web import visit as visits
from core.web.feature import STAFF, Feature

CONSOLE = "/admin"
ANY = "any"
VALUE = re.compile(r"\\\{\w+:(\w+)\\\}")


class Ways:
    def __init__(self, features: Sequence[Feature]) -> None:
        found = [
            ((CONSOLE + feature.prefix + path).rstrip("/"), str(handler.opt["who"]))
            for feature in features
            for handler in feature.console_routes
            if "GET" in handler.http_methods
            for path in handler.paths
        ]
        named_first = sorted(found, key=lambda way: "{" in way[0])
        self._ways = [(_pattern(path), who.removeprefix(STAFF)) for path, who in named_first if who.startswith(STAFF)]
        self._right = lru_cache(1000)(self._find)

    def opens(self, href: str) -> bool:
        """For templates: whether a link to ``href`` leads somewhere for who sees it."""
        if not href.startswith(CONSOLE):
            return True
        right = self._right(href.partition("?")[0].partition("#")[0])
        visit = visits.current()
        session = visit.session if visit else None
        return right in (None, ANY) or (session is not None and session.may(right))

    def _find(self, path: str) -> str | None:
        return next((right for pattern, right in self._ways if pattern.fullmatch(path)), None)


def _pattern(path: str) -> re.Pattern[str]:
    return re.compile(VALUE.sub(lambda value: "[0-9]+" if value[1] == "int" else "[^/]+", re.escape(path)))
