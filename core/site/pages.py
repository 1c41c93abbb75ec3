"""What visitors get: the merchant's own pages, and the stylesheet of the shop's settings."""

from __future__ import annotations

import logging
import re
from typing import Any

from litestar import Request, Response, get
from litestar.params import FromPath

from core.site import looks, notices
from core.web.errors import NotFound
from core.web.i18n import in_words
from core.web.merchant_text import BadTemplate
from core.web.render import page
from core.web.request import visit_of
from core.web.static import FOREVER
from core.web.themes import Themes
from core.web.words import day

log = logging.getLogger("vouchsafe.web")

NAME = re.compile(r"([0-9]{1,18})-([a-z][a-z0-9_-]{0,39})-([0-9a-f]{16})\.css")


@get("/look/{name:str}", opt={"who": "anyone"})
async def stylesheet(request: Request[Any, Any, Any], name: FromPath[str]) -> Response[str]:
    match = NAME.fullmatch(name)
    themes: Themes = request.app.state.themes
    there = match is not None and themes.has(match[2])  # visitors may write any name
    text = await looks.stylesheet(int(match[1]), match[2], themes) if match and there else None
    if match is None or text is None:
        raise NotFound()
    # A page made before the last change still asks for the old address: it gets what is there now, uncached.
    cache = FOREVER if looks.digest(text) == match[3] else "no-cache"
    return Response(text, media_type="text/css", headers={"cache-control": cache})


@get("/i/{slug:str}", opt={"who": "anyone"})
async def notice(request: Request[Any, Any, Any], slug: FromPath[str]) -> Response[str]:
    visit = visit_of(request)
    found = await notices.by_slug(visit.shop.id, slug)
    if found is None:
        raise NotFound()
    title = in_words(found["title"])
    given = notices.context(visit.shop, visit.origin, title, day(found["updated_at"]))
    try:
        body = notices.drawn(found["body"], given)
    except BadTemplate as error:  # checked when it was saved; the rules may have become stricter since
        log.warning("the page %s cannot be shown: %s", slug, error)
        raise NotFound() from None
    context = {"notice": found, "title": title, "body": body}
    return page(request, "site/notice.html", context, cache=True)


ROUTES = (stylesheet, notice)
