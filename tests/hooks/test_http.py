"""The client plugins reach others with, against a server that behaves as badly as servers do."""

import asyncio
import contextlib
import gzip
import socket
from datetime import UTC, datetime, timedelta

import pytest
from aiohttp import web

from core import clock, db
from core.hooks.http import AllowedHosts, HttpError, NotSent, PluginHttp, Unclear
from core.web import i18n

LOOPBACK = AllowedHosts(["127.0.0.1"])


class EvilServer:
    def __init__(self):
        self.seen = []
        self.over = asyncio.Event()
        self.bomb = gzip.compress(b"x" * 50_000_000)

    async def answer(self, request):
        self.seen.append((request.method, request.path_qs, await request.text()))
        match request.path:
            case "/redirect":
                return web.Response(status=302, headers={"Location": "http://127.0.0.1/other"})
            case "/large":
                return web.Response(body=b"x" * 2_000_001)
            case "/just-fits":
                return web.Response(body=b"x" * 2_000_000)
            case "/bomb":
                return web.Response(body=self.bomb, headers={"Content-Encoding": "gzip"})
            case "/gzip":
                return web.Response(body=gzip.compress("好".encode()), headers={"Content-Encoding": "gzip"})
            case "/brotli":
                return web.Response(body=b"abc", headers={"Content-Encoding": "br"})
            case "/slow":
                await self.over.wait()
            case "/drip":
                response = web.StreamResponse()
                await response.prepare(request)
                while not self.over.is_set():
                    await response.write(b"x")
                    await asyncio.sleep(0.02)
            case "/break":
                request.transport.abort()
            case "/error":
                return web.Response(status=500, text="upstream is down")
        return web.json_response({"path": request.path}, headers={"X-Number": "1"})


@pytest.fixture(scope="module")
async def evil():
    server = EvilServer()
    app = web.Application()
    app.router.add_route("*", "/{rest:.*}", server.answer)
    runner = web.AppRunner(app, shutdown_timeout=0)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    server.url = "http://127.0.0.1:{}".format(*runner.addresses[0][1:])
    yield server
    server.over.set()
    await runner.cleanup()


@pytest.fixture
async def http():
    client = PluginHttp("payments.acme", allowed=LOOPBACK)
    yield client
    await client.close()


async def test_an_answer_comes_back_whatever_its_status(evil, http):
    answer = await http.get(evil.url + "/page", params={"a": "1 2"})
    assert (answer.status, answer.json(), answer.headers["x-number"]) == (200, {"path": "/page"}, "1")
    assert evil.seen[-1] == ("GET", "/page?a=1+2", "")
    answer = await http.get(evil.url + "/error")
    assert (answer.status, answer.text()) == (500, "upstream is down")
    assert "upstream" not in repr(answer)


async def test_forms_json_and_bytes_are_posted(evil, http):
    await http.post(evil.url + "/form", form={"name": "好", "sum": "19.90"})
    assert evil.seen[-1] == ("POST", "/form", "name=%E5%A5%BD&sum=19.90")
    await http.post(evil.url + "/json", json={"sum": 1})
    assert evil.seen[-1] == ("POST", "/json", '{"sum":1}')
    await http.post(evil.url + "/raw", content=b"<xml/>")
    assert evil.seen[-1] == ("POST", "/raw", "<xml/>")


async def test_redirects_are_not_followed(evil, http):
    answer = await http.get(evil.url + "/redirect")
    assert answer.status == 302
    assert evil.seen[-1][1] == "/redirect"


async def test_packed_answers_are_unpacked(evil, http):
    assert (await http.get(evil.url + "/gzip")).text() == "好"
    assert len((await http.get(evil.url + "/just-fits")).content) == 2_000_000


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("/large", "more than 2000000 bytes"),
        ("/bomb", "more than 2000000 bytes"),
        ("/brotli", "a coding that was not asked for"),
        ("/slow", "did not answer within 0.3 s"),
        ("/drip", "did not answer within 0.3 s"),
        ("/break", "broke off"),
    ],
)
async def test_a_bad_answer_leaves_it_unclear_whether_it_had_an_effect(evil, http, path, told):
    with pytest.raises(Unclear, match=told):
        await http.get(evil.url + path, seconds=0.3)


async def test_a_server_that_is_not_there_was_certainly_not_told(http):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        with pytest.raises(NotSent, match="cannot be reached"):
            await http.get(f"http://127.0.0.1:{closed.getsockname()[1]}/")


async def test_a_server_that_is_not_there_is_told_in_the_language_of_the_reader(http):
    i18n.load([i18n.FOLDER])
    with socket.socket() as closed, i18n.speaking("zh_CN"):
        closed.bind(("127.0.0.1", 0))
        with pytest.raises(NotSent) as caught:
            await http.get(f"http://127.0.0.1:{closed.getsockname()[1]}/")
        assert str(caught.value) == "无法连接 127.0.0.1：该地址拒绝连接"
        with pytest.raises(NotSent) as caught:
            await http.get("http://pay.invalid/")
        assert str(caught.value).startswith("无法连接 pay.invalid：找不到这个域名（")


async def test_a_server_that_never_takes_the_connection_was_certainly_not_told(http):
    with contextlib.ExitStack() as sockets:
        full = sockets.enter_context(socket.socket())
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for _waiting in range(3):
            waiting = sockets.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(full.getsockname())
        with pytest.raises(NotSent, match="cannot be reached"):
            await http.get(f"http://127.0.0.1:{full.getsockname()[1]}/", seconds=0.5)


@pytest.mark.parametrize("url", ["ftp://example.com/", "file:///etc/passwd", "/only/path", "http://", "http://[::1"])
async def test_only_web_addresses_are_called(http, url):
    with pytest.raises(NotSent):
        await http.get(url)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "2130706433", "0x7f.1", "127.1"])
async def test_private_addresses_are_refused_under_every_name(evil, host):
    seen = len(evil.seen)
    http = PluginHttp("payments.acme")
    with pytest.raises(NotSent):
        await http.get(evil.url.replace("127.0.0.1", host))
    await http.close()
    assert len(evil.seen) == seen


@pytest.mark.parametrize(
    ("address", "allowed"),
    [
        ("8.8.8.8", True),
        ("2606:4700::1111", True),
        ("127.0.0.1", False),
        ("10.1.2.3", False),
        ("192.168.0.1", False),
        ("169.254.169.254", False),
        ("100.64.0.1", False),
        ("0.0.0.0", False),
        ("224.0.0.1", False),
        ("::1", False),
        ("fe80::1%eth0", False),
        ("fd00::1", False),
        ("::ffff:127.0.0.1", False),
        ("::ffff:8.8.8.8", True),
        ("64:ff9b::10.1.2.3", False),
        ("64:ff9b::8.8.8.8", True),
        ("64:ff9b:1::10.1.2.3", False),
        ("2002:a01:203::1", False),
        ("2002:808:808::1", True),
        ("::10.1.2.3", False),
        ("fec0::1", False),
    ],
)
def test_which_addresses_are_private(address, allowed):
    assert AllowedHosts().allows("some.example", address) is allowed


def test_an_operator_may_allow_hosts_and_networks():
    hosts = AllowedHosts(["gateway.lan", "10.0.0.0/8"])
    assert hosts.allows("GATEWAY.lan", "192.168.1.1")
    assert hosts.allows("any.example", "10.9.9.9")
    assert not hosts.allows("other.lan", "192.168.1.1")


async def test_no_call_inside_a_transaction(pool, evil, http):
    seen = len(evil.seen)

    async def work(tx):
        await http.get(evil.url + "/page")

    with pytest.raises(RuntimeError, match="no network call inside a database transaction"):
        await db.transaction(work)
    assert len(evil.seen) == seen


async def test_a_plugin_that_did_not_name_the_permission_may_not_call(evil):
    seen = len(evil.seen)
    http = PluginHttp("payments.acme", allowed=LOOPBACK, may_call=False)
    with pytest.raises(RuntimeError, match='must name the permission "network"'):
        await http.get(evil.url + "/page")
    await http.close()
    assert len(evil.seen) == seen


async def test_a_host_that_keeps_failing_is_left_alone_for_half_a_minute(evil, http):
    now = datetime(2026, 11, 22, tzinfo=UTC)
    with clock.use(lambda: now):
        for _again in range(5):
            with pytest.raises(Unclear):
                await http.get(evil.url + "/break")
        seen = len(evil.seen)
        with pytest.raises(NotSent, match="left alone for half a minute"):
            await http.get(evil.url + "/page")
        assert len(evil.seen) == seen
        now += timedelta(seconds=31)
        assert (await http.get(evil.url + "/page")).status == 200
        with pytest.raises(HttpError):
            await http.get(evil.url + "/break")
        assert (await http.get(evil.url + "/page")).status == 200
