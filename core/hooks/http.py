"""The one way for a plugin to reach other servers: bounded in time and size, and never into our own network."""

from __future__ import annotations

import asyncio
import ipaddress
import json
import logging
import socket
import ssl
import zlib
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cache
from typing import Any
from urllib.parse import urlsplit

import httpcore
import httpx

from core import clock, db
from core.web.i18n import _

# httpx logs every address it calls, and some gateways want the merchant's key in the address.
logging.getLogger("httpx").setLevel(logging.WARNING)

MAX_BYTES = 2_000_000
SECONDS = 10.0
LONGEST_SECONDS = 120.0
CONNECT_SECONDS = 5.0
FAILURES_TO_OPEN = 5
OPEN_FOR = timedelta(seconds=30)
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD")


class HttpError(Exception):
    """No usable answer came. Catch this one when it does not matter whether the other side heard us."""


class NotSent(HttpError):
    """The other side certainly did not get the request: trying again is safe."""


class Unclear(HttpError):
    """The request may have arrived, and the other side may have acted on it. Ask before doing it again."""


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """What came back, whatever the status. ``headers`` have lower-case names."""

    status: int
    headers: Mapping[str, str]
    content: bytes = field(repr=False)

    def text(self) -> str:
        """The content as UTF-8; bytes that are not are replaced."""
        return self.content.decode("utf-8", "replace")

    def json(self) -> Any:
        """The content as JSON.

        :raises ValueError: it is none.
        """
        return json.loads(self.content)


class AllowedHosts:
    """Host names and networks that may be called although they are private."""

    def __init__(self, names: Iterable[str] = ()) -> None:
        self._names: set[str] = set()
        self._networks: list[ipaddress.IPv4Network | ipaddress.IPv6Network] = []
        for name in names:
            try:
                self._networks.append(ipaddress.ip_network(name))
            except ValueError:
                self._names.add(name.lower())

    def allows(self, host: str, address: str) -> bool:
        found = _at_the_end(ipaddress.ip_address(address.partition("%")[0]))
        if _is_public(found):
            return True
        return host.lower() in self._names or any(found in network for network in self._networks)


Address = ipaddress.IPv4Address | ipaddress.IPv6Address
IPV4_AT_THE_END = (ipaddress.IPv6Network("64:ff9b::/96"), ipaddress.IPv6Network("::/96"))
LOCAL_NAT64 = ipaddress.IPv6Network("64:ff9b:1::/48")


def _at_the_end(address: Address) -> Address:
    """Where it leads: an IPv6 address may stand for one of IPv4, and a translator on the way would take us there."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if any(address in network for network in IPV4_AT_THE_END):
        return ipaddress.IPv4Address(address.packed[-4:])
    return address.ipv4_mapped or address.sixtofour or address


def _is_public(address: Address) -> bool:
    if isinstance(address, ipaddress.IPv6Address) and (address.is_site_local or address in LOCAL_NAT64):
        return False
    return address.is_global and not address.is_multicast


def bounded_client(allowed: AllowedHosts) -> httpx.AsyncClient:
    """A client that reaches no private address but those that are allowed, and follows no redirect."""
    return httpx.AsyncClient(
        transport=_Transport(allowed),
        trust_env=False,
        follow_redirects=False,
        headers={"User-Agent": "vouchsafe", "Accept-Encoding": "gzip"},
    )


class PluginHttp:
    """Calls other servers for one plugin. Each call has a time-out, follows no redirect and reads at most 2 MB.

    After five failures in a row a host is left alone for half a minute (:class:`NotSent`), so that a dead
    gateway does not hold up every buyer.
    """

    def __init__(self, plugin: str, *, allowed: AllowedHosts | None = None, may_call: bool = True) -> None:
        self.longest = LONGEST_SECONDS
        """No call takes longer than this, whatever the plugin asks for."""
        self._plugin = plugin
        self._may_call = may_call
        self._allowed = allowed or AllowedHosts()
        self._client = bounded_client(self._allowed)
        self._breakers: dict[str, _Breaker] = {}

    def __repr__(self) -> str:
        return f"PluginHttp({self._plugin})"

    async def get(
        self,
        url: str,
        *,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        seconds: float = SECONDS,
    ) -> HttpAnswer:
        """GET ``url``; ``params`` become its query. Takes at most ``seconds`` from first to last byte, and never more
        than 120. Raises as :meth:`request` does."""
        return await self.request("GET", url, params=params, headers=headers, seconds=seconds)

    async def post(
        self,
        url: str,
        *,
        form: Mapping[str, str] | None = None,
        json: Any = None,
        content: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        seconds: float = SECONDS,
    ) -> HttpAnswer:
        """POST one of a ``form``, a ``json`` value or raw ``content`` to ``url``. The rest is as in :meth:`request`."""
        return await self.request("POST", url, form=form, json=json, content=content, headers=headers, seconds=seconds)

    async def request(
        self,
        method: str,
        url: str,
        *,
        params: Mapping[str, str] | None = None,
        form: Mapping[str, str] | None = None,
        json: Any = None,
        content: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        seconds: float = SECONDS,
    ) -> HttpAnswer:
        """Send one request and read its whole answer, whatever its status. ``seconds`` are those of the whole call.

        :raises NotSent: it certainly did not arrive (no such host, refused, private address, host left alone).
        :raises Unclear: it may have arrived (time-out, broken or oversized answer).
        :raises RuntimeError: called inside a database transaction, or without the ``network`` permission.
        """
        self._check(method)
        seconds = min(seconds, self.longest)
        # Shorter than the whole, so that a host nobody answers at is told from one that fell silent.
        limits = httpx.Timeout(seconds, connect=min(CONNECT_SECONDS, seconds * 0.8))
        try:
            built = self._client.build_request(
                method, url, params=params, data=form, json=json, content=content, headers=headers, timeout=limits
            )
        except (httpx.InvalidURL, UnicodeError) as error:
            raise NotSent(_("this is not an address: %(why)s", why=str(error))) from None
        if built.url.scheme not in ("http", "https") or not built.url.host:
            raise NotSent(_("an address begins with http:// or https://"))
        breaker = self._breakers.setdefault(built.url.netloc.decode("ascii"), _Breaker())
        breaker.check()
        try:
            answer = await self._send(built, seconds)
        except HttpError:
            breaker.failed()
            raise
        breaker.worked()
        return answer

    def forget_failures(self) -> None:
        """Leave no host alone any more: for tests, in which many things fail on purpose."""
        self._breakers.clear()

    def hosts(self) -> list[HostState]:
        """The servers that were called since the process began."""
        now = clock.now()
        return [
            HostState(host, one.failures, one.closed_until if one.closed_until and one.closed_until > now else None)
            for host, one in sorted(self._breakers.items())
        ]

    def may_reach(self, url: str) -> bool:
        """Whether an address that somebody gave us could be called: not when it is private, or none at all.

        A name is only resolved, and looked at again, when it is called.
        """
        try:
            parts = urlsplit(url)
        except ValueError:
            return False
        host = parts.hostname or ""
        if parts.scheme not in ("http", "https") or parts.username:
            return False
        if host == "localhost" or host.endswith(".localhost"):
            return self._allowed.allows(host, "127.0.0.1")
        try:
            ipaddress.ip_address(host)
        except ValueError:
            return "." in host
        return self._allowed.allows(host, host)

    async def close(self) -> None:
        """Called by the shop when the process ends."""
        await self._client.aclose()

    def _check(self, method: str) -> None:
        if db.inside_transaction():
            raise RuntimeError(f"{self._plugin}: no network call inside a database transaction")
        if not self._may_call:
            raise RuntimeError(f'{self._plugin}: plugin.toml must name the permission "network"')
        if method not in METHODS:
            raise ValueError(f"{method} is not a method")

    async def _send(self, request: httpx.Request, seconds: float) -> HttpAnswer:
        try:
            async with asyncio.timeout(seconds):
                answer = await self._client.send(request, stream=True)
                try:
                    content = await _read(answer)
                finally:
                    await answer.aclose()
        except (httpcore.ConnectError, httpcore.ConnectTimeout, httpcore.PoolTimeout) as error:
            raise NotSent(_("%(host)s cannot be reached: %(why)s", host=request.url.host, why=why(error))) from None
        except (TimeoutError, httpcore.TimeoutException):
            text = _("%(host)s did not answer within %(seconds)s s", host=request.url.host, seconds=f"{seconds:g}")
            raise Unclear(text) from None
        except (httpx.HTTPError, httpcore.NetworkError, httpcore.ProtocolError, zlib.error) as error:
            raise Unclear(_("%(host)s broke off: %(why)s", host=request.url.host, why=why(error))) from None
        headers = {name.lower(): value for name, value in answer.headers.items()}
        return HttpAnswer(answer.status_code, headers, content)


def why(error: Exception) -> str:
    return str(error) or type(error).__name__


async def _read(answer: httpx.Response) -> bytes:
    raw = bytearray()
    async for chunk in answer.aiter_raw():
        raw += chunk
        if len(raw) > MAX_BYTES:
            raise Unclear(f"{answer.request.url.host} answered with more than {MAX_BYTES} bytes")
    coding = answer.headers.get("content-encoding", "identity").strip().lower()
    if coding in ("identity", ""):
        return bytes(raw)
    if coding != "gzip":
        raise Unclear(f"{answer.request.url.host} answered in a coding that was not asked for")
    # A small answer may unpack to gigabytes, so unpacking stops at the same limit.
    unpacker = zlib.decompressobj(wbits=31)
    content = unpacker.decompress(bytes(raw), MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise Unclear(f"{answer.request.url.host} answered with more than {MAX_BYTES} bytes")
    return content


@dataclass(frozen=True, slots=True)
class HostState:
    """How calls to one server went lately. ``rests_until`` is when it is called again, None while it may be."""

    host: str
    failures: int
    rests_until: datetime | None


@dataclass(slots=True)
class _Breaker:
    failures: int = 0
    closed_until: datetime | None = None

    def check(self) -> None:
        if self.closed_until is not None and clock.now() < self.closed_until:
            raise NotSent(_("this server failed several times in a row and is left alone for half a minute"))

    def failed(self) -> None:
        self.failures += 1
        if self.failures >= FAILURES_TO_OPEN:
            self.closed_until = clock.now() + OPEN_FOR

    def worked(self) -> None:
        self.failures, self.closed_until = 0, None


# -- from httpx to the socket, by way of a look at the address --------------------------


async def _addresses(host: str, port: int) -> list[Any]:
    """As the system resolves it; what is an address already asks nobody and waits for no thread."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return list(await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM))
    return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)


class _Resolving(httpcore.AsyncNetworkBackend):
    """Resolves the name itself and connects to the very address it has looked at: a name that resolves to
    something else a moment later gains nothing."""

    def __init__(self, allowed: AllowedHosts) -> None:
        self._allowed = allowed
        self._sockets = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109  as httpcore calls it
        local_address: str | None = None,
        socket_options: Any = None,
    ) -> httpcore.AsyncNetworkStream:
        try:
            async with asyncio.timeout(timeout):
                found = await _addresses(host, port)
        except TimeoutError:
            raise httpcore.ConnectTimeout(_("its name could not be resolved in time")) from None
        except (OSError, UnicodeError) as error:
            raise httpcore.ConnectError(_("no such host (%(why)s)", why=str(error))) from None
        addresses = list(dict.fromkeys(str(one[4][0]) for one in found))
        if not addresses or not all(self._allowed.allows(host, address) for address in addresses):
            raise httpcore.ConnectError(_("it is a private address; VOUCHSAFE_ALLOW_PRIVATE_HOSTS may allow it"))
        failure: Exception = httpcore.ConnectError("no address")
        for address in addresses[:3]:
            try:
                return await self._sockets.connect_tcp(address, port, timeout, local_address, socket_options)
            except httpcore.ConnectTimeout:
                failure = httpcore.ConnectTimeout(_("it does not take the connection"))
            except httpcore.ConnectError:
                failure = httpcore.ConnectError(_("nothing takes the connection at this address"))
        raise failure

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class _Stream(httpx.AsyncByteStream):
    def __init__(self, stream: Any) -> None:
        self._stream = stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for chunk in self._stream:
            yield chunk

    async def aclose(self) -> None:
        await self._stream.aclose()


@cache
def _trusted() -> ssl.SSLContext:
    """The system's authorities; reading them takes longer than all else that loads a plugin."""
    return ssl.create_default_context()


class _Transport(httpx.AsyncBaseTransport):
    def __init__(self, allowed: AllowedHosts) -> None:
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=_trusted(),
            max_connections=50,
            max_keepalive_connections=10,
            keepalive_expiry=15,
            network_backend=_Resolving(allowed),
        )

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        url = request.url
        answer = await self._pool.handle_async_request(
            httpcore.Request(
                method=request.method,
                url=httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path),
                headers=request.headers.raw,
                content=request.stream,
                extensions=request.extensions,
            )
        )
        return httpx.Response(answer.status, headers=answer.headers, stream=_Stream(answer.stream))

    async def aclose(self) -> None:
        await self._pool.aclose()
