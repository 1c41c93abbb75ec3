"""Merchants write Markdown; what comes out of it here is safe to put on a page."""

from __future__ import annotations

import re
from functools import lru_cache

import nh3
from markdown_it import MarkdownIt
from markupsafe import Markup

TAGS = set("p br hr em strong s code pre blockquote ul ol li h2 h3 h4 table thead tbody tr th td a".split())

PICTURE = re.compile(r"/media/[0-9]+-[0-9a-f]{16}")
"""The address of a picture of ours."""

MOST_CELLS = 20_000
"""A table is filled up to its width, so that two kilobytes can become 65,536 cells and take three seconds."""
NEWLINE = re.compile(r"\r\n?|\n")

_plain = MarkdownIt("commonmark", {"html": False, "breaks": True}).enable("strikethrough")
_markdown = MarkdownIt("commonmark", {"html": False, "breaks": True}).enable(["table", "strikethrough"])


def _raw(text: str) -> str:
    """A first-level heading becomes a second. Tables that could have too many cells stay text."""
    lines = NEWLINE.split(text)
    widest = max(line.count("|") for line in lines) + 1
    parser = _markdown if widest * len(lines) <= MOST_CELLS else _plain
    return str(parser.render(text)).replace("<h1>", "<h2>").replace("</h1>", "</h2>")


@lru_cache(maxsize=512)
def to_html(text: str) -> Markup:
    """Markdown without raw HTML, pictures or scripts. A first-level heading becomes a second: the page has one."""
    clean = nh3.clean(
        _raw(text),
        tags=TAGS,
        attributes={"a": {"href"}},
        url_schemes={"https", "http", "mailto", "tel"},
        link_rel="noopener noreferrer nofollow",
    )
    return Markup(clean)  # noqa: S704  cleaned in the line above


@lru_cache(maxsize=256)
def with_pictures(text: str) -> Markup:
    """The same, with pictures that were uploaded to the shop; those of anybody else are left out."""
    clean = nh3.clean(
        _raw(text),
        tags=TAGS | {"img"},
        attributes={"a": {"href"}, "img": {"src", "alt"}},
        attribute_filter=_our_pictures,
        url_schemes={"https", "http", "mailto", "tel"},
        link_rel="noopener noreferrer nofollow",
    )
    return Markup(clean.replace("<img ", '<img loading="lazy" '))  # noqa: S704  cleaned in the lines above


def _our_pictures(tag: str, name: str, value: str) -> str | None:
    return value if (tag, name) != ("img", "src") or PICTURE.fullmatch(value) else None
