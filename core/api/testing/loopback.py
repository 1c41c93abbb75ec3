"""A server on 127.0.0.1 that plays the other side, a gateway or a supplier, over real HTTP, and fails as it is told.

In a test::

    class Bank(Loopback):
        def routes(self):
            return [web.post("/pay", self.pay)]

        async def pay(self, request):
            return web.json_response({"id": 1})

    async with Bank() as bank:
        bank.fails("/pay", Fault.SILENT)  # the next call is carried out and never answered
        ...
        assert bank.count("/pay") == 1

As a process of its own, for a test that must not share a loop with it: end the file with ``serve(Bank)`` under
``if __name__ == "__main__":`` and start it with :func:`in_process`.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Self

import httpx
from aiohttp import ClientError, ClientSession, ClientTimeout, web
from yarl import URL

DRIP_SECONDS = 0.02
CALL_SECONDS = 10.0
MORE_THAN_ANYBODY_READS = 2_100_000
GARBAGE = "<b>Warning</b>: mysqli_connect(): Too many connections in /www/config.php on line 3"


class Fault(StrEnum):
    """What goes wrong with an answer. Unless told otherwise the request is carried out all the same."""

    SILENT = "silent"
    """No answer ever comes."""
    CUT = "cut"
    """The connection ends without a byte."""
    HALF = "half"
    """The connection ends in the middle of the answer."""
    DRIP = "drip"
    """The answer comes so slowly that nobody can wait for its end."""
    ERROR = "error"
    """Status 500 and a page."""
    GARBAGE = "garbage"
    """Status 200 and a page no program understands."""
    EMPTY = "empty"
    """Status 200 and nothing."""
    HUGE = "huge"
    """Status 200 and more than 2 MB."""


@dataclass(frozen=True, slots=True)
class Seen:
    """One request as it came, and what went wrong with it."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    fault: str = ""

    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


@dataclass(frozen=True, slots=True)
class Called:
    """One call of ours to the shop, and its answer; status 0 when none came."""

    url: str
    status: int
    text: str


@dataclass(slots=True)
class _Plan:
    path: str
    fault: Fault
    left: int | None
    acts: bool


class Loopback:
    """Derive and write :meth:`routes`. ``address`` is where it listens, ``seen`` what it was asked.

    What it has sold or charged belongs into plain attributes of the subclass: a test counts there.
    """

    def __init__(self) -> None:
        self.seen: list[Seen] = []
        self.called: list[Called] = []
        self._plans: list[_Plan] = []
        self._held: list[tuple[str, str, dict[str, Any]]] | None = None
        self._closing = asyncio.Event()
        self._runner: web.AppRunner | None = None
        self._port = 0

    def routes(self) -> Sequence[web.AbstractRouteDef]:
        """What it offers: ``[web.post("/buy", self.buy)]``. Paths that begin with ``/_`` never fail."""
        return ()

    # -- its life -----------------------------------------------------------------------

    @property
    def address(self) -> str:
        """Where it listens, without a slash at the end."""
        return f"http://127.0.0.1:{self._port}"

    async def __aenter__(self) -> Self:
        await self.up()
        return self

    async def __aexit__(self, *_raised: object) -> None:
        await self.down()

    async def up(self, port: int = 0) -> None:
        """Listen, after :meth:`down` at the address it had before."""
        self._closing = asyncio.Event()
        app = web.Application(middlewares=[self._door], client_max_size=20_000_000)
        app.add_routes([*self.routes(), web.post("/_script", self._script), web.get("/_seen", self._tell)])
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", port or self._port).start()
        self._port = int(self._runner.addresses[0][1])

    async def down(self) -> None:
        """Listen no more: whoever calls now certainly reaches nobody."""
        self._closing.set()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    # -- its faults ---------------------------------------------------------------------

    def fails(self, path: str = "*", fault: Fault = Fault.ERROR, *, times: int | None = 1, acts: bool = True) -> None:
        """The next ``times`` requests to ``path`` (``*`` stands for anything) go wrong; None: all from now on.

        ``acts`` says whether the request is carried out before its answer gets lost.
        """
        self._plans.append(_Plan(path, fault, times, acts))

    def heals(self) -> None:
        """From now on nothing goes wrong."""
        self._plans.clear()

    def count(self, path: str = "*") -> int:
        """How many requests to ``path`` came."""
        return sum(fnmatchcase(one.path, path) for one in self.seen)

    def _next_plan(self, path: str) -> _Plan | None:
        for plan in self._plans:
            if fnmatchcase(path, plan.path) and plan.left != 0:
                if plan.left is not None:
                    plan.left -= 1
                return plan
        return None

    @web.middleware
    async def _door(self, request: web.Request, handler: Any) -> web.StreamResponse:
        if request.path.startswith("/_"):
            return await _answer_of(handler, request)
        plan = self._next_plan(request.path)
        self.seen.append(
            Seen(
                request.method,
                request.path,
                dict(request.query),
                {name.lower(): value for name, value in request.headers.items()},
                await request.read(),
                plan.fault if plan else "",
            )
        )
        answer: web.StreamResponse = web.Response(text="{}")
        if plan is None or plan.acts:
            answer = await _answer_of(handler, request)
        return answer if plan is None else await self._spoilt(plan.fault, request, answer)

    async def _spoilt(self, fault: Fault, request: web.Request, answer: web.StreamResponse) -> web.StreamResponse:
        match fault:
            case Fault.SILENT:
                await self._closing.wait()
                return _cut(request)
            case Fault.CUT:
                return _cut(request)
            case Fault.HALF | Fault.DRIP:
                return await self._torn(fault, request, answer)
            case Fault.ERROR:
                return web.Response(status=500, text="<h1>500 Internal Server Error</h1>", content_type="text/html")
            case Fault.GARBAGE:
                return web.Response(text=GARBAGE, content_type="text/html")
            case Fault.EMPTY:
                return web.Response()
            case Fault.HUGE:
                return web.Response(body=b" " * MORE_THAN_ANYBODY_READS)

    async def _torn(self, fault: Fault, request: web.Request, answer: web.StreamResponse) -> web.StreamResponse:
        body = answer.body if isinstance(answer, web.Response) and isinstance(answer.body, bytes) else b"{}"
        torn = web.StreamResponse(status=answer.status, headers={"Content-Type": answer.content_type})
        torn.content_length = max(len(body), 2) if fault is Fault.HALF else MORE_THAN_ANYBODY_READS
        await torn.prepare(request)
        await torn.write(body[: len(body) // 2])
        while fault is Fault.DRIP and not self._closing.is_set():
            try:
                await torn.write(b" ")
            except ConnectionError:
                break
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._closing.wait(), DRIP_SECONDS)
        _cut(request)
        return torn

    # -- its own calls to the shop ------------------------------------------------------

    async def call(self, url: str, method: str = "POST", **request: Any) -> Called | None:
        """Call the shop, as gateways do to tell of a payment: ``params``, ``data``, ``json`` or ``headers``.

        None while calls are held back.
        """
        if self._held is not None:
            self._held.append((url, method, request))
            return None
        called = await _called(url, method, request)
        self.called.append(called)
        return called

    def hold(self) -> None:
        """Keep all calls back from now on, until :meth:`release`."""
        self._held = self._held or []

    async def release(self, *, times: int = 1, backwards: bool = False) -> list[Called]:
        """Make the calls held back, each ``times`` times, all at once when it is more than once."""
        held, self._held = self._held or [], None
        calls: list[Called] = []
        for url, method, request in reversed(held) if backwards else held:
            calls += await asyncio.gather(*(_called(url, method, request) for _ in range(times)))
        self.called += calls
        return calls

    # -- from another process -----------------------------------------------------------

    async def _script(self, request: web.Request) -> web.Response:
        plans = await request.json()
        self.heals()
        for one in plans:
            self.fails(one["path"], Fault(one["fault"]), times=one.get("times"), acts=one.get("acts", True))
        return web.json_response(plans)

    async def _tell(self, request: web.Request) -> web.Response:
        seen = [{**asdict(one), "body": one.body.decode("utf-8", "replace")} for one in self.seen]
        return web.json_response({"seen": seen, "called": [asdict(one) for one in self.called]})


async def _answer_of(handler: Any, request: web.Request) -> web.StreamResponse:
    try:
        answer: web.StreamResponse = await handler(request)
    except web.HTTPException as refusal:
        return web.Response(status=refusal.status, text=refusal.text, headers=refusal.headers)
    return answer


def _cut(request: web.Request) -> web.StreamResponse:
    if request.transport is not None:
        request.transport.close()
    return web.Response()


async def _called(url: str, method: str, request: Mapping[str, Any]) -> Called:
    # as the other side wrote it: yarl would rewrite escapes that a signature covers
    address = URL(url, encoded=True)
    try:
        async with (
            ClientSession(timeout=ClientTimeout(total=CALL_SECONDS)) as session,
            session.request(method, address, allow_redirects=False, **request) as answer,
        ):
            return Called(url, answer.status, await answer.text())
    except (ClientError, TimeoutError) as error:
        return Called(url, 0, type(error).__name__)


# -- a process of its own -------------------------------------------------------------------


def serve(server: type[Loopback], *arguments: Any, **options: Any) -> None:
    """Serve until standard input ends; the address is printed on one line. ``--port`` chooses the port."""
    parser = argparse.ArgumentParser(description=server.__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=0)
    port = parser.parse_known_args()[0].port

    async def run() -> None:
        served = server(*arguments, **options)
        await served.up(port)
        print(served.address, flush=True)
        try:
            await asyncio.to_thread(sys.stdin.read)
        finally:
            await served.down()

    asyncio.run(run())


@dataclass(frozen=True, slots=True)
class Away:
    """A :class:`Loopback` in another process. ``client`` asks it anything, also what its own routes tell."""

    address: str
    client: httpx.Client = field(repr=False)

    def fails(self, path: str = "*", fault: Fault = Fault.ERROR, *, times: int | None = 1, acts: bool = True) -> None:
        """Only this goes wrong from now on; see :meth:`Loopback.fails`."""
        self._script([{"path": path, "fault": fault, "times": times, "acts": acts}])

    def heals(self) -> None:
        """From now on nothing goes wrong."""
        self._script([])

    def seen(self) -> list[dict[str, Any]]:
        """Every request so far; see :class:`Seen`."""
        return list(self.client.get("/_seen").raise_for_status().json()["seen"])

    def called(self) -> list[dict[str, Any]]:
        """Every call it made; see :class:`Called`."""
        return list(self.client.get("/_seen").raise_for_status().json()["called"])

    def _script(self, plans: list[dict[str, Any]]) -> None:
        self.client.post("/_script", json=plans).raise_for_status()


@contextlib.contextmanager
def in_process(file: Path, *arguments: str) -> Iterator[Away]:
    """Start a file that ends with :func:`serve`, and end it with the block."""
    command = [sys.executable, str(file), *arguments]
    # it finds the shop's packages wherever it lies itself
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environ)
    if process.stdin is None or process.stdout is None:
        raise RuntimeError("it has no pipes")
    try:
        address = process.stdout.readline().strip()
        if not address.startswith("http://"):
            raise RuntimeError(f"{file} did not start")
        with httpx.Client(base_url=address, timeout=30) as client:
            yield Away(address, client)
    finally:
        process.stdin.close()
        process.stdout.close()
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
