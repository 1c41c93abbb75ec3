"""Refunds: whole and in parts, by every way, with a second person, and at most once whatever the gateway does."""

import asyncio
from types import SimpleNamespace
from urllib.parse import urlsplit

import asyncpg
import pytest

from core import db
from core.account import erase
from core.audit.person import Person
from core.checkout import acts
from core.checkout.settle import settle
from core.hooks import runtime
from core.ids import new_token, token_hash
from core.jobs.runner import Runner
from core.ledger import chart, customers
from core.ledger import service as ledger
from core.money import Money
from core.orders import service as orders
from core.payments import chargebacks, jobs, money, queue, refunds
from core.payments.method import Claim, ClaimState, Refund
from core.payments.refunds import Wish
from core.refused import Refused
from core.shops import service as shops
from core.vault import keys
from tests import stocked
from tests.faults.shop import Books
from tests.gateways.running import KEY, PID, FakeEpay
from tests.payments.conftest import an_attempt


@pytest.fixture(scope="module", autouse=True)
async def plugins(pool, the_gateway):
    keys.use(keys.MasterKey(bytes(range(32))))
    await db.execute("INSERT INTO hooks_plugin (id, enabled) VALUES ('payments.epay', true)")
    plugins = await plugins_at(the_gateway.address)
    runtime.use(plugins)
    yield
    await plugins.close()


async def plugins_at(gateway: str) -> runtime.Runtime:
    settings = {"GATEWAY": gateway, "PID": PID, "KEY": KEY}
    environ = {f"VOUCHSAFE_PAYMENTS_EPAY_{name}": value for name, value in settings.items()}
    plugins = runtime.Runtime(environ=environ, allowed_hosts=["127.0.0.0/8"])
    await plugins.start()
    return plugins


@pytest.fixture
async def people():
    rows = [
        await db.fetchval(
            "INSERT INTO people_staff (shop_id, email, role) VALUES (1, $1, 'finance')"
            " ON CONFLICT (shop_id, email) DO UPDATE SET role = 'finance' RETURNING id",
            f"{name}@example.com",
        )
        for name in ("anna", "ben")
    ]
    return SimpleNamespace(anna=Person(1, rows[0], "192.0.2.1"), ben=Person(1, rows[1]))


@pytest.fixture
async def limit():
    async def set_limit(amount: int | None) -> None:
        shop = await shops.main_shop()
        await db.execute(
            "UPDATE shops_shop SET settings = settings || jsonb_build_object('refund_limit', $2::bigint) WHERE id = $1",
            shop.id,
            amount,
        )

    yield set_limit
    await set_limit(None)


async def sold(gateway: FakeEpay, delivered: bool = True) -> SimpleNamespace:
    """An order paid at the fake gateway; without goods if it is not ``delivered``."""
    sku = await stocked.sku(1)
    placed = await stocked.order(sku)
    method = runtime.current().payment_methods["epay"]
    started = await method.start(an_attempt(placed.attempt_ref, amount=Money(1990, "CNY")))
    assert gateway.client.get(started.step.url).status_code == 302
    gateway.script(pay_without_notify=True)
    gateway.pay(placed.attempt_ref)
    gateway.script()
    if not delivered:
        await db.execute("UPDATE vault_code SET state = 'void', line_id = NULL WHERE sku_id = $1", sku.id)
    trade_no = gateway.trade(placed.attempt_ref)["trade_no"]
    event = f"{trade_no}:paid"
    await settle("epay", Claim(placed.attempt_ref, ClaimState.PAID, Money(1990, "CNY"), trade_no, event), "callback")
    [payment] = await money.payments_of(placed.order_id)
    return SimpleNamespace(placed=placed, sku=sku, payment=payment, trade_no=trade_no, before=await books())


async def books() -> dict[str, int]:
    codes = ("gateway:epay", ledger.DEPOSITS, ledger.REVENUE, chart.REFUNDS, chart.CHARGEBACKS, chart.CASH)
    return {code: await ledger.balance(1, code, "CNY") for code in codes}


async def moved(sale) -> dict[str, int]:
    after = await books()
    return {code: after[code] - sale.before[code] for code in after if after[code] != sale.before[code]}


async def ask(sale, amount: int, who: Person, way: str = "source", **wish) -> list[int]:
    async def work(tx):
        order = await refunds.locked(tx, 1, sale.placed.ref)
        payments = await money.payments_of(order["id"], tx)
        return await refunds.ask(tx, order, [(payments[0], amount)], Wish(way, **wish), who)

    return await db.transaction(work)


async def run(jobs_to_run: list[int]) -> None:
    runner = Runner(4)
    await asyncio.gather(*[await runner.start(job) for job in jobs_to_run])


async def run_again(sale) -> None:
    """The job waits for its next try: let it be now."""
    job = await db.fetchval(
        "UPDATE jobs_job SET run_at = now() WHERE name = $1 AND state = 'queued' AND (args ->> 'refund')::bigint ="
        " (SELECT max(id) FROM payments_refund WHERE order_id = $2) RETURNING id",
        refunds.SEND,
        sale.placed.order_id,
    )
    await run([job])


async def rows(sale) -> list[tuple[str, int, str]]:
    found = await db.fetch(
        "SELECT state, amount, way FROM payments_refund WHERE order_id = $1 ORDER BY id", sale.placed.order_id
    )
    return [tuple(row.values()) for row in found]


async def first(sale) -> int:
    return await db.fetchval("SELECT min(id) FROM payments_refund WHERE order_id = $1", sale.placed.order_id)


async def newest(sale) -> int:
    return await db.fetchval("SELECT max(id) FROM payments_refund WHERE order_id = $1", sale.placed.order_id)


async def questions(sale) -> list[str]:
    found = await db.fetch(
        "SELECT kind FROM review_item WHERE order_id = $1 AND state = 'open' ORDER BY kind", sale.placed.order_id
    )
    return [row["kind"] for row in found]


async def steps(sale) -> list[str]:
    found = await db.fetch("SELECT kind FROM orders_event WHERE order_id = $1 ORDER BY id", sale.placed.order_id)
    return [row["kind"] for row in found]


async def item(sale, kind: str) -> int:
    return await db.fetchval("SELECT id FROM review_item WHERE order_id = $1 AND kind = $2", sale.placed.order_id, kind)


def given_back(gateway: FakeEpay, sale) -> list[tuple[str, str]]:
    """What the gateway itself knows of it."""
    return [(one["out_refund_no"], one["money"]) for one in gateway.trade(sale.placed.attempt_ref)["refunds"]]


# -- the three ways ---------------------------------------------------------------------


async def test_a_whole_refund_goes_through_the_gateway_once(gateway, people):
    sale = await sold(gateway)
    await run(await ask(sale, 1990, people.anna, note="asked by mail"))
    ref = sale.placed.ref
    assert given_back(gateway, sale) == [(f"{ref}-R1", "19.90")]
    assert await rows(sale) == [("done", 1990, "source")]
    assert await stocked.states(sale.placed) == ("refunded", "delivered")
    assert await moved(sale) == {"gateway:epay": -1990, "refunds": 1990}
    assert (await steps(sale))[-2:] == ["refund_asked", "refunded"]
    audit = await db.fetchrow("SELECT * FROM audit_entry WHERE object = $1 AND act = 'refund.asked'", f"order:{ref}")
    assert (audit["actor"], audit["detail"]["note"], str(audit["ip"])) == (
        people.anna.actor,
        "asked by mail",
        "192.0.2.1",
    )
    mails = await db.fetch("SELECT event FROM messages_message WHERE order_id = $1 ORDER BY id", sale.placed.order_id)
    assert [row["event"] for row in mails] == ["order_delivered", "order_refunded"]
    with pytest.raises(Refused):
        await ask(sale, 1, people.anna)


async def test_parts_add_up_and_never_to_more_than_came(gateway, people):
    sale = await sold(gateway)
    await run(await ask(sale, 500, people.anna))
    await run(await ask(sale, 490, people.ben, "hand"))
    assert await stocked.states(sale.placed) == ("paid", "delivered")
    assert await db.fetchval("SELECT refunded FROM orders_order WHERE id = $1", sale.placed.order_id) == 990
    for wrong in (1001, 0, -1):
        with pytest.raises(Refused):
            await ask(sale, wrong, people.anna)
    assert await rows(sale) == [("done", 500, "source"), ("done", 490, "hand")]
    await run(await ask(sale, 1000, people.anna))
    assert await stocked.states(sale.placed) == ("refunded", "delivered")
    assert await moved(sale) == {"gateway:epay": -1990, "refunds": 1990}
    assert given_back(gateway, sale) == [(f"{sale.placed.ref}-R1", "5.00"), (f"{sale.placed.ref}-R3", "10.00")]


async def test_an_order_is_refunded_when_the_last_of_its_money_is_back_and_not_before(gateway, people):
    sale = await sold(gateway)
    on_its_way = await ask(sale, 1000, people.anna)
    await ask(sale, 990, people.anna, "hand")
    assert await rows(sale) == [("approved", 1000, "source"), ("done", 990, "hand")]
    assert await stocked.states(sale.placed) == ("paid", "delivered")
    await run(on_its_way)
    assert await stocked.states(sale.placed) == ("refunded", "delivered")


async def test_into_the_balance_of_the_buyer(gateway, people):
    sale = await sold(gateway)
    await run(await ask(sale, 1990, people.anna, "balance"))
    contact = await db.fetchval("SELECT contact FROM orders_order WHERE id = $1", sale.placed.order_id)
    [balance] = await customers.of_contact(1, contact)
    assert balance.money == Money(1990, "CNY")
    assert await moved(sale) == {"refunds": 1990}
    assert await stocked.states(sale.placed) == ("refunded", "delivered")
    assert given_back(gateway, sale) == []


async def test_nothing_goes_into_the_balance_of_a_buyer_who_is_forgotten(gateway, people):
    """Nobody could open it any more."""
    sale = await sold(gateway)
    contact = await db.fetchval("SELECT contact FROM orders_order WHERE id = $1", sale.placed.order_id)
    await db.transaction(erase._erase, 1, contact)
    with pytest.raises(Refused, match="belongs to an e-mail address"):
        await ask(sale, 1990, people.anna, "balance")
    order = await db.fetchrow("SELECT * FROM orders_order WHERE id = $1", sale.placed.order_id)
    assert refunds.ways(order, [sale.payment]) == ["source", "hand"]
    assert await moved(sale) == {}


async def test_money_without_goods_goes_back_out_of_what_is_owed(gateway, people):
    sale = await sold(gateway, delivered=False)
    assert await stocked.states(sale.placed) == ("paid", "review")
    wish, question = Wish("source"), await item(sale, "out_of_stock")
    to_ring = await db.transaction(queue.give_back, 1, question, wish, people.anna)
    assert await stocked.states(sale.placed) == ("paid", "void")
    assert await questions(sale) == []
    with pytest.raises(Refused):
        await acts.deliver_anyway(1, sale.placed.ref, people.anna.staff_id, None)
    await run(to_ring)
    assert await stocked.states(sale.placed) == ("refunded", "void")
    assert await moved(sale) == {"gateway:epay": -1990, "deposits": 1990}


async def test_codes_of_a_refunded_order_are_listed_when_they_shall_not_stay(gateway, people):
    sale = await sold(gateway)
    await run(await ask(sale, 1990, people.anna, "hand", take_codes=True))
    assert await stocked.states(sale.placed) == ("refunded", "void")
    assert await questions(sale) == ["codes_out"]
    assert await stocked.codes_by_state(sale.sku) == {"delivered": 1}
    await db.transaction(queue.seen, 1, await item(sale, "codes_out"), "voided there", people.anna)
    assert await questions(sale) == []


async def test_held_codes_of_an_order_given_up_go_back_on_sale_or_are_set_aside(gateway, people):
    for take, state in ((False, "free"), (True, "quarantined")):
        sale = await sold(gateway, delivered=False)
        await stocked.stock_up(sale.sku.id, [f"HELD-{sale.placed.ref}"])
        await db.execute(
            "UPDATE vault_code SET state = 'reserved', line_id = (SELECT id FROM orders_line WHERE order_id = $2)"
            " WHERE sku_id = $1 AND state = 'free'",
            sale.sku.id,
            sale.placed.order_id,
        )
        await run(await ask(sale, 1990, people.anna, "hand", take_codes=take))
        assert await stocked.codes_by_state(sale.sku) == {"void": 1, state: 1}


async def test_codes_that_shall_not_stay_are_shown_to_their_buyer_no_more(gateway, people):
    session = new_token()
    placed = await stocked.order(await stocked.sku(1), who=stocked.buyer(session=session))
    await settle("epay", stocked.paid(placed), "callback")
    look = (placed.ref, token_hash(session), "203.0.113.9", "test")
    assert len((await orders.reveal(*look))[1]) == 1
    [payment] = await money.payments_of(placed.order_id)
    sale = SimpleNamespace(placed=placed, payment=payment)
    await run(await ask(sale, 1990, people.anna, "hand", take_codes=True))
    assert (await orders.reveal(*look))[1] == []


async def test_a_refund_of_a_test_order_books_no_money(gateway, people):
    sale = SimpleNamespace(placed=await stocked.order(await stocked.sku(1), test=True), before=await books())
    await settle("epay", stocked.paid(sale.placed), "callback")
    await ask(sale, 1990, people.anna, "hand")
    assert await rows(sale) == [("done", 1990, "hand")]
    assert await stocked.states(sale.placed) == ("refunded", "delivered")
    assert await moved(sale) == {}


async def test_what_is_kept_becomes_revenue(gateway, people):
    sale = await sold(gateway, delivered=False)
    await db.transaction(queue.keep, 1, await item(sale, "out_of_stock"), "sent by chat", people.anna)
    assert await stocked.states(sale.placed) == ("paid", "void")
    assert await moved(sale) == {"deposits": 1990, "revenue": -1990}
    assert await questions(sale) == []
    with pytest.raises(Refused):
        await db.transaction(queue.keep, 1, await item(sale, "out_of_stock"), "", people.anna)


# -- the second person ------------------------------------------------------------------


async def test_above_the_limit_another_person_approves(gateway, people, limit):
    await limit(1000)
    sale = await sold(gateway)
    assert await ask(sale, 1500, people.anna) == []
    assert await rows(sale) == [("asked", 1500, "source")]
    refund = await newest(sale)
    with pytest.raises(Refused):
        await db.transaction(refunds.approve, 1, refund, people.anna)
    for statement in (
        "UPDATE payments_refund SET state = 'approved', approved_by = asked_by WHERE id = $1",
        "UPDATE payments_refund SET state = 'approved' WHERE id = $1",
        "UPDATE payments_refund SET two_persons = false WHERE id = $1",
        "UPDATE payments_refund SET amount = 1 WHERE id = $1",
        "DELETE FROM payments_refund WHERE id = $1",
    ):
        with pytest.raises(asyncpg.CheckViolationError):
            await db.execute(statement, refund)
    assert await rows(sale) == [("asked", 1500, "source")]
    assert given_back(gateway, sale) == []
    await run(await db.transaction(refunds.approve, 1, refund, people.ben))
    assert await rows(sale) == [("done", 1500, "source")]
    with pytest.raises(Refused):
        await db.transaction(refunds.approve, 1, refund, people.ben)
    with pytest.raises(Refused):
        await db.transaction(refunds.decline, 1, refund, people.ben)
    assert len(given_back(gateway, sale)) == 1
    acts_done = await db.fetch(
        "SELECT actor, act FROM audit_entry WHERE object = $1 AND act LIKE 'refund.%' ORDER BY id",
        f"order:{sale.placed.ref}",
    )
    assert [tuple(row.values()) for row in acts_done] == [
        (people.anna.actor, "refund.asked"),
        (people.ben.actor, "refund.approved"),
    ]


async def test_small_parts_count_together(gateway, people, limit):
    await limit(1000)
    sale = await sold(gateway)
    await run(await ask(sale, 600, people.anna, "hand"))
    await run(await ask(sale, 400, people.anna, "hand"))
    assert await ask(sale, 1, people.anna, "hand") == []
    assert await rows(sale) == [("done", 600, "hand"), ("done", 400, "hand"), ("asked", 1, "hand")]


async def test_money_in_another_currency_takes_two_however_little_it_is(gateway, people, limit):
    """The limit is so much of the shop's own currency: it says nothing about any other."""
    await limit(100_000)
    sale = SimpleNamespace(placed=await stocked.order(await stocked.sku(1)))
    await settle("epay", stocked.paid(sale.placed, 1990, "USD"), "callback")
    assert await ask(sale, 1, people.anna, "hand") == []
    assert await rows(sale) == [("asked", 1, "hand")]


async def test_a_declined_refund_leaves_the_order_as_it_waited(gateway, people, limit):
    await limit(0)
    sale = await sold(gateway, delivered=False)
    await db.transaction(queue.give_back, 1, await item(sale, "out_of_stock"), Wish("source"), people.anna)
    assert await stocked.states(sale.placed) == ("paid", "void")
    await db.transaction(refunds.decline, 1, await newest(sale), people.ben)
    assert await stocked.states(sale.placed) == ("paid", "review")
    assert await questions(sale) == ["out_of_stock"]
    await stocked.stock_up(sale.sku.id, [f"REFILL-{sale.placed.ref}"])
    await acts.deliver_anyway(1, sale.placed.ref, people.anna.staff_id, None)
    assert await stocked.states(sale.placed) == ("paid", "delivered")
    assert given_back(gateway, sale) == []


# -- what a gateway can do --------------------------------------------------------------


async def test_a_gateway_that_says_no_moves_nothing_and_the_queue_asks_again(gateway, people):
    sale = await sold(gateway, delivered=False)
    gateway.script(refund="no")
    await run(await db.transaction(queue.give_back, 1, await item(sale, "out_of_stock"), Wish("source"), people.anna))
    assert await rows(sale) == [("failed", 1990, "source")]
    assert await stocked.states(sale.placed) == ("paid", "review")
    assert await questions(sale) == ["out_of_stock"]
    assert await moved(sale) == {}
    await db.transaction(queue.give_back, 1, await item(sale, "out_of_stock"), Wish("hand"), people.anna)
    assert await stocked.states(sale.placed) == ("refunded", "void")
    assert await moved(sale) == {"gateway:epay": -1990, "deposits": 1990}


async def test_a_no_in_signs_that_no_database_keeps_is_written_down(gateway, people):
    sale = await sold(gateway)
    for number, (end, state) in enumerate(((refunds.failed, "failed"), (refunds.unknown, "unknown"))):
        await ask(sale, 500, people.anna)
        refund = await db.fetchval("UPDATE payments_refund SET state = 'sent' WHERE state = 'approved' RETURNING id")
        await db.transaction(end, refund, "no\x00 \ud800")
        assert (await rows(sale))[number] == (state, 500, "source")


async def test_a_refund_that_failed_by_itself_is_asked_about(gateway, people):
    sale = await sold(gateway)
    gateway.script(refund="no")
    await run(await ask(sale, 500, people.anna))
    assert await questions(sale) == ["refund_failed"]
    gateway.script()
    await run(await db.transaction(queue.give_back, 1, await item(sale, "refund_failed"), Wish("source"), people.anna))
    assert await rows(sale) == [("failed", 500, "source"), ("done", 500, "source")]
    assert given_back(gateway, sale) == [(f"{sale.placed.ref}-R2", "5.00")]


async def test_an_unclear_answer_is_asked_about_and_never_sent_again(gateway, people):
    sale = await sold(gateway)
    gateway.script(refund="done, garbage")
    await run(await ask(sale, 1990, people.anna))
    assert await rows(sale) == [("unknown", 1990, "source")]
    assert await questions(sale) == ["refund_unknown"]
    assert await moved(sale) == {}
    gateway.script()
    await run_again(sale)
    assert await rows(sale) == [("done", 1990, "source")]
    assert await questions(sale) == []
    assert len(given_back(gateway, sale)) == 1
    assert await moved(sale) == {"gateway:epay": -1990, "refunds": 1990}


@pytest.mark.parametrize("answer", ["done, 0", "done, -1", "no, -1"])
async def test_a_part_that_nobody_is_sure_of_is_decided_by_a_person(gateway, people, answer):
    sale = await sold(gateway)
    gateway.script(refund=answer)
    await run(await ask(sale, 500, people.anna))
    for _ in range(3):
        await run_again(sale)
    assert await rows(sale) == [("unknown", 500, "source")]
    assert await questions(sale) == ["refund_unknown"]
    happened = answer != "no, -1"
    assert len(given_back(gateway, sale)) == happened
    decide = refunds.arrived if happened else refunds.not_arrived
    await db.transaction(decide, 1, await newest(sale), people.ben)
    for again in (refunds.arrived, refunds.not_arrived):
        with pytest.raises(Refused):
            await db.transaction(again, 1, await newest(sale), people.ben)
    assert await moved(sale) == ({"gateway:epay": -500, "refunds": 500} if happened else {})
    assert await questions(sale) == ([] if happened else ["refund_failed"])
    [payment] = await money.payments_of(sale.placed.order_id)
    assert payment.left == Money(1490 if happened else 1990, "CNY")


async def the_rest_goes_back(sale, who):
    await ask(sale, 1490, who, "hand")


async def the_rest_is_kept(sale, who):
    await db.transaction(queue.keep, 1, await item(sale, "out_of_stock"), "", who)


async def the_bank_takes_it(sale, who):
    payment = sale.payment.id
    await db.transaction(chargebacks.told_by_staff, 1, sale.placed.ref, payment, 1990, who.staff_id, "", None)


@pytest.mark.parametrize("then", [the_rest_goes_back, the_rest_is_kept, the_bank_takes_it])
async def test_a_part_that_nobody_is_sure_of_stays_a_question_whatever_becomes_of_the_rest(gateway, people, then):
    sale = await sold(gateway, delivered=False)
    gateway.script(refund="done, garbage")
    await run(await ask(sale, 500, people.anna))
    assert await questions(sale) == ["out_of_stock", "refund_unknown"]
    await then(sale, people.anna)
    assert (await rows(sale))[0] == ("unknown", 500, "source")
    assert "out_of_stock" not in await questions(sale)
    assert "refund_unknown" in await questions(sale)
    await db.transaction(refunds.arrived, 1, await first(sale), people.ben)
    assert "refund_unknown" not in await questions(sale)


async def test_a_gateway_that_is_not_there_is_tried_again(gateway, people):
    sale = await sold(gateway)
    healthy = runtime.current()
    dead = await plugins_at("http://127.0.0.1:1")
    runtime.use(dead)
    await run(await ask(sale, 1990, people.anna))
    runtime.use(healthy)
    await dead.close()
    assert await rows(sale) == [("approved", 1990, "source")]
    await run_again(sale)
    assert await rows(sale) == [("done", 1990, "source")]
    assert len(given_back(gateway, sale)) == 1


# -- races, each with its control -------------------------------------------------------


async def test_many_who_ask_at_once_never_give_back_more_than_came(gateway, people):
    sale = await sold(gateway)
    tries = await asyncio.gather(*(ask(sale, 1500, people.anna, "hand") for _ in range(8)), return_exceptions=True)
    assert sum(isinstance(one, Refused) for one in tries) == 7
    assert await rows(sale) == [("done", 1500, "hand")]


async def careless(tx, sale, who, ready):
    """Read what is left, then write, without holding the order."""
    left = await tx.fetchval("SELECT amount - refunds FROM payments_event WHERE id = $1", sale.payment.id)
    await ready.wait()
    if left >= 1500:
        await tx.execute(
            "INSERT INTO payments_refund (shop_id, ref, order_id, payment_id, amount, currency, way, state,"
            " two_persons, asked_by) VALUES (1, gen_random_uuid()::text, $1, $2, 1500, 'CNY', 'source', 'approved',"
            " false, $3)",
            sale.placed.order_id,
            sale.payment.id,
            who.staff_id,
        )


async def carelessly(sale, who):
    ready = asyncio.Barrier(6)
    tries = await asyncio.gather(
        *(db.transaction(careless, sale, who, ready) for _ in range(6)), return_exceptions=True
    )
    refused = [one for one in tries if isinstance(one, asyncpg.CheckViolationError)]
    asked = await db.fetchval(
        "SELECT coalesce(sum(amount), 0)::int FROM payments_refund WHERE order_id = $1", sale.placed.order_id
    )
    return len(refused), asked


async def test_the_database_holds_the_sum_even_against_careless_code(gateway, people):
    assert await carelessly(await sold(gateway), people.anna) == (5, 1500)


async def test_without_the_guard_of_the_database_more_goes_back_than_came(gateway, people):
    """The control."""
    await db.execute("ALTER TABLE payments_refund DISABLE TRIGGER USER")
    try:
        sale = await sold(gateway)
        refused, asked = await carelessly(sale, people.anna)
        await db.execute("DELETE FROM payments_refund WHERE order_id = $1", sale.placed.order_id)
    finally:
        await db.execute("ALTER TABLE payments_refund ENABLE TRIGGER USER")
    assert (refused, asked) == (0, 9000)


class Held:
    """A job that this run holds for ever."""

    async def write(self, work, *args):
        return await db.transaction(work, *args)


async def test_runs_of_one_job_at_once_send_once(gateway, people):
    sale = await sold(gateway)
    await ask(sale, 500, people.anna)
    gateway.script(slow=0.2)
    args = {"refund": await newest(sale)}
    await asyncio.gather(*(jobs.send(args, Held()) for _ in range(6)), return_exceptions=True)
    assert len(given_back(gateway, sale)) == 1


async def test_without_the_mark_every_run_sends(gateway, people):
    """The control: the state is looked at, and not written, before the gateway is called."""
    sale = await sold(gateway)
    await ask(sale, 500, people.anna)
    gateway.script(slow=0.2)
    refund_id, cny = await newest(sale), "CNY"
    row = await db.fetchrow("SELECT ref, state FROM payments_refund WHERE id = $1", refund_id)

    async def unmarked():
        assert row["state"] == "approved"
        back = Refund(row["ref"], sale.placed.attempt_ref, "", "", Money(500, cny), Money(1990, cny))
        await runtime.current().payment_methods["epay"].refund(back)

    await asyncio.gather(*(unmarked() for _ in range(6)))
    assert len(given_back(gateway, sale)) == 6


async def test_a_chargeback_stops_what_was_not_sent_yet(gateway, people, limit):
    await limit(0)
    sale = await sold(gateway)
    await ask(sale, 1500, people.anna)
    await db.transaction(
        chargebacks.told_by_staff, 1, sale.placed.ref, sale.payment.id, 1990, people.anna.staff_id, "", None
    )
    assert await rows(sale) == [("declined", 1500, "source")]
    assert await stocked.states(sale.placed) == ("charged_back", "void")
    with pytest.raises(Refused):
        await ask(sale, 1, people.anna)
    assert await moved(sale) == {"gateway:epay": -1990, "chargebacks": 1990}
    assert given_back(gateway, sale) == []


async def test_what_is_left_after_a_chargeback_still_goes_back(gateway, people, limit):
    await limit(0)
    sale = await sold(gateway)
    await ask(sale, 990, people.anna)
    await db.transaction(
        chargebacks.told_by_staff, 1, sale.placed.ref, sale.payment.id, 1000, people.anna.staff_id, "", None
    )
    assert await rows(sale) == [("asked", 990, "source")]
    await run(await db.transaction(refunds.approve, 1, await newest(sale), people.ben))
    assert given_back(gateway, sale) == [(f"{sale.placed.ref}-R1", "9.90")]
    assert await moved(sale) == {"gateway:epay": -1990, "chargebacks": 1000, "refunds": 990}


async def test_after_all_this_the_books_agree(engines, database):
    name = urlsplit(database).path[1:]
    assert Books(lambda statement: engines.sql(statement, name)).problems() == []
