"""Buyers over HTTP: the same code drives our shop and the bare program, and checks what it was given.

A purchase is three requests: place the order, tell the shop the payment arrived, read the code.
"""

import asyncio
import hashlib
import itertools
import re
import secrets
import time
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

import aiohttp
from yarl import URL

CODE = re.compile(rb"BENCH-[0-9A-F]{6}-[0-9A-F]{16}")
FORM = "application/x-www-form-urlencoded"


class WrongShop(Exception):
    """The shop answered something a shop must not answer; a wrong shop has no speed."""


def make_codes(count: int, start: int = 0) -> list[str]:
    return [
        f"BENCH-{number:06X}-{hashlib.sha256(b'bench %d' % number).hexdigest()[:16].upper()}"
        for number in range(start, start + count)
    ]


@dataclass
class Till:
    """What the driver knows of a shop, and which of its codes were handed to whom."""

    name: str
    url: str
    sku: str
    codes: set[str]
    pid: str
    key: str
    product: str = "/p/starlight-music"
    money: str = "19.90"
    sold: dict[str, str] = field(default_factory=dict)

    def take(self, code: str, ref: str) -> None:
        if code not in self.codes:
            raise WrongShop(f"{self.name} gave {ref} a code nobody imported: {code}")
        if code in self.sold:
            raise WrongShop(f"{self.name} gave one code to two orders: {self.sold[code]} and {ref}")
        self.sold[code] = ref


@dataclass(frozen=True)
class Purchase:
    """Seconds each part took; `readable` runs from the callback's start to the code in hand."""

    place: float
    settle: float
    read: float

    @property
    def whole(self) -> float:
        return self.place + self.settle + self.read

    @property
    def readable(self) -> float:
        return self.settle + self.read


@dataclass(frozen=True)
class Load:
    """What a crowd of buyers measured."""

    seconds: float
    purchases: list[Purchase]

    @property
    def per_second(self) -> float:
        return len(self.purchases) / self.seconds

    def quantile(self, part: str, share: float) -> float:
        values = sorted(getattr(purchase, part) for purchase in self.purchases)
        return values[min(len(values) - 1, int(share * len(values)))]


def session(connections: int) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=connections),
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=30),
        skip_auto_headers=("User-Agent", "Accept-Encoding"),
    )


def signed_callback(till: Till, ref: str) -> str:
    claim = {
        "pid": till.pid,
        "trade_no": secrets.token_hex(12),
        "out_trade_no": f"{ref}-1",
        "type": "alipay",
        "name": "product",
        "money": till.money,
        "trade_status": "TRADE_SUCCESS",
    }
    text = "&".join(f"{key}={value}" for key, value in sorted(claim.items()))
    claim["sign"] = hashlib.md5((text + till.key).encode(), usedforsecurity=False).hexdigest()
    claim["sign_type"] = "MD5"
    return urlencode(claim)


async def buy(http: aiohttp.ClientSession, till: Till) -> Purchase:
    buyer = secrets.token_hex(8)
    form = {
        "sku": till.sku,
        "quantity": "1",
        "contact": f"{buyer}@example.com",
        "method": "epay",
        "key": buyer,
    }
    headers = {"Origin": till.url, "Content-Type": FORM}
    started = time.perf_counter()
    async with http.post(
        URL(till.url + "/checkout", encoded=True), data=urlencode(form).encode(), headers=headers, allow_redirects=False
    ) as response:
        body = await response.read()
        location = response.headers.get("Location", "")
        if response.status != 303 or not location.startswith("/o/"):
            raise WrongShop(f"{till.name} checkout: {response.status} {location!r} {body[:600]!r}")
        ref = location[3:]
        headers = {**headers, "X-CSRF-Token": response.headers.get("X-CSRF-Token", "")}
        if cookies := response.headers.getall("Set-Cookie", ()):
            headers["Cookie"] = "; ".join(cookie.split(";", 1)[0] for cookie in cookies)
    placed = time.perf_counter()

    async with http.get(URL(f"{till.url}/pay/epay/notify?{signed_callback(till, ref)}", encoded=True)) as response:
        body = await response.read()
        if response.status != 200 or body != b"success":
            raise WrongShop(f"{till.name} callback for {ref}: {response.status} {body[:600]!r}")
    settled = time.perf_counter()

    # What the button on the order page sends; the answer is the part of the page that holds the code.
    button = {**headers, "HX-Request": "true", "HX-Request-Type": "partial", "HX-Target": "div#codes"}
    async with http.post(
        URL(f"{till.url}/o/{ref}/reveal", encoded=True), headers=button, allow_redirects=False
    ) as response:
        page = await response.read()
        codes = set(CODE.findall(page))
        if response.status != 200 or len(codes) != 1:
            raise WrongShop(f"{till.name} paid order {ref} shows {len(codes)} codes: {response.status} {page[:600]!r}")
    finished = time.perf_counter()
    till.take(codes.pop().decode(), ref)
    return Purchase(placed - started, settled - placed, finished - settled)


def _turns(count: int, seconds: float) -> Iterator[int]:
    end = time.perf_counter() + seconds
    return itertools.takewhile(lambda _: time.perf_counter() < end, range(count))


async def _together(people: int, act: Callable[[aiohttp.ClientSession], Coroutine[Any, Any, None]]) -> float:
    """`people` do the same at once; gives the seconds it took. The first wrong answer stops all of them."""
    async with session(people) as http:
        started = time.perf_counter()
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(people):
                    group.create_task(act(http))
        except ExceptionGroup as failures:
            first = failures.exceptions[0]
            if not isinstance(first, WrongShop | aiohttp.ClientError | TimeoutError):
                raise
            raise WrongShop(str(first) or repr(first)) from first
        return time.perf_counter() - started


async def crowd(till: Till, buyers: int, purchases: int, seconds: float = 60) -> Load:
    """`buyers` people buy at once until `purchases` are made or the time is over."""
    done: list[Purchase] = []
    turns = _turns(purchases, seconds)

    async def buyer(http: aiohttp.ClientSession) -> None:
        for _ in turns:
            done.append(await buy(http, till))

    return Load(await _together(buyers, buyer), done)


async def visits(till: Till, readers: int, requests: int, seconds: float = 60) -> float:
    """Product pages per second."""
    address = URL(till.url + till.product, encoded=True)
    turns = _turns(requests, seconds)
    seen = itertools.count()

    async def reader(http: aiohttp.ClientSession) -> None:
        for _ in turns:
            async with http.get(address, allow_redirects=False) as response:
                page = await response.read()
                if response.status != 200 or b"</html>" not in page:
                    raise WrongShop(f"{till.name} {till.product}: {response.status} {page[:600]!r}")
            next(seen)

    took = await _together(readers, reader)
    return next(seen) / took
