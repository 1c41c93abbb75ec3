"""The fake gateway keeps the rules of EPay V1, so that tests against it mean something."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
from aiohttp import web

from tests.gateways.epay import as_php_float, sign
from tests.gateways.running import FakeEpay, fake_epay


@dataclass
class Merchant:
    """A shop that writes down what it is told, and answers ``answers`` one after the other, the last for ever."""

    address: str = ""
    told: list[dict[str, str]] = field(default_factory=list)
    answers: list[str] = field(default_factory=lambda: ["success"])
    heard: asyncio.Event = field(default_factory=asyncio.Event)

    async def notify(self, request: web.Request) -> web.Response:
        self.told.append(dict(request.query))
        self.heard.set()
        return web.Response(text=self.answers.pop(0) if len(self.answers) > 1 else self.answers[0])

    async def until_told(self, times: int) -> None:
        async with asyncio.timeout(20):
            while len(self.told) < times:
                self.heard.clear()
                await self.heard.wait()


@pytest.fixture(scope="module")
def gateway() -> Iterator[FakeEpay]:
    with fake_epay() as running:
        yield running


@pytest.fixture
async def merchant(gateway: FakeEpay) -> AsyncIterator[Merchant]:
    shop = Merchant()
    app = web.Application()
    app.router.add_get("/notify", shop.notify)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    shop.address = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield shop
    gateway.script()
    await runner.cleanup()


def order(gateway: FakeEpay, merchant: Merchant, number: str, **changes: str) -> dict[str, str]:
    params = {
        "pid": gateway.pid,
        "type": "alipay",
        "out_trade_no": number,
        "notify_url": f"{merchant.address}/notify",
        "return_url": f"{merchant.address}/back?order={number}",
        "name": "VIP会员",
        "money": "1.00",
        **changes,
    }
    return {**params, "sign": sign(params, gateway.key), "sign_type": "MD5"}


async def ask(gateway: FakeEpay, path: str, method: str = "GET", **request: Any) -> httpx.Response:
    return await asyncio.to_thread(gateway.client.request, method, path, **request)


async def test_the_whole_way_of_a_buyer(gateway: FakeEpay, merchant: Merchant) -> None:
    page = await ask(gateway, "/submit.php", "POST", data=order(gateway, merchant, "WAY"))
    cashier = page.headers["location"]
    assert "立即支付" in (await ask(gateway, cashier)).text
    back = (await ask(gateway, cashier, "POST")).headers["location"]
    [notice] = merchant.told
    assert notice["money"] == "1"
    assert notice["trade_status"] == "TRADE_SUCCESS"
    assert notice["sign"] == sign(notice, gateway.key)
    assert back.startswith(f"{merchant.address}/back?order=WAY&pid={gateway.pid}&trade_no={notice['trade_no']}&")
    assert "已支付" in (await ask(gateway, cashier)).text


@pytest.mark.parametrize(("money", "sent"), [("1.00", "1"), ("19.90", "19.9"), ("0.01", "0.01"), ("100", "100")])
def test_money_is_cast_as_php_does(money: str, sent: str) -> None:
    assert as_php_float(money) == sent


async def test_a_merchant_that_does_not_say_success_is_called_again(gateway: FakeEpay, merchant: Merchant) -> None:
    merchant.answers = ["fail", "<html>", "ok Success"]
    await ask(gateway, "/mapi.php", "POST", data=order(gateway, merchant, "RETRY", clientip="1.2.3.4"))
    await asyncio.to_thread(gateway.pay, "RETRY")
    await merchant.until_told(3)
    assert merchant.told[0] == merchant.told[1] == merchant.told[2]


async def test_it_gives_up_after_five_more_calls(gateway: FakeEpay, merchant: Merchant) -> None:
    merchant.answers = ["fail"]
    with fake_epay(retry_scale=0.00001) as hasty:
        await ask(hasty, "/mapi.php", "POST", data=order(hasty, merchant, "GIVEUP", clientip="1.2.3.4"))
        await asyncio.to_thread(hasty.pay, "GIVEUP")
        await merchant.until_told(6)
        assert await asyncio.to_thread(hasty.notify_again, "GIVEUP") is False
        assert (await asyncio.to_thread(hasty.trade, "GIVEUP"))["tries"] == 7


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"money": "2.00"}, "支付参数有变化"),
        ({"name": "other"}, "支付参数有变化"),
        ({"return_url": "http://127.0.0.1:9/"}, "支付参数有变化"),
        ({"param": "x"}, "支付参数有变化"),
        ({}, None),
    ],
    ids=["money", "name", "return_url", "param", "same"],
)
async def test_one_number_is_one_trade(
    gateway: FakeEpay, merchant: Merchant, changes: dict[str, str], words: str | None
) -> None:
    number = f"SAME{'-'.join(changes) or 'none'}"
    asked = {"clientip": "1.2.3.4"}
    first = await ask(gateway, "/mapi.php", "POST", data=order(gateway, merchant, number, **asked))
    again = await ask(gateway, "/mapi.php", "POST", data=order(gateway, merchant, number, **asked, **changes))
    if words is None:
        assert again.json()["trade_no"] == first.json()["trade_no"]
    else:
        assert again.json()["code"] == -1
        assert words in again.json()["msg"]


async def test_a_paid_number_cannot_be_paid_again(gateway: FakeEpay, merchant: Merchant) -> None:
    params = order(gateway, merchant, "PAID", clientip="1.2.3.4")
    await ask(gateway, "/mapi.php", "POST", data=params)
    await asyncio.to_thread(gateway.pay, "PAID")
    assert "已完成支付" in (await ask(gateway, "/mapi.php", "POST", data=params)).json()["msg"]
    await asyncio.to_thread(gateway.pay, "PAID")
    assert len(merchant.told) == 1


@pytest.mark.parametrize(
    ("changes", "code", "words"),
    [
        ({"clientip": ""}, -1, "clientip"),
        ({"type": ""}, -1, "type"),
        ({"type": "cash"}, -2, "type"),
        ({"out_trade_no": "a b"}, -1, "out_trade_no"),
        ({"money": "1.001"}, -1, "金额不合法"),
        ({"money": "-1"}, -1, "金额不合法"),
        ({"pid": "1002"}, -1, "商户不存在"),
    ],
    ids=["clientip", "no type", "type", "number", "small money", "money", "pid"],
)
async def test_mapi_refuses_what_is_wrong(
    gateway: FakeEpay, merchant: Merchant, changes: dict[str, str], code: int, words: str
) -> None:
    params = order(gateway, merchant, "WRONG", **{"clientip": "1.2.3.4", **changes})
    answer = (await ask(gateway, "/mapi.php", "POST", data=params)).json()
    assert answer["code"] == code
    assert words in answer["msg"]


async def test_an_unsigned_request_opens_nothing(gateway: FakeEpay, merchant: Merchant) -> None:
    params = {**order(gateway, merchant, "UNSIGNED"), "sign": "0" * 32}
    assert "签名校验失败" in (await ask(gateway, "/submit.php", "GET", params=params)).text
    assert "UNSIGNED" not in [trade["out_trade_no"] for trade in gateway.log()["trades"]]


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ({"act": "order", "out_trade_no": "nobody"}, -1),
        ({"act": "order"}, -4),
        ({"act": "order", "key": "wrong", "out_trade_no": "nobody"}, -3),
        ({"act": "query", "key": "wrong"}, -3),
        ({"act": "query"}, 1),
        ({"act": "dance"}, -5),
    ],
    ids=["unknown", "no number", "order with wrong key", "merchant with wrong key", "merchant", "no such act"],
)
async def test_what_api_answers(gateway: FakeEpay, query: dict[str, str], code: int) -> None:
    params = {"pid": gateway.pid, "key": gateway.key, **query}
    assert (await ask(gateway, "/api.php", params=params)).json()["code"] == code


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        ({"notify_times": 2}, [{"money": "1"}, {"money": "1"}]),
        ({"notify_money": "0.01"}, [{"money": "0.01"}]),
        ({"notify_pid": "1002"}, [{"pid": "1002"}]),
        ({"notify_status": "TRADE_CLOSED"}, [{"trade_status": "TRADE_CLOSED"}]),
        ({"pay_without_notify": True}, []),
        ({"never": True}, []),
    ],
    ids=lambda fault: " ".join(fault) if isinstance(fault, dict) else "",
)
async def test_scripted_faults(
    gateway: FakeEpay, merchant: Merchant, fault: dict[str, Any], told: list[dict[str, str]]
) -> None:
    number = f"FAULT{'-'.join(fault)}"
    await ask(gateway, "/mapi.php", "POST", data=order(gateway, merchant, number, clientip="1.2.3.4"))
    await asyncio.to_thread(gateway.script, **fault)
    await asyncio.to_thread(gateway.pay, number)
    assert len(merchant.told) == len(told)
    for notice, wanted in zip(merchant.told, told, strict=True):
        assert notice.items() >= wanted.items()
        assert notice["sign"] == sign(notice, gateway.key)
    assert gateway.trade(number)["status"] == (0 if "never" in fault else 1)


async def test_the_first_calls_can_get_lost(gateway: FakeEpay, merchant: Merchant) -> None:
    await ask(gateway, "/mapi.php", "POST", data=order(gateway, merchant, "LOST", clientip="1.2.3.4"))
    await asyncio.to_thread(gateway.script, notify_first_n_fail=2)
    await asyncio.to_thread(gateway.pay, "LOST")
    await merchant.until_told(1)
    assert gateway.trade("LOST")["tries"] == 3


def test_an_unknown_fault_is_refused(gateway: FakeEpay) -> None:
    with pytest.raises(httpx.HTTPStatusError):
        gateway.script(explode=True)
