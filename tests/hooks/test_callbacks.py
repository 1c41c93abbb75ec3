"""What a plugin makes of a call, however badly, costs that call alone and is counted at the plugin."""

import asyncio

import pytest

from core.hooks import callbacks, runtime
from core.payments.method import Answer, CallbackRequest, Claim, Forged
from core.web.errors import Unavailable

CALL = CallbackRequest("POST", b"", b"", {}, "203.0.113.9")


@pytest.fixture
async def method(start, monkeypatch):
    runtime.use(await start("payments.good"))
    monkeypatch.setattr(callbacks, "READ_SECONDS", 0.05)
    return runtime.current().payment_methods["good"]


async def read(method, reads):
    method.parse_callback = reads
    return await callbacks.read("register_payment_methods", method, CALL, gives=(Claim, Answer), says=(Forged,))


async def raises(error):
    raise error


@pytest.mark.parametrize(
    ("reads", "told"),
    [
        (lambda call: raises(ZeroDivisionError("by zero")), "ZeroDivisionError: by zero"),
        (lambda call: raises(SystemExit(3)), "exit 3"),
        (lambda call: raises(asyncio.CancelledError()), "it cancelled itself"),
        (lambda call: asyncio.sleep(3600), "TimeoutError"),
        (lambda call: asyncio.sleep(0, "success"), "parse_callback() gives Claim or None, not str"),
        (lambda call: None, "TypeError"),
    ],
    ids=["raises", "exits", "cancels", "hangs", "gives words", "is no coroutine"],
)
async def test_a_mistake_is_counted_and_the_other_side_tries_again(method, reads, told):
    with pytest.raises(Unavailable):
        await read(method, reads)
    [(what, failures)] = runtime.current().plugin("payments.good").failures.items()
    assert (what, failures.count) == ("parse_callback", 1)
    assert told in str(failures.last)


async def test_what_it_says_and_gives_comes_through(method):
    with pytest.raises(Forged, match="wrong sign"):
        await read(method, lambda call: raises(Forged("wrong sign")))
    assert await read(method, lambda call: asyncio.sleep(0)) is None
    given = Answer(b"ok")
    assert await read(method, lambda call: asyncio.sleep(0, given)) is given
    assert runtime.current().plugin("payments.good").failures == {}
