"""Gateways' statements held against our books: what matches, what only one side knows, fees that are booked once."""

import dataclasses
from datetime import UTC, date, datetime, timedelta

import pytest

from core import clock, db
from core.api import GatewayUnavailable, LineKind, Money, PaymentMethod, StatementLine
from core.checkout.settle import settle
from core.ledger import bookkeeping, chart
from core.ledger import service as ledger
from core.payments import chargebacks, reconciliation, statements
from core.payments.method import Claim, ClaimState
from core.refused import Refused
from core.vault import keys
from tests import stocked


class Bank(PaymentMethod):
    """A gateway with books: what it booked, by day. A day that is not there cannot be had yet."""

    key = "bank"
    title = {"en": "Bank"}
    refunds = True
    statements = True
    query_after = (3600,)

    def __init__(self) -> None:
        self.booked: dict[date, list[StatementLine]] = {}
        self.asked: list[date] = []
        self.broken: Exception | None = None

    async def statement(self, day):
        self.asked.append(day)
        if self.broken:
            raise self.broken
        return self.booked.get(day)


@pytest.fixture(scope="module", autouse=True)
async def vault(pool):
    keys.use(keys.MasterKey(bytes(range(32))))


@pytest.fixture
async def bank():
    await db.execute("TRUNCATE payments_statement, payments_statement_line")
    await db.execute("DELETE FROM review_item WHERE kind = 'statement'")
    return Bank()


def today() -> date:
    return datetime.now(UTC).date()


async def fetch(bank: Bank, days_later: int = 1, hours: int = 2) -> None:
    """What the job does, on a later day."""
    then = datetime.combine(today() + timedelta(days=days_later), datetime.min.time(), UTC) + timedelta(hours=hours)
    with clock.use(lambda: then):
        await statements.plan(bank)
        for row in await db.fetch(statements.DUE, clock.now(), [bank.key]):
            await statements.fetch(bank, row)


async def paid(amount: int = 1990, came: int | None = None, number: str = ""):
    """An order of ours that this bank was paid for; not heard of when nothing ``came``."""
    placed = await stocked.order(await stocked.sku(1, price=amount))
    await db.execute("UPDATE payments_attempt SET method = 'bank' WHERE order_id = $1", placed.order_id)
    if came != 0:
        ref = placed.attempt_ref
        claim = Claim(ref, ClaimState.PAID, Money(came or amount, "CNY"), number or f"B{ref}", f"B{ref}:paid")
        await settle("bank", claim, "callback")
    return placed


def line(ref: str, amount: int = 1990, kind=LineKind.PAYMENT, fee: int = 0, currency: str = "CNY") -> StatementLine:
    now = datetime.now(UTC)
    key = f"{kind}:{ref}:{amount}"
    return StatementLine(key, kind, f"B{ref}", ref, Money(amount, "CNY"), now, Money(fee, currency))


async def results() -> dict[str, str]:
    rows = await db.fetch("SELECT key, result FROM payments_statement_line")
    return {row["key"]: row["result"] for row in rows}


async def question(day: date | None = None, state: str = "open") -> dict[str, int] | None:
    key = f"statement:bank:{day or today()}:1"
    data = await db.fetchval("SELECT data FROM review_item WHERE key = $1 AND state = $2", key, state)
    return {name: data[name] for name in ("theirs", "ours", "differs") if name in data} if data else None


async def failures() -> int:
    return await db.fetchval("SELECT count(*) FROM payments_statement WHERE error <> ''")


async def only_ours() -> list[str]:
    return [row["ref"] for row in await reconciliation.only_ours(1, "bank", today())]


async def books() -> dict[str, int]:
    accounts = (("fees", "CNY"), ("fees", "USD"), ("gateway:bank", "CNY"), ("gateway:bank", "USD"))
    return {f"{code} {currency}": await ledger.balance(1, code, currency) for code, currency in accounts}


async def moved(before: dict[str, int]) -> dict[str, int]:
    after = await books()
    return {name: after[name] - before[name] for name in after if after[name] != before[name]}


# -- holding both against each other ----------------------------------------------------


async def test_each_line_finds_its_payment_or_becomes_a_question(bank):
    good, more, unheard = await paid(), await paid(), await paid(came=0)
    theirs = line("", 500)
    lines = [line(good.attempt_ref), line(more.attempt_ref, 2000), line(unheard.attempt_ref), theirs]
    bank.booked = {today(): lines, today() + timedelta(days=1): []}
    await fetch(bank)
    expected = ["matched", "differs", "theirs", "theirs"]
    assert await results() == dict(zip((one.key for one in lines), expected, strict=True))
    assert await question() == {"theirs": 2, "differs": 1}
    assert await stocked.states(unheard) == ("unpaid", "reserved")
    at = await db.fetchval("SELECT next_query_at FROM payments_attempt WHERE ref = $1", unheard.attempt_ref)
    assert at <= datetime.now(UTC), "the gateway is asked about the payment we never heard of"

    ref = unheard.attempt_ref
    await settle("bank", Claim(ref, ClaimState.PAID, Money(1990, "CNY"), f"B{ref}", f"B{ref}:paid"), "query")
    await fetch(bank, 2)
    assert (await results())[lines[2].key] == "matched"
    assert await question() == {"theirs": 1, "differs": 1}


async def test_what_no_line_tells_of_is_asked_when_the_next_day_is_there(bank):
    await db.execute("UPDATE payments_event SET received_at = received_at - interval '9 days'")
    ours, other = await paid(), await paid()
    bank.booked = {today(): [line(ours.attempt_ref)]}
    await fetch(bank)
    assert await question() is None, "it may stand on the statement of tomorrow"
    bank.booked[today() + timedelta(days=1)] = []
    await fetch(bank, 2)
    assert await question() == {"ours": 1}
    [shown] = await reconciliation.only_ours(1, "bank", today())
    assert (shown["ref"], shown["order_ref"], shown["kind"]) == (other.attempt_ref, other.ref, "paid")
    assert await reconciliation.only_ours(2, "bank", today()) == []

    bank.booked[today() + timedelta(days=2)] = [line(other.attempt_ref)]
    await fetch(bank, 3)
    assert await question() is None
    assert await question(state="done") == {"ours": 1}, "what matches late closes its question"


async def test_midnight_is_not_the_same_for_both(bank):
    await db.execute("UPDATE payments_event SET received_at = received_at - interval '9 days'")
    late = await paid()
    yesterday = today() - timedelta(days=1)
    bank.booked = {yesterday: [line(late.attempt_ref)], today(): [], today() + timedelta(days=1): []}
    for days_later in (0, 1, 2):
        await fetch(bank, days_later)
    assert bank.asked == [yesterday, today(), today() + timedelta(days=1)]
    assert await question() is None
    assert await question(yesterday) is None


async def test_one_payment_stands_behind_one_line(bank):
    once = await paid()
    twice = [line(once.attempt_ref), line(once.attempt_ref, 1991)]
    bank.booked = {today(): [*twice, twice[0]]}
    await fetch(bank)
    assert sorted((await results()).values()) == ["matched", "theirs"]
    assert (await results())[twice[0].key] == "matched"

    again = line(once.attempt_ref, 1992)
    bank.booked[today() + timedelta(days=1)] = [again]
    await fetch(bank, 2)
    assert (await results())[again.key] == "theirs", "nor on another day"
    assert await failures() == 0


async def test_a_line_in_another_currency_or_of_another_gateway_does_not_match(bank):
    here, elsewhere = await paid(), await stocked.order(await stocked.sku(1))
    await settle("epay", stocked.paid(elsewhere), "callback")
    dollars = dataclasses.replace(line(here.attempt_ref), amount=Money(1990, "USD"))
    foreign = line(elsewhere.attempt_ref)
    bank.booked = {today(): [dollars, foreign]}
    await fetch(bank)
    assert await results() == {dollars.key: "differs", foreign.key: "theirs"}


async def test_a_statement_that_comes_again_changes_nothing(bank):
    good = await paid()
    bank.booked = {today(): [line(good.attempt_ref, fee=12), line("", 5)]}
    before = await books()
    await fetch(bank)
    after, seen = await books(), await results()
    row = await db.fetchrow("SELECT * FROM payments_statement WHERE method = 'bank'")
    for _ in range(2):
        await statements.take(row, bank.booked[today()])
    assert (await books(), await results()) == (after, seen)
    assert await moved(before) == {"fees CNY": 12, "gateway:bank CNY": -12}


# -- refunds and chargebacks ------------------------------------------------------------


async def refunded(placed, amount: int, state: str) -> str:
    """A refund that went through the gateway, as its job leaves it."""
    return await db.fetchval(
        "INSERT INTO payments_refund (shop_id, ref, order_id, payment_id, amount, currency, way, state, two_persons,"
        " asked_by, ended_at) SELECT 1, $2 || '-R1', $1, id, $3, 'CNY', 'source', $4, false, $5,"
        " CASE WHEN $4 IN ('done', 'failed') THEN now() END FROM payments_event WHERE order_id = $1 RETURNING ref",
        placed.order_id,
        placed.ref,
        amount,
        state,
        await stocked.staff_member(),
    )


async def test_refunds_find_theirs_and_end_the_doubt(bank):
    sure, unsure = await paid(), await paid()
    known = await refunded(sure, 500, "done")
    doubted = await refunded(unsure, 700, "unknown")
    kind = LineKind.REFUND
    lines = [line(known, 500, kind), line(doubted, 700, kind), line("made there", 100, kind), line(known, -500, kind)]
    bank.booked = {today(): [line(sure.attempt_ref), line(unsure.attempt_ref), *lines]}
    await fetch(bank)
    found = await results()
    assert [found[one.key] for one in lines] == ["matched", "matched", "theirs", "theirs"]
    state = await db.fetchrow("SELECT state, error FROM payments_refund WHERE ref = $1", doubted)
    assert tuple(state) == ("done", "it is on the gateway's statement")


async def test_a_line_ends_no_doubt_about_a_refund_of_another_sum(bank):
    unsure = await paid()
    doubted = await refunded(unsure, 700, "unknown")
    bank.booked = {today(): [line(unsure.attempt_ref), line(doubted, 70, LineKind.REFUND)]}
    await fetch(bank)
    assert (await results())[f"refund:{doubted}:70"] == "differs"
    assert await db.fetchval("SELECT state FROM payments_refund WHERE ref = $1", doubted) == "unknown"


async def test_money_that_left_for_a_refund_that_failed_or_is_not_theirs_is_a_question(bank):
    failed, elsewhere = await paid(), await stocked.order(await stocked.sku(1))
    await settle("epay", stocked.paid(elsewhere), "callback")
    kind = LineKind.REFUND
    lines = [
        line(await refunded(failed, 500, "failed"), 500, kind),
        line(await refunded(elsewhere, 600, "done"), 600, kind),
    ]
    bank.booked = {today(): [line(failed.attempt_ref), *lines]}
    await fetch(bank)
    found = await results()
    assert [found[one.key] for one in lines] == ["theirs", "theirs"]


async def test_a_refund_stands_behind_one_line(bank):
    placed = await paid()
    known = await refunded(placed, 500, "done")
    once, again = line(known, 500, LineKind.REFUND), line(known, 501, LineKind.REFUND)
    bank.booked = {today(): [line(placed.attempt_ref), once], today() + timedelta(days=1): [again]}
    await fetch(bank)
    await fetch(bank, 2)
    found = await results()
    assert (found[once.key], found[again.key]) == ("matched", "theirs")
    assert await failures() == 0


async def test_a_chargeback_that_staff_told_of_first_is_expected_once(bank):
    placed = await paid()
    payment = await db.fetchval("SELECT id FROM payments_event WHERE order_id = $1", placed.order_id)
    staff_id = await stocked.staff_member()
    await db.transaction(chargebacks.told_by_staff, 1, placed.ref, payment, 1990, staff_id, "", None)
    ref = placed.attempt_ref
    await settle("bank", Claim(ref, ClaimState.CHARGED_BACK, Money(1990, "CNY"), f"B{ref}", "dp2"), "callback")
    bank.booked = {today(): [line(ref), line(ref, kind=LineKind.CHARGEBACK)], today() + timedelta(days=1): []}
    await fetch(bank)
    await fetch(bank, 2)
    assert set((await results()).values()) == {"matched"}
    assert ref not in await only_ours()


async def test_a_chargeback_we_know_of_matches(bank):
    known, unknown = await paid(), await paid()
    ref = known.attempt_ref
    await settle("bank", Claim(ref, ClaimState.CHARGED_BACK, Money(1990, "CNY"), f"B{ref}", "dp1"), "callback")
    kind = LineKind.CHARGEBACK
    lines = [line(ref, kind=kind, fee=1500), line(unknown.attempt_ref, kind=kind)]
    bank.booked = {today(): [line(ref), line(unknown.attempt_ref), *lines]}
    before = await books()
    await fetch(bank)
    found = await results()
    assert [found[one.key] for one in lines] == ["matched", "theirs"]
    assert await moved(before) == {"fees CNY": 1500, "gateway:bank CNY": -1500}


# -- fees -------------------------------------------------------------------------------


async def test_a_fee_is_booked_once_and_a_rate_counts_for_it(bank):
    await db.execute(
        "INSERT INTO ledger_fee (shop_id, method, currency, percent, fixed) VALUES (1, 'bank', 'CNY', 100, 0)"
    )
    more, less, dollars = await paid(1000), await paid(1000), await paid(1000)
    await bookkeeping.keep(await db.fetchval("SELECT clock_timestamp()"))
    await db.execute("DELETE FROM ledger_fee")
    before = await books()
    rated = await db.fetchval("SELECT count(*) FROM ledger_entry WHERE kind = 'fee' AND amount = 10")
    assert rated == 3
    monthly = StatementLine("m1", LineKind.FEE, "m1", "", Money(300, "USD"), datetime.now(UTC))
    bank.booked = {
        today(): [
            line(more.attempt_ref, 1000, fee=12),
            line(less.attempt_ref, 1000, fee=7),
            line(dollars.attempt_ref, 1000, fee=38, currency="USD"),
            line("not ours", 1000, fee=99),
            monthly,
        ]
    }
    await fetch(bank)
    assert await moved(before) == {
        "fees CNY": 2 - 3 - 10,
        "gateway:bank CNY": -2 + 3 + 10,
        "fees USD": 38 + 300,
        "gateway:bank USD": -38 - 300,
    }
    assert (await results())["m1"] == "matched"
    assert chart.heading("fees").grows_by_debit


async def test_a_test_order_is_left_out_of_the_books(bank):
    tried = await paid()
    await db.execute("UPDATE orders_order SET test = true WHERE id = $1", tried.order_id)
    bank.booked = {today(): [line(tried.attempt_ref, fee=12)]}
    before = await books()
    await fetch(bank)
    assert await moved(before) == {}


async def test_no_line_is_missed_for_a_test_order(bank):
    tried = await paid()
    await db.execute("UPDATE orders_order SET test = true WHERE id = $1", tried.order_id)
    bank.booked = {today(): [], today() + timedelta(days=1): []}
    await fetch(bank)
    await fetch(bank, 2)
    assert tried.attempt_ref not in await only_ours()


# -- fetching ---------------------------------------------------------------------------


async def test_a_day_is_asked_for_when_it_is_over_and_until_it_comes(bank):
    await fetch(bank, 1, hours=0)
    assert bank.asked == [], "an hour after midnight"
    await fetch(bank, 1, hours=1)
    assert bank.asked == [today()]
    await fetch(bank, 1, hours=1)
    assert len(bank.asked) == 1, "not at once again"
    bank.broken = GatewayUnavailable("the bank is closed")
    await fetch(bank, 1, hours=2)
    bank.broken = RuntimeError("a mistake in the plugin")
    await fetch(bank, 1, hours=3)
    row = await db.fetchrow("SELECT tries, error, fetched_at FROM payments_statement")
    assert tuple(row) == (3, "RuntimeError", None)
    bank.broken, bank.booked = None, {today(): ["no line at all"]}
    await fetch(bank, 1, hours=5)
    assert await db.fetchval("SELECT error FROM payments_statement") == "AttributeError"
    bank.booked = {today(): []}
    await fetch(bank, 1, hours=9)
    row = await db.fetchrow("SELECT error, fetched_at IS NOT NULL FROM payments_statement")
    assert tuple(row) == ("", True)


async def test_days_that_were_missed_are_fetched_too(bank):
    bank.booked = {today() + timedelta(days=number): [] for number in range(50)}
    await fetch(bank, 1)
    await fetch(bank, 4)
    assert bank.asked == [today() + timedelta(days=number) for number in range(4)]
    await fetch(bank, 44)
    assert len(bank.asked) == 4 + statements.MOST_DAYS_BACK + 1
    assert bank.asked[-1] == today() + timedelta(days=43)


# -- staff ------------------------------------------------------------------------------


async def test_staff_closes_a_question_once_and_new_differences_open_it_again(bank):
    bank.booked = {today(): [line("", 5)]}
    await fetch(bank)
    [day] = await reconciliation.days(1)
    assert (day.theirs, day.ours, day.differs, day.matched) == (1, 0, 0, 0)
    staff_id = await stocked.staff_member()
    with pytest.raises(Refused):
        await db.transaction(reconciliation.settled, 2, day.item_id, staff_id, "", None)
    await db.transaction(reconciliation.settled, 1, day.item_id, staff_id, "looked", "192.0.2.1")
    with pytest.raises(Refused):
        await db.transaction(reconciliation.settled, 1, day.item_id, staff_id, "", None)
    assert await question() is None
    audit = await db.fetchrow("SELECT * FROM audit_entry WHERE act = 'statement.settled'")
    assert (audit["object"], audit["detail"]) == (f"statement:bank:{today()}:1", {"note": "looked"})
    row = await db.fetchrow("SELECT * FROM payments_statement")
    await statements.take(row, bank.booked[today()])
    assert await question() is None, "the same differences are not asked again"
    await statements.take(row, [line("", 6)])
    assert await question() == {"theirs": 2}
