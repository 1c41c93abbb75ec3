"""The outermost layer: names the request, finds the true client, answers from the page cache, and puts the
security headers on everything that leaves, errors included."""

from __future__ import annotations

import logging
import re
import secrets
import time
import zlib
from collections.abc import Awaitable, Callable, Iterable
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from core import db
from core.web import cookies, flash, once, slots
from core.web import headers as security
from core.web import visit as visits
from core.web.i18n import accepted, known
from core.web.page_cache import Headers, Page, PageCache
from core.web.proxies import Proxies, good_host, last, plain
from core.web.visit import COLOURS_COOKIE, LANGUAGE_COOKIE, PREVIEW_COOKIE, Shop, Visit

access = logging.getLogger("vouchsafe.access")

COMPRESS_ABOVE = 800
LONGEST_LANGUAGES = 500
LONGEST_QUERY_KEPT = 500
"""Pages repeat the query in their links: five hundred of 60 KB would fill the memory of a small machine."""
YEAR = 365 * 24 * 3600
SLASHES = re.compile("/{2,}")

App = Callable[[Any, Any, Any], Awaitable[None]]
FindShop = Callable[[str], Awaitable[Shop]]
Gateways = Callable[[], Iterable[str]]
Dress = Callable[[Visit], Awaitable[None]]
"""Says how the shop looks in this visit."""


class Shops:
    """Which shop answers to a host. ``find`` keeps them in mind itself: what it forgets is forgotten here too."""

    def __init__(self, find: FindShop, nobodys: Shop) -> None:
        self._find = find
        self.nobodys = nobodys
        self._last: dict[str, Shop] = {}

    async def of(self, host: str) -> Shop:
        try:
            shop = await self._find(host)
        except db.AWAY:
            # The page itself will say so; here it only needs something to be drawn with.
            return self._last.get(host, self.nobodys)
        if len(self._last) > 1000:
            self._last.clear()
        self._last[host] = shop
        return shop


class Door:
    def __init__(
        self,
        app: App,
        *,
        base_url: str,
        trusted_proxies: tuple[str, ...],
        shops: Shops,
        gateways: Gateways,
        cache: PageCache,
        dress: Dress | None = None,
    ) -> None:
        self.app = app
        self._secure = base_url.startswith("https:")
        self._base_host = urlsplit(base_url).netloc
        self._proxies = Proxies(trusted_proxies)
        self._shops = shops
        self._gateways = gateways
        self._dress = dress
        self._headers: tuple[tuple[str, ...], Headers] = ((), [])
        self._cache = cache
        self._session_cookie = cookies.name_of(cookies.SESSION, self._secure)
        self._flash_cookie = cookies.name_of(flash.COOKIE, self._secure)
        self._language_cookie = cookies.name_of(LANGUAGE_COOKIE, self._secure)
        self._preview_cookie = cookies.name_of(PREVIEW_COOKIE, self._secure)
        self._colours_cookie = cookies.name_of(COLOURS_COOKIE, self._secure)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1000})
            return
        started = time.perf_counter()
        headers = dict(reversed(scope["headers"]))
        if "//" in scope["path"]:
            scope["path"] = SLASHES.sub("/", scope["path"])
        visit = self._visit(scope, headers)
        scope["state"]["visit"] = visit
        if visit.method == "HEAD":  # answered as GET; the server still has to know that no body follows
            scope = {**scope, "method": "GET"}
        passing = visits.enter(visit)
        out = _Outgoing(self, visit, scope, send, b"gzip" in headers.get(b"accept-encoding", b""))
        try:
            if not visit.path.startswith("/static/"):
                visit.shop = await self._shops.of(visit.host)
                if self._dress and visit.surface == "shop":
                    await self._dress(visit)
            self._speak(visit, headers)
            out.cache_key = self._cache_key(visit, scope)
            page = self._cache.get(out.cache_key) if out.cache_key else None
            if page:
                await out.send_page(page)
                return
            await self.app(scope, receive, out)
        finally:
            if access.isEnabledFor(logging.INFO):
                millis = (time.perf_counter() - started) * 1000
                access.info("%s %s %s %d %.1fms", visit.ip, visit.method, visit.path, out.status, millis)
            visits.leave(passing)

    # -- reading the request ------------------------------------------------------------

    def _visit(self, scope: Any, headers: dict[bytes, bytes]) -> Visit:
        peer = plain(scope["client"][0]) if scope.get("client") else None
        host = headers.get(b"host", b"").decode("latin-1")
        https = scope.get("scheme") == "https"
        ip = peer or "127.0.0.1"
        if self._proxies.trusts(peer):
            ip = self._proxies.client(peer, _all(scope, b"x-forwarded-for"))
            proto = last(headers.get(b"x-forwarded-proto", b"").decode("latin-1"))
            https = proto == "https" if proto in ("http", "https") else https
            host = last(headers.get(b"x-forwarded-host", b"").decode("latin-1")) or host
            scope["client"] = (ip, 0)
        if not good_host(host):
            host = self._base_host
        scope["scheme"] = "https" if https else "http"
        visit = Visit(
            id=secrets.token_hex(8),
            ip=ip,
            host=host.lower(),
            https=https,
            secure=self._secure,
            method=scope["method"],
            path=scope["path"],
            shop=self._shops.nobodys,
            query=scope["query_string"].decode("latin-1"),
            surface=_surface(scope["path"]),
            htmx=headers.get(b"hx-request") == b"true",
            boosted=headers.get(b"hx-boosted") == b"true",
            agent=headers.get(b"user-agent", b"").decode("latin-1")[:300],
        )
        if b"cookie" in headers:
            self._read_cookies(visit, cookies.read(headers[b"cookie"]))
        return visit

    def _read_cookies(self, visit: Visit, found: dict[str, str]) -> None:
        visit.cookie = found.get(self._session_cookie)
        visit.flash = found.get(self._flash_cookie)
        visit.preview = found.get(self._preview_cookie)
        visit.language = known(found.get(self._language_cookie))
        colours = found.get(self._colours_cookie)
        if colours == "light":
            visit.colours = "light"
        elif colours == "dark":
            visit.colours = "dark"

    def _speak(self, visit: Visit, headers: dict[bytes, bytes]) -> None:
        """Language by address, then by cookie, by browser, by shop."""
        said = headers.get(b"accept-language")
        heard = accepted(said[:LONGEST_LANGUAGES].decode("latin-1")) if said else None
        usual = visit.language or heard or known(visit.shop.locale)
        asked = _language_asked(visit) if visit.surface == "shop" and visit.query else None
        visit.locale = asked or usual or "en"
        visit.switched = asked is not None and asked != usual

    # -- the page cache -----------------------------------------------------------------

    def _cache_key(self, visit: Visit, scope: Any) -> Any:
        """What makes a page the same for two visitors; None when this visitor may see a page of their own."""
        if visit.method != "GET" or visit.htmx or visit.cookie or visit.flash or visit.surface != "shop":
            return None
        if visit.dress and visit.dress.framed:
            return None
        if len(visit.query) > LONGEST_QUERY_KEPT:
            return None
        if visit.path.startswith("/x/"):  # gone in the moment its plugin is switched off
            return None
        return (visit.origin, scope["path"], scope["query_string"], visit.locale, visit.colours)

    def keep(self, key: Any, headers: Headers, body: bytes) -> Page:
        return self._cache.put(key, headers, body)

    def security_headers(self, visit: Visit) -> Headers:
        gateways = tuple(self._gateways())
        if visit.frames or (visit.dress and visit.dress.framed):
            framed = not visit.frames
            return security.security_headers(https=self._secure, gateways=gateways, framed=framed, frames=visit.frames)
        if not self._headers[1] or self._headers[0] != gateways:
            self._headers = (gateways, security.security_headers(https=self._secure, gateways=gateways))
        return self._headers[1]


CACHE_ME = b"x-vouchsafe-cache"
REPLACED = frozenset((b"server", b"date", CACHE_ME))
PRIVATE: Headers = [security.NO_STORE, security.NO_REFERRER, security.NO_INDEX]
PUBLIC: Headers = [(b"cache-control", b"no-cache"), (b"referrer-policy", b"same-origin")]
VARY = (b"vary", b"Cookie, Accept-Language, Accept-Encoding, HX-Request")


class _Outgoing:
    """Wraps ``send``: adds headers, fills in once-keys, compresses what is public, feeds the page cache."""

    def __init__(self, door: Door, visit: Visit, scope: Any, send: Any, gzip: bool) -> None:
        self._door = door
        self._visit = visit
        self._scope = scope
        self._send = send
        self._gzip = gzip
        self.head = visit.method == "HEAD"
        self.status = 0
        self.cache_key: Any = None
        self._held: dict[str, Any] | None = None
        self._cache_this = False
        self._has_keys = False
        self._packable = False
        self._done = False

    async def __call__(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            await self._start(message)
        elif message["type"] == "http.response.body":
            await self._body(message)
        else:
            await self._send(message)

    async def _start(self, message: Any) -> None:
        self.status = message["status"]
        headers: Headers = [(name.lower(), value) for name, value in message["headers"]]
        names = dict(headers)
        public = self._is_public(names)
        self._cache_this = CACHE_ME in names and public and self.cache_key is not None and self.status == 200
        headers = [item for item in headers if item[0] not in REPLACED]
        headers += _beside(names, self._door.security_headers(self._visit))
        if b"cache-control" not in names:
            headers += PUBLIC if public else PRIVATE
        elif b"referrer-policy" not in names:
            headers.append((b"referrer-policy", b"same-origin"))
        message = {"type": "http.response.start", "status": self.status, "headers": headers}
        packable = public and b"content-encoding" not in names and _is_text(names.get(b"content-type", b""))
        self._packable = packable
        if packable:
            headers.append(VARY)
        self._has_keys = CACHE_ME in names
        if packable or self._has_keys or self._visit.waiting:
            self._held = message
        else:
            headers += self._own()
            await self._send(message)

    def _own(self) -> Headers:
        """What only this answer has. Who came by an address in another language stays with it."""
        own = [(b"x-request-id", self._visit.id.encode())]
        if self._visit.switched:
            cookie = cookies.make(LANGUAGE_COOKIE, self._visit.locale, secure=self._visit.secure, max_age=YEAR)
            own.append((b"set-cookie", cookie.to_header(header="").encode()))
        return own

    def _is_public(self, names: dict[bytes, bytes]) -> bool:
        """May this answer be seen by anyone? Only then it is compressed: no secret may shape its length."""
        if b"set-cookie" in names or self._visit.cookie or self._visit.flash or self._visit.surface != "shop":
            return False
        handler = self._scope.get("route_handler")
        return self.status < 400 and self._visit.method in ("GET", "HEAD") and _anyone(handler)

    async def _body(self, message: Any) -> None:
        if self._done:
            return
        body, more = message.get("body", b""), message.get("more_body", False)
        if self._held is None:
            if self.head:
                body, more = b"", False
            self._done = not more
            await self._send({"type": "http.response.body", "body": body, "more_body": more})
        elif more:  # a stream: let it flow as it is
            start, self._held = self._held, None
            start["headers"] += self._own()
            await self._send(start)
            await self._body(message)
        else:
            await self._whole(self._held, body)

    async def _whole(self, start: Any, body: bytes) -> None:
        headers = [item for item in start["headers"] if item[0] != b"content-length"]
        if self._visit.waiting:
            body = (await slots.filled(body.decode(), self._visit)).encode()
        if self._cache_this:
            await self.send_page(self._door.keep(self.cache_key, headers, body))
            return
        if self._has_keys:
            body = once.filled(body.decode()).encode()
        if self._gzip and self._packable and len(body) > COMPRESS_ABOVE:
            squeezer = zlib.compressobj(6, zlib.DEFLATED, 31)
            body = squeezer.compress(body) + squeezer.flush()
            headers.append((b"content-encoding", b"gzip"))
        await self._finish(headers, body)

    async def send_page(self, page: Page) -> None:
        self.status = 200
        if self._gzip:
            await self._finish([*page.headers, (b"content-encoding", b"gzip")], page.gzipped())
        else:
            await self._finish(list(page.headers), page.body())

    async def _finish(self, headers: Headers, body: bytes) -> None:
        self._done = True
        headers.append((b"content-length", str(len(body)).encode()))
        headers += self._own()
        await self._send({"type": "http.response.start", "status": self.status, "headers": headers})
        await self._send({"type": "http.response.body", "body": b"" if self.head else body, "more_body": False})


PERMISSIONS = b"permissions-policy"


def _language_asked(visit: Visit) -> str | None:
    """``?lang=en`` at the end of an address, as search engines know it."""
    return known(dict(parse_qsl(visit.query)).get("lang")) if "lang=" in visit.query else None


def _beside(names: dict[bytes, bytes], ours: Headers) -> Headers:
    """Our headers; a page that needs the camera has said so itself."""
    return [item for item in ours if item[0] != PERMISSIONS] if PERMISSIONS in names else ours


def _anyone(handler: Any) -> bool:
    """The route shows everyone the same: it neither asks who it is nor looks at the session."""
    opt = getattr(handler, "opt", None) or {}
    return opt.get("who") == "anyone" and not opt.get("session")


def _is_text(content_type: bytes) -> bool:
    return content_type.startswith((b"text/html", b"text/plain", b"application/xml", b"application/json"))


def _surface(path: str) -> visits.Surface:
    if path == "/admin" or path.startswith("/admin/"):
        return "console"
    return "api" if path.startswith("/api/") else "shop"


def _all(scope: Any, name: bytes) -> str:
    return ",".join(value.decode("latin-1") for key, value in scope["headers"] if key == name)
