"""The server that plays the other side fails exactly as it is told, and a plugin's HTTP client sees it so."""

import textwrap
from pathlib import Path

import pytest
from aiohttp import web

from core.api import NotSent, PluginHttp, Unclear
from core.api.testing import Called, Fault, Loopback, in_process
from core.hooks.http import AllowedHosts

ROOT = Path(__file__).resolve().parents[2]


class Bank(Loopback):
    def __init__(self):
        super().__init__()
        self.paid = 0

    def routes(self):
        return [web.post("/pay", self.pay), web.post("/hear", self.hear)]

    async def pay(self, request):
        self.paid += 1
        return web.json_response({"payment": self.paid, "note": "thank you"})

    async def hear(self, request):
        return web.Response(text=f"heard {await request.text()}", status=202)


@pytest.fixture
async def bank():
    async with Bank() as bank:
        yield bank


@pytest.fixture
async def http():
    http = PluginHttp("payments.bank", allowed=AllowedHosts(["127.0.0.1"]))
    yield http
    await http.close()


async def outcome(http, bank):
    try:
        answer = await http.post(f"{bank.address}/pay", json={"sum": 5}, seconds=0.8)
    except Unclear:
        return "unclear"
    except NotSent:
        return "not sent"
    return answer.status, answer.content[:9]


@pytest.mark.parametrize(
    ("fault", "seen"),
    [
        (Fault.SILENT, "unclear"),
        (Fault.CUT, "unclear"),
        (Fault.HALF, "unclear"),
        (Fault.DRIP, "unclear"),
        (Fault.HUGE, "unclear"),
        (Fault.ERROR, (500, b"<h1>500 I")),
        (Fault.GARBAGE, (200, b"<b>Warnin")),
        (Fault.EMPTY, (200, b"")),
    ],
)
@pytest.mark.parametrize("acts", [True, False], ids=["acts", "does not act"])
async def test_each_fault_as_a_plugin_sees_it(bank, http, fault, seen, acts):
    bank.fails("/pay", fault, acts=acts)
    assert await outcome(http, bank) == seen
    assert bank.paid == int(acts)
    assert await outcome(http, bank) == (200, b'{"payment')
    assert bank.paid == int(acts) + 1
    assert [(one.path, one.json(), one.fault) for one in bank.seen] == [
        ("/pay", {"sum": 5}, fault),
        ("/pay", {"sum": 5}, ""),
    ]


async def test_who_is_down_gets_nothing_and_comes_back_at_the_same_address(bank, http):
    before = bank.address
    await bank.down()
    assert await outcome(http, bank) == "not sent"
    await bank.up()
    assert bank.address == before
    assert await outcome(http, bank) == (200, b'{"payment')
    assert (bank.paid, bank.count("/pay")) == (1, 1)


async def test_calls_come_twice_and_in_the_wrong_order(bank):
    async with Bank() as shop:
        assert await bank.call(f"{shop.address}/hear", data="0") == Called(f"{shop.address}/hear", 202, "heard 0")
        bank.hold()
        assert await bank.call(f"{shop.address}/hear", data="1") is None
        await bank.call(f"{shop.address}/hear", data="2")
        assert shop.count("/hear") == 1
        calls = await bank.release(times=2, backwards=True)
        assert [one.text for one in calls] == ["heard 2", "heard 2", "heard 1", "heard 1"]
        assert [one.body for one in shop.seen] == [b"0", b"2", b"2", b"1", b"1"]
    assert (await bank.call(f"{shop.address}/hear")).status == 0
    assert len(bank.called) == 6


async def test_a_signed_address_is_called_as_it_was_written(bank):
    await bank.call(f"{bank.address}/hear?a=%7E+b&sign=x")
    assert bank.seen[0].query == {"a": "~ b", "sign": "x"}


def test_as_a_process_of_its_own(tmp_path):
    file = tmp_path / "bank.py"
    file.write_text(
        f"import sys\nsys.path.insert(0, {str(ROOT)!r})\n"
        + textwrap.dedent("""
            from aiohttp import web
            from core.api.testing import Loopback, serve

            class Bank(Loopback):
                def routes(self):
                    return [web.post("/pay", self.pay)]

                async def pay(self, request):
                    return web.json_response({"paid": True})

            if __name__ == "__main__":
                serve(Bank)
        """)
    )
    with in_process(file) as bank:
        bank.fails("/pay", Fault.ERROR)
        answers = [bank.client.post("/pay", content=b"x") for _ in range(2)]
        assert [one.status_code for one in answers] == [500, 200]
        assert [(one["path"], one["body"], one["fault"]) for one in bank.seen()] == [
            ("/pay", "x", "error"),
            ("/pay", "x", ""),
        ]
        bank.heals()
        assert bank.client.post("/pay").json() == {"paid": True}
