"""What the clock sets going: nobody's broken plugin may keep a payment from being found."""

from datetime import timedelta

import asyncpg
import pytest

from core import clock, db
from core.checkout import jobs
from core.hooks import runtime
from core.payments import service as payments
from core.payments.method import (
    Attempt,
    Claim,
    ClaimState,
    GatewayRefused,
    Instructions,
    PaymentMethod,
    PostForm,
    QrCode,
    Redirect,
    Started,
)
from tests import stocked


class Broken(PaymentMethod):
    key = "epay"
    title = {"en": "Broken"}
    query_after = (10, 20)

    async def start(self, attempt: Attempt) -> Started:
        raise ZeroDivisionError

    async def query(self, attempt: Attempt) -> Claim | None:
        raise ZeroDivisionError


async def due(placed):
    await db.execute("UPDATE payments_attempt SET next_query_at = now() WHERE ref = $1", placed.attempt_ref)
    return await payments.load_attempt(placed.attempt_ref, "http://127.0.0.1:9")


async def next_query(placed):
    return await db.fetchval("SELECT next_query_at FROM payments_attempt WHERE ref = $1", placed.attempt_ref)


async def test_a_method_that_breaks_when_asked_lets_the_timer_go_on():
    placed = await stocked.order(await stocked.sku(1))
    attempt = await due(placed)
    assert await payments.ask(Broken(), attempt) is None
    assert await next_query(placed) == attempt.view.created_at + timedelta(seconds=20)
    assert placed.attempt_ref not in [one.view.ref for one in await payments.attempts_to_query("http://127.0.0.1:9")]


async def test_a_method_that_breaks_at_the_start_is_said_not_raised():
    placed = await stocked.order(await stocked.sku(1))
    attempt = await due(placed)
    assert await payments.try_start(Broken(), attempt.view) == "broke: ZeroDivisionError"


@pytest.mark.parametrize(
    "given",
    [
        None,
        Redirect("https://pay.example.com"),
        Started("https://pay.example.com"),
        Started(Redirect(None)),
        Started(Redirect("https://pay.example.com"), gateway_ref=12345),
        Started(QrCode("a\x00b")),
        Started(QrCode("x" * 2332)),
        Started(Instructions("only words")),
        Started(PostForm("https://pay.example.com", {"sum": 5})),
    ],
)
async def test_a_step_that_cannot_be_stored_or_shown_is_a_start_that_failed(given):
    class Gives(Broken):
        async def start(self, attempt: Attempt) -> Started:
            return given

    placed = await stocked.order(await stocked.sku(1))
    error = await payments.start(Gives(), await due(placed))
    assert error.startswith("broke: ")
    row = await db.fetchrow("SELECT state, error FROM payments_attempt WHERE ref = $1", placed.attempt_ref)
    assert tuple(row) == ("failed", error)


@pytest.mark.parametrize("given", ["paid", Claim("ref", ClaimState.PAID, 1990, "T1", "T1:paid")])
async def test_an_answer_that_is_no_claim_is_asked_about_again_later(given):
    class Says(Broken):
        async def query(self, attempt: Attempt) -> Claim | None:
            return given

    placed = await stocked.order(await stocked.sku(1))
    attempt = await due(placed)
    assert await payments.ask(Says(), attempt) is None
    assert await next_query(placed) == attempt.view.created_at + timedelta(seconds=20)


class SaysNo(Broken):
    """With signs that no database keeps, as JSON can bring them."""

    async def start(self, attempt: Attempt) -> Started:
        raise GatewayRefused("no\x00 \ud800")

    query = start


async def test_what_a_gateway_says_in_odd_signs_is_written_down_and_it_is_asked_again_later():
    placed = await stocked.order(await stocked.sku(1))
    attempt = await due(placed)
    assert await payments.ask(SaysNo(), attempt) is None
    assert await next_query(placed) == attempt.view.created_at + timedelta(seconds=20)
    assert await payments.start(SaysNo(), attempt) == "refused: no ?"


ODD = """
from core.api import Claim, ClaimState, PaymentMethod, Plugin, hookimpl

class Odd(PaymentMethod):
    key, title, query_after = "epay", {"en": "Odd"}, (10, 20)

    async def query(self, attempt):
        odd = "\\x00" if attempt.title == "odd" else ""
        return Claim(attempt.ref, ClaimState.PAID, attempt.amount, f"T{odd}", f"{attempt.ref}:paid")

class OddPlugin(Plugin):
    @hookimpl
    def register_payment_methods(self, ctx):
        return [Odd()]

plugin = OddPlugin()
"""
MANIFEST = """
id = "payments.odd"
kind = "payments"
version = "1.0.0"
api = 1
core = ">=0"
default_enabled = true
title = { en = "Odd" }
summary = { en = "Says what no database keeps" }
"""


async def test_what_a_gateway_says_that_cannot_be_kept_stops_no_other(tmp_path):
    folder = tmp_path / "odd" / "payments" / "odd"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text(ODD)
    (folder / "plugin.toml").write_text(MANIFEST)
    before = runtime.current()
    plugins = runtime.Runtime(folder=tmp_path / "odd", package="odd_gateways")
    await plugins.start()
    assert "epay" in plugins.payment_methods, [(one.state, one.reason) for one in plugins.plugins]
    runtime.use(plugins)
    try:
        odd, good = await stocked.order(await stocked.sku(1)), await stocked.order(await stocked.sku(1))
        await db.execute('UPDATE orders_line SET product_title = \'{"en": "odd"}\' WHERE order_id = $1', odd.order_id)
        for placed in (odd, good):
            await due(placed)
        await jobs.ask_gateways(None)
    finally:
        runtime.use(before)
        await plugins.close()
    assert (await stocked.states(odd))[0] == "unpaid"
    assert await stocked.states(good) == ("paid", "delivered")


async def test_while_its_plugin_is_off_an_attempt_is_not_forgotten():
    placed = await stocked.order(await stocked.sku(1))
    await due(placed)
    await jobs.ask_gateways(None)
    assert await next_query(placed) > clock.now()


async def test_after_three_days_without_its_plugin_it_is():
    placed = await stocked.order(await stocked.sku(1))
    await db.execute(
        "UPDATE payments_attempt SET created_at = now() - interval '3 days' WHERE ref = $1", placed.attempt_ref
    )
    await due(placed)
    await jobs.ask_gateways(None)
    assert await next_query(placed) is None


async def test_a_clash_that_is_no_cap_is_not_called_one():
    """A unique key that is not about places among open orders must show itself as what it is."""
    sku = await stocked.sku(2)
    await db.execute(f"CREATE UNIQUE INDEX one_of_these ON orders_line (sku_code) WHERE sku_code = '{sku.code}'")
    await stocked.order(sku)
    with pytest.raises(asyncpg.UniqueViolationError):
        await stocked.order(sku)
    await db.execute("DROP INDEX one_of_these")
    assert await stocked.codes_by_state(sku) == {"free": 1, "reserved": 1}
