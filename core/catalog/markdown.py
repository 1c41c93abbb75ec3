"""Merchants write Markdown; what comes out of it here is safe to put on a page."""

from __future__ import annotations

from functools import lru_cache

import nh3
from markdown_it import MarkdownIt
from markupsafe import Markup

TAGS = set("p br hr em strong s code pre blockquote ul ol li h2 h3 h4 table thead tbody tr th td a".split())

_markdown = MarkdownIt("commonmark", {"html": False, "breaks": True}).enable(["table", "strikethrough"])


@lru_cache(maxsize=512)
def to_html(text: str) -> Markup:
    """Markdown without raw HTML, pictures or scripts. A first-level heading becomes a second: the page has one."""
    raw = _markdown.render(text).replace("<h1>", "<h2>").replace("</h1>", "</h2>")
    clean = nh3.clean(
        raw,
        tags=TAGS,
        attributes={"a": {"href"}},
        url_schemes={"https", "http", "mailto", "tel"},
        link_rel="noopener noreferrer nofollow",
    )
    return Markup(clean)  # noqa: S704  cleaned in the line above
