"""The test gateway alone: its links, its page, its messages."""

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from html import unescape
from urllib.parse import parse_qsl, urlencode, urlsplit

import pytest

from core import clock
from core.api import Answer, Attempt, Claim, ClaimState, Forged, Money, Redirect, Refund, RefundAnswer, RefundState
from plugins.payments.sandbox import plugin
from plugins.payments.sandbox.method import Sandbox
from tests.payments.conftest import MakeContext, a_call, an_attempt

ATTEMPT = an_attempt("VTEST-1", "sandbox")
OUTCOMES = [
    "paid",
    "pending",
    "failed",
    "expired",
    "twice",
    "late",
    "wrong_amount",
    "too_much",
    "taken_back",
    "replay",
]


@pytest.fixture
def method(context: MakeContext) -> Sandbox:
    [made] = plugin.register_payment_methods(context("payments.sandbox"))
    return made


async def link(method: Sandbox, attempt: Attempt = ATTEMPT) -> str:
    started = await method.start(attempt)
    assert isinstance(started.step, Redirect)
    return started.step.url


async def shown(method: Sandbox, address: str) -> str:
    answer = await method.parse_callback(a_call(address))
    assert isinstance(answer, Answer)
    assert answer.content_type == "text/html; charset=utf-8"
    return answer.body.decode()


def forms(html: str) -> dict[str, dict[str, str]]:
    """The hidden fields behind each button of a page."""
    found = {}
    for form in re.findall(r"<form.*?</form>", html, re.S):
        fields = dict(re.findall(r'name="([a-z]+)" value="([^"]*)"', form))
        found[fields["act"]] = {name: unescape(value) for name, value in fields.items()}
    return found


async def pressed(method: Sandbox, fields: dict[str, str]) -> Claim:
    claim = await method.parse_callback(a_call(fields["door"], "POST", urlencode(fields).encode()))
    assert isinstance(claim, Claim)
    return claim


async def test_the_page_offers_every_outcome_and_the_way_back(method: Sandbox) -> None:
    html = await shown(method, await link(method))
    assert list(forms(html)) == OUTCOMES
    assert "¥1.00" in html
    assert f'href="{ATTEMPT.return_url}"' in html
    assert "<script" not in html
    assert "style=" not in html


async def test_hostile_titles_stay_text(method: Sandbox) -> None:
    title = """<script>alert(1)</script>"'&amp;"""
    html = await shown(method, await link(method, replace(ATTEMPT, title=title)))
    assert "<script>" not in html
    assert forms(html)["paid"]["title"] == title


@pytest.mark.parametrize(
    ("outcome", "state", "amount"),
    [
        ("paid", ClaimState.PAID, 100),
        ("pending", ClaimState.PENDING, 100),
        ("failed", ClaimState.FAILED, 100),
        ("expired", ClaimState.EXPIRED, 100),
        ("twice", ClaimState.PAID, 100),
        ("late", ClaimState.PENDING, 100),
        ("wrong_amount", ClaimState.PAID, 50),
        ("too_much", ClaimState.PAID, 151),
        ("taken_back", ClaimState.PAID, 100),
        ("replay", ClaimState.PAID, 100),
    ],
)
async def test_what_each_outcome_claims(method: Sandbox, outcome: str, state: ClaimState, amount: int) -> None:
    claim = await pressed(method, forms(await shown(method, await link(method)))[outcome])
    assert (claim.attempt_ref, claim.state, claim.amount) == ("VTEST-1", state, Money(amount, "CNY"))
    assert claim.answer is not None
    assert ATTEMPT.return_url.encode() in claim.answer.body


async def test_paying_twice_is_two_events_and_a_replay_is_one(method: Sandbox) -> None:
    buttons = forms(await shown(method, await link(method)))
    first = await pressed(method, buttons["twice"])
    assert first.answer is not None
    second = await pressed(method, forms(first.answer.body.decode())["second"])
    assert first.event_key != second.event_key
    once = await pressed(method, buttons["replay"])
    assert once.answer is not None
    again = await pressed(method, forms(once.answer.body.decode())["replay"])
    assert once == again


async def test_what_was_paid_can_be_taken_back_and_given_back(method: Sandbox) -> None:
    paid = await pressed(method, forms(await shown(method, await link(method)))["taken_back"])
    assert paid.answer is not None
    taken = await pressed(method, forms(paid.answer.body.decode())["take"])
    assert (taken.state, taken.amount) == (ClaimState.CHARGED_BACK, Money(100, "CNY"))
    assert taken.event_key != paid.event_key
    refund = Refund("VTEST-R1", "VTEST-1", paid.gateway_ref, "VTEST", Money(40, "CNY"), Money(100, "CNY"))
    assert await method.refund(refund) == RefundAnswer(RefundState.DONE, "back-VTEST-R1")


async def test_a_link_alone_reports_nothing(method: Sandbox) -> None:
    paid = forms(await shown(method, await link(method)))["paid"]
    assert list(forms(await shown(method, f"{paid['door']}?{urlencode(paid)}"))) == OUTCOMES


async def test_the_page_itself_is_no_outcome(method: Sandbox) -> None:
    fields = dict(parse_qsl(urlsplit(await link(method)).query))
    with pytest.raises(Forged):
        await pressed(method, fields)


@pytest.mark.parametrize(
    "change",
    [{"amount": "1"}, {"attempt": "VB-1"}, {"act": "paid"}, {"back": "https://a.example"}, {"sign": ""}, {"x": "1"}],
    ids=lambda change: " ".join(change),
)
async def test_altered_messages_are_forged(method: Sandbox, change: dict[str, str]) -> None:
    fields = forms(await shown(method, await link(method)))["failed"]
    with pytest.raises(Forged):
        await pressed(method, {**fields, **change})


async def test_a_doubled_field_and_an_empty_message_are_forged(method: Sandbox) -> None:
    fields = forms(await shown(method, await link(method)))["paid"]
    body = urlencode(fields).encode()
    for forged in (body + b"&amount=100", b"", b"sign="):
        with pytest.raises(Forged):
            await method.parse_callback(a_call(fields["door"], "POST", forged))


async def test_another_shops_signature_is_forged(method: Sandbox, context: MakeContext) -> None:
    [other] = plugin.register_payment_methods(context("payments.sandbox_of_another_shop"))
    fields = forms(await shown(method, await link(method)))["paid"]
    with pytest.raises(Forged):
        await pressed(other, fields)


async def test_a_query_finds_the_pending_payment_paid_after_ten_seconds(method: Sandbox) -> None:
    claim = await pressed(method, forms(await shown(method, await link(method)))["pending"])
    asked = replace(ATTEMPT, gateway_ref=claim.gateway_ref)
    with clock.use(lambda: ATTEMPT.created_at + timedelta(seconds=9)):
        assert await method.query(asked) is None
    with clock.use(lambda: ATTEMPT.created_at + timedelta(seconds=10)):
        found = await method.query(asked)
    assert found is not None
    assert (found.state, found.amount) == (ClaimState.PAID, ATTEMPT.amount)


async def test_a_query_finds_the_late_payment_after_the_order_expired(method: Sandbox) -> None:
    claim = await pressed(method, forms(await shown(method, await link(method)))["late"])
    asked = replace(ATTEMPT, gateway_ref=claim.gateway_ref)
    with clock.use(lambda: ATTEMPT.expires_at):
        assert await method.query(asked) is None
    with clock.use(lambda: ATTEMPT.expires_at + timedelta(seconds=30)):
        found = await method.query(asked)
    assert found is not None
    assert found.state is ClaimState.PAID


async def test_a_query_knows_nothing_of_other_payments(method: Sandbox) -> None:
    with clock.use(lambda: datetime.now(UTC) + timedelta(days=1)):
        for known in (None, "", "paid-VTEST-1", "failed-VTEST-1", "pending-VOTHER-1"):
            assert await method.query(replace(ATTEMPT, gateway_ref=known)) is None


def test_it_is_for_test_mode_only(method: Sandbox) -> None:
    assert method.test_only
