"""A sale from order to code, and everything that can go otherwise, through the services."""

import asyncio
from contextvars import Context
from datetime import timedelta

import asyncpg
import pytest

from core import clock, db
from core.checkout import acts, ordinary
from core.checkout.place import SoldOut, TooManyOpen, _draft, place_in
from core.checkout.settle import LOCK, Outcome, settle
from core.ids import new_token, token_hash
from core.ledger import service as ledger
from core.money import Money
from core.orders import service as orders
from core.payments.calls import WRITE
from core.payments.method import Claim, ClaimState
from core.pricing.quote import Item, quote
from core.refused import Refused
from core.shops import service as shops
from tests import stocked


async def balances():
    codes = (ledger.GATEWAY.format("epay"), ledger.DEPOSITS, ledger.REVENUE)
    return {code: await ledger.balance(1, code, "CNY") for code in codes}


async def moved(before):
    after = await balances()
    return {code: after[code] - before[code] for code in before}


async def open_questions(placed):
    rows = await db.fetch("SELECT kind FROM review_item WHERE order_id = $1 AND state = 'open'", placed.order_id)
    return [row["kind"] for row in rows]


async def steps(placed):
    rows = await db.fetch("SELECT kind FROM orders_event WHERE order_id = $1 ORDER BY id", placed.order_id)
    return [row["kind"] for row in rows]


async def alarms():
    return await db.fetchval("SELECT count(*) FROM audit_alarm")


async def sold_before(method, currency):
    """The accounts are there that the ordinary sale needs: without them it would let any payment go."""
    for code in (ledger.GATEWAY.format(method), ledger.DEPOSITS, ledger.REVENUE):
        await db.transaction(ledger.account, 1, code, currency)


# -- the ordinary sale ------------------------------------------------------------------


async def test_paid_order_gives_its_buyer_a_code_and_books_the_money():
    sku = await stocked.sku(3)
    session = new_token()
    before = await balances()
    placed = await stocked.order(sku, 2, stocked.buyer(session=session))
    assert await stocked.states(placed) == ("unpaid", "reserved")
    assert await stocked.codes_by_state(sku) == {"free": 1, "reserved": 2}

    settled = await settle("epay", stocked.paid(placed, 3980), "callback")

    assert (settled.outcome, settled.order_ref) == (Outcome.DELIVERED, placed.ref)
    assert await stocked.states(placed) == ("paid", "delivered")
    assert await stocked.codes_by_state(sku) == {"free": 1, "delivered": 2}
    _order, shown = await orders.reveal(placed.ref, token_hash(session), "203.0.113.9", "test")
    assert len({code.text for code in shown}) == 2
    assert {code.text for code in shown} <= set(sku.codes)
    assert await moved(before) == {"gateway:epay": 3980, "deposits": 0, "revenue": -3980}
    assert await steps(placed) == ["placed", "paid", "delivered", "revealed"]


async def test_the_step_by_step_road_writes_the_same_rows():
    """Staff confirmation always takes the long road: what it leaves must not differ from the short one."""
    sku = await stocked.sku(2)
    short = await stocked.order(sku)
    long = await stocked.order(sku)
    await db.execute(
        "UPDATE payments_attempt SET next_query_at = now() WHERE order_id IN ($1, $2)", short.order_id, long.order_id
    )
    await settle("epay", stocked.paid(short), "callback")
    await settle("epay", stocked.paid(long), "callback", staff_id=await stocked.staff_member())

    async def rows_of(placed):
        found = {}
        for table, column in (
            ("orders_order", "id"),
            ("orders_line", "order_id"),
            ("payments_attempt", "order_id"),
            ("payments_event", "order_id"),
            ("ledger_entry", "order_id"),
        ):
            rows = await db.fetch(f"SELECT * FROM {table} WHERE {column} = $1 ORDER BY id", placed.order_id)
            found[table] = [shape(row, placed) for row in rows]
        found["steps"] = await steps(placed)
        found["postings"] = [
            (row["code"], row["amount"])
            for row in await db.fetch(
                "SELECT account.code, posting.amount FROM ledger_posting posting"
                " JOIN ledger_entry entry ON entry.id = posting.entry_id"
                " JOIN ledger_account account ON account.id = posting.account_id"
                " WHERE entry.order_id = $1 ORDER BY entry.id, posting.amount DESC",
                placed.order_id,
            )
        ]
        return found

    def shape(row, placed):
        """The row without what must differ: ids, refs and times (only whether they are set)."""
        plain = {}
        for name, value in row.items():
            if name in ("id", "order_id", "attempt_id", "sku_id", "key", "contact", "token_hash", "token_sealed"):
                continue
            if hasattr(value, "isoformat"):
                value = "set"
            if isinstance(value, str):
                value = value.replace(placed.ref, "REF")
            plain[name] = value
        return plain

    assert await rows_of(short) == await rows_of(long)


async def test_the_short_road_does_nothing_when_a_code_is_missing():
    sku = await stocked.sku(1)
    placed = await stocked.order(sku)
    await db.execute(
        "UPDATE vault_code SET state = 'free', line_id = NULL, reserved_until = NULL WHERE sku_id = $1", sku.id
    )

    assert await ordinary.settle("epay", stocked.paid(placed), "callback") is None
    assert await stocked.states(placed) == ("unpaid", "reserved")
    assert await db.fetchval("SELECT count(*) FROM payments_event WHERE order_id = $1", placed.order_id) == 0


async def test_a_free_order_is_booked_without_money():
    sku = await stocked.sku(1, price=0)
    placed = await stocked.order(sku)
    before = await balances()
    assert (await settle("epay", stocked.paid(placed, 0), "callback")).outcome is Outcome.DELIVERED
    assert await moved(before) == {"gateway:epay": 0, "deposits": 0, "revenue": 0}


async def test_test_orders_stay_out_of_the_books():
    sku = await stocked.sku(1)
    placed = await stocked.order(sku, test=True)
    before = await balances()
    assert (await settle("epay", stocked.paid(placed), "callback")).outcome is Outcome.DELIVERED
    assert await moved(before) == {"gateway:epay": 0, "deposits": 0, "revenue": 0}


async def test_a_test_payment_gets_no_codes_once_the_shop_is_open():
    """The order was placed in test mode, the test gateway's word kept back until there were real codes to have."""
    sku = await stocked.sku(2)
    early, late = await stocked.order(sku, test=True), await stocked.order(sku, test=True)
    await db.execute("UPDATE orders_order SET expires_at = now() - interval '1 minute' WHERE id = $1", late.order_id)
    await orders.expire_due()
    await db.execute("UPDATE shops_shop SET test_mode = false")
    try:
        for placed, state in ((early, ("unpaid", "reserved")), (late, ("expired", "released"))):
            assert (await settle("epay", stocked.paid(placed), "callback")).outcome is Outcome.NOTED
            assert (await settle("epay", stocked.paid(placed), "query")).outcome is Outcome.REPEAT
            assert await stocked.states(placed) == state
    finally:
        await db.execute("UPDATE shops_shop SET test_mode = true")
    assert await stocked.codes_by_state(sku) == {"free": 1, "reserved": 1}


# -- repeats and parallel repeats -------------------------------------------------------


async def test_fifty_copies_of_one_callback_have_one_effect():
    sku = await stocked.sku(60)
    placed = await stocked.order(sku)
    before = await balances()
    settled = await asyncio.gather(*(settle("epay", stocked.paid(placed), "callback") for _ in range(50)))
    outcomes = [one.outcome for one in settled]
    assert outcomes.count(Outcome.DELIVERED) == 1
    assert outcomes.count(Outcome.REPEAT) == 49
    assert await moved(before) == {"gateway:epay": 1990, "deposits": 0, "revenue": -1990}
    assert await stocked.codes_by_state(sku) == {"free": 59, "delivered": 1}


async def test_a_failure_after_the_payment_changes_nothing():
    sku = await stocked.sku(1)
    placed = await stocked.order(sku)
    await settle("epay", stocked.paid(placed), "callback")
    late = Claim(placed.attempt_ref, ClaimState.FAILED, Money(1990, "CNY"), "G", "later:failed")
    assert (await settle("epay", late, "callback")).outcome is Outcome.NOTED
    assert await stocked.states(placed) == ("paid", "delivered")
    assert await db.fetchval("SELECT state FROM payments_attempt WHERE ref = $1", placed.attempt_ref) == "paid"


async def test_pending_failed_and_then_paid_is_paid():
    sku = await stocked.sku(1)
    placed = await stocked.order(sku)
    for state in (ClaimState.PENDING, ClaimState.FAILED):
        claim = Claim(placed.attempt_ref, state, Money(1990, "CNY"), "G", f"e:{placed.ref}:{state}")
        assert (await settle("epay", claim, "callback")).outcome is Outcome.NOTED
        assert (await settle("epay", claim, "callback")).outcome is Outcome.REPEAT
    assert (await settle("epay", stocked.paid(placed), "callback")).outcome is Outcome.DELIVERED


# -- money that is not as it should be --------------------------------------------------


@pytest.mark.parametrize(
    ("amount", "currency", "kind"),
    [(1, "CNY", "underpaid"), (1989, "CNY", "underpaid"), (1990, "USD", "wrong_currency")],
)
async def test_a_wrong_amount_is_kept_and_nothing_is_delivered(amount, currency, kind):
    sku = await stocked.sku(1)
    placed = await stocked.order(sku)
    await sold_before("epay", currency)
    seen = await alarms()
    settled = await settle("epay", stocked.paid(placed, amount, currency), "callback")
    assert settled.outcome == kind
    assert await stocked.states(placed) == ("mismatch", "review")
    assert await stocked.codes_by_state(sku) == {"free": 1}
    assert await open_questions(placed) == [kind]
    assert await alarms() == seen + 1
    booked = await db.fetchval(
        "SELECT sum(posting.amount) FROM ledger_posting posting JOIN ledger_entry entry ON entry.id = posting.entry_id"
        " JOIN ledger_account account ON account.id = posting.account_id"
        " WHERE entry.order_id = $1 AND account.code = 'gateway:epay' AND posting.currency = $2",
        placed.order_id,
        currency,
    )
    assert booked == amount


async def test_staff_may_deliver_in_spite_of_a_wrong_amount():
    sku = await stocked.sku(1)
    placed = await stocked.order(sku)
    await settle("epay", stocked.paid(placed, 1989), "callback")
    await acts.deliver_anyway(1, placed.ref, await stocked.staff_member(), None)
    assert await stocked.states(placed) == ("paid", "delivered")
    assert await open_questions(placed) == []


async def test_paid_twice_keeps_the_money_and_asks_a_person():
    sku = await stocked.sku(2)
    placed = await stocked.order(sku)
    await settle("epay", stocked.paid(placed), "callback")
    before = await balances()
    again = await settle("epay", stocked.paid(placed, event="another"), "callback")
    assert again.outcome is Outcome.PAID_TWICE
    assert await stocked.states(placed) == ("paid", "delivered")
    assert await stocked.codes_by_state(sku) == {"free": 1, "delivered": 1}
    assert await moved(before) == {"gateway:epay": 1990, "deposits": -1990, "revenue": 0}
    assert await open_questions(placed) == ["paid_twice"]


async def test_an_unknown_attempt_leaves_an_alarm_and_nothing_else():
    seen = await alarms()
    claim = Claim("VNOBODY-1", ClaimState.PAID, Money(1, "CNY"), "G", "unknown")
    assert (await settle("epay", claim, "callback")).outcome is Outcome.UNKNOWN_ATTEMPT
    assert await alarms() == seen + 1
    assert await db.fetchval("SELECT count(*) FROM payments_event WHERE event_key = 'unknown'") == 0


async def test_an_attempt_of_another_method_is_unknown():
    sku = await stocked.sku(1)
    placed = await stocked.order(sku)
    await sold_before("sandbox", "CNY")
    assert (await settle("sandbox", stocked.paid(placed), "callback")).outcome is Outcome.UNKNOWN_ATTEMPT
    assert await stocked.states(placed) == ("unpaid", "reserved")


# -- too late ---------------------------------------------------------------------------


async def expire(placed):
    with clock.use(lambda: placed.expires_at + timedelta(seconds=1)):
        assert placed.ref in await orders.expire_due()


async def test_an_unpaid_order_expires_and_its_codes_go_back():
    sku = await stocked.sku(1)
    placed = await stocked.order(sku)
    assert placed.ref not in await orders.expire_due()
    await expire(placed)
    assert await stocked.states(placed) == ("expired", "released")
    assert await stocked.codes_by_state(sku) == {"free": 1}


async def test_a_late_payment_still_gets_a_code_while_there_is_one():
    sku = await stocked.sku(1)
    placed = await stocked.order(sku)
    await expire(placed)
    before = await balances()
    assert (await settle("epay", stocked.paid(placed), "callback")).outcome is Outcome.DELIVERED
    assert await stocked.states(placed) == ("paid", "delivered")
    assert await moved(before) == {"gateway:epay": 1990, "deposits": 0, "revenue": -1990}


async def test_a_late_payment_without_stock_waits_for_a_person_who_can_refill():
    sku = await stocked.sku(1)
    late = await stocked.order(sku)
    await expire(late)
    quick = await stocked.order(sku)
    await settle("epay", stocked.paid(quick), "callback")
    before = await balances()
    assert (await settle("epay", stocked.paid(late), "callback")).outcome is Outcome.NEEDS_REVIEW
    assert await stocked.states(late) == ("paid", "review")
    assert await open_questions(late) == ["paid_late"]
    assert await moved(before) == {"gateway:epay": 1990, "deposits": -1990, "revenue": 0}
    with pytest.raises(Refused):
        await acts.deliver_anyway(1, late.ref, await stocked.staff_member(), None)
    assert await stocked.states(late) == ("paid", "review")
    await stocked.stock_up(sku.id, [new_token()])
    await acts.deliver_anyway(1, late.ref, await stocked.staff_member(), None)
    assert await stocked.states(late) == ("paid", "delivered")
    assert await moved(before) == {"gateway:epay": 1990, "deposits": 0, "revenue": -1990}


async def test_cancelled_orders_are_not_paid_orders():
    sku = await stocked.sku(1)
    placed = await stocked.order(sku)
    await orders.cancel(placed.order_id, "buyer")
    assert await stocked.states(placed) == ("cancelled", "released")
    with pytest.raises(Refused):
        await orders.cancel(placed.order_id, "buyer")
    assert (await settle("epay", stocked.paid(placed), "callback")).outcome is Outcome.DELIVERED


async def test_a_paid_order_cannot_be_cancelled():
    sku = await stocked.sku(1)
    placed = await stocked.order(sku)
    await settle("epay", stocked.paid(placed), "callback")
    with pytest.raises(Refused):
        await orders.cancel(placed.order_id, "buyer")
    assert await stocked.states(placed) == ("paid", "delivered")


# -- placing ----------------------------------------------------------------------------


async def test_the_same_key_and_session_give_the_same_order():
    sku = await stocked.sku(5)
    session, key = new_token(), new_token()
    first = await stocked.order(sku, who=stocked.buyer("same@example.com", session), key=key)
    who = stocked.buyer("same@example.com", session)
    again = await stocked.order(
        sku, who=type(who)(**{**{f: getattr(who, f) for f in who.__slots__}, "session_is_new": False}), key=key
    )
    assert (again.ref, again.is_new) == (first.ref, False)
    assert await stocked.codes_by_state(sku) == {"free": 4, "reserved": 1}


async def test_a_key_of_somebody_else_is_refused():
    sku = await stocked.sku(5)
    key = new_token()
    await stocked.order(sku, who=stocked.buyer("keyed@example.com"), key=key)
    with pytest.raises(Refused):
        await stocked.order(sku, who=stocked.buyer("keyed@example.com"), key=key)
    with pytest.raises(Refused):
        await stocked.order(sku, key=key)
    assert await stocked.codes_by_state(sku) == {"free": 4, "reserved": 1}


async def test_nobody_holds_more_open_orders_than_allowed():
    sku = await stocked.sku(50)
    cap = (await shops.main_shop()).settings.open_orders_per_contact
    tries = await asyncio.gather(
        *(stocked.order(sku, who=stocked.buyer("greedy@example.com", ip="198.51.100.7")) for _ in range(20)),
        return_exceptions=True,
    )
    assert sum(isinstance(one, TooManyOpen) for one in tries) == 20 - cap
    assert await stocked.codes_by_state(sku) == {"free": 50 - cap, "reserved": cap}


async def processes(sku, contact):
    """Twelve processes place an order of one buyer at once: within one process such orders go one after the other.
    Gives how many were placed."""
    shop = await shops.main_shop()
    priced = await quote(shop.id, [Item(sku.code, 1)])
    who = stocked.buyer(contact)

    async def run():
        draft = await _draft(shop, priced, {}, who, stocked.chosen(), new_token())
        [row] = await db.steadily(*draft.whole())
        return row["id"]

    tries = await asyncio.gather(*(run() for _ in range(12)), return_exceptions=True)
    errors = [one for one in tries if isinstance(one, Exception)]
    assert all(isinstance(one, asyncpg.UniqueViolationError) for one in errors)
    placed = [one for one in tries if isinstance(one, int)]
    await asyncio.gather(*(orders.cancel(one, "buyer") for one in placed))
    return len(placed)


async def test_several_processes_do_not_overrun_the_cap():
    sku = await stocked.sku(50)
    cap = (await shops.main_shop()).settings.open_orders_per_contact
    counts = [await processes(sku, f"greedy{number}@example.com") for number in range(5)]
    assert 0 < max(counts) <= cap
    assert await stocked.codes_by_state(sku) == {"free": 50}


async def test_without_the_unique_places_the_cap_is_overrun():
    """The control: counting alone lets parallel orders past the cap."""
    sku = await stocked.sku(50)
    cap = (await shops.main_shop()).settings.open_orders_per_contact
    index = await db.fetchval("SELECT indexdef FROM pg_indexes WHERE indexname = 'orders_order_contact_slot'")
    await db.execute("DROP INDEX orders_order_contact_slot")
    overrun = 0
    for attempt in range(40):
        overrun = max(overrun, await processes(sku, f"greedier{attempt}@example.com"))
        if overrun > cap:
            break
    await db.execute(index)
    assert overrun > cap


async def test_one_buyer_gets_no_more_than_the_limit_of_the_sku():
    sku = await stocked.sku(9, most_per_buyer=2)
    who = stocked.buyer("limited@example.com")
    await settle("epay", stocked.paid(await stocked.order(sku, 2, who), 3980), "callback")
    with pytest.raises(Refused):
        await stocked.order(sku, 1, stocked.buyer("limited@example.com"))
    assert await stocked.codes_by_state(sku) == {"free": 7, "delivered": 2}


async def test_orders_of_one_buyer_at_once_share_the_limit_per_buyer():
    sku = await stocked.sku(9, most_per_buyer=1)
    tried = [stocked.order(sku, 1, stocked.buyer("hurried@example.com")) for _ in range(8)]
    done = await asyncio.gather(*tried, return_exceptions=True)
    assert sum(isinstance(one, Refused) for one in done) == 7
    assert await stocked.codes_by_state(sku) == {"free": 8, "reserved": 1}


@pytest.mark.parametrize("quantity", [0, -1, 101, 10**9])
async def test_impossible_quantities_change_nothing(quantity):
    sku = await stocked.sku(3)
    with pytest.raises(Refused):
        await stocked.order(sku, quantity)
    assert await stocked.codes_by_state(sku) == {"free": 3}


async def test_more_than_there_is_is_sold_out_and_reserves_nothing():
    sku = await stocked.sku(3)
    with pytest.raises(SoldOut):
        await stocked.order(sku, 4)
    assert await stocked.codes_by_state(sku) == {"free": 3}
    assert await db.fetchval("SELECT count(*) FROM orders_line WHERE sku_id = $1", sku.id) == 0


# -- races ------------------------------------------------------------------------------


async def test_200_buyers_on_50_codes_buy_exactly_50():
    sku = await stocked.sku(50)
    turn = asyncio.Semaphore(50)

    async def one():
        async with turn:
            placed = await stocked.order(sku)
            await settle("epay", stocked.paid(placed), "callback")

    tries = await asyncio.gather(*(one() for _ in range(200)), return_exceptions=True)
    assert sum(one is None for one in tries) == 50
    assert sum(isinstance(one, SoldOut) for one in tries) == 150
    assert await stocked.codes_by_state(sku) == {"delivered": 50}
    twice = await db.fetchval(
        "SELECT count(*) FROM orders_line line WHERE sku_id = $1 AND state = 'delivered' AND (SELECT count(*)"
        " FROM vault_code WHERE line_id = line.id) <> 1",
        sku.id,
    )
    assert twice == 0


async def test_without_the_row_lock_codes_are_given_twice():
    """The control: read the free ones, then write, as other shops do."""
    sku = await stocked.sku(10)
    lines = [(await stocked_line(sku)) for _ in range(40)]
    given = []
    ready = asyncio.Barrier(10)

    async def careless(tx, line):
        code = await tx.fetchval(
            "SELECT id FROM vault_code WHERE sku_id = $1 AND state = 'free' ORDER BY id LIMIT 1", sku.id
        )
        await ready.wait()
        if code is not None:
            await tx.execute("UPDATE vault_code SET state = 'reserved', line_id = $2 WHERE id = $1", code, line)
            given.append(code)

    for at in range(0, 40, 10):
        await asyncio.gather(*(db.transaction(careless, line) for line in lines[at : at + 10]))
    assert len(given) > len(set(given))


async def stocked_line(sku):
    other = await stocked.sku(1)
    placed = await stocked.order(other)
    return await db.fetchval("SELECT id FROM orders_line WHERE order_id = $1", placed.order_id)


async def test_sales_of_the_same_moment_do_not_touch_each_other():
    """They share a run of each statement: each gets its own order, its own outcome and its own codes."""
    few, plenty = await stocked.sku(3), await stocked.sku(30)
    sessions = [new_token() for _ in range(12)]
    asked = [
        stocked.order(few if number % 4 == 0 else plenty, 2 if number % 2 else 1, stocked.buyer(session=session))
        for number, session in enumerate(sessions)
    ]
    tries = await asyncio.gather(*asked, stocked.order(few, 4), return_exceptions=True)
    assert isinstance(tries.pop(), SoldOut)
    placed = dict(zip(sessions, tries, strict=True))
    assert await stocked.codes_by_state(few) == {"reserved": 3}
    assert await stocked.codes_by_state(plenty) == {"free": 15, "reserved": 15}

    wrong, *others = sessions
    owed = {session: 3980 if number % 2 else 1990 for number, session in enumerate(sessions)}
    claims = [stocked.paid(placed[session], owed[session]) for session in others]
    outcomes = await asyncio.gather(
        settle("epay", stocked.paid(placed[wrong], 1), "callback"),
        *(settle("epay", claim, "callback") for claim in claims),
        settle("epay", stocked.paid(placed[others[0]], owed[others[0]]), "callback"),
    )
    assert [one.outcome for one in outcomes] == [
        Outcome.UNDERPAID,
        *[Outcome.DELIVERED] * 11,
        Outcome.REPEAT,
    ]
    assert [one.order_ref for one in outcomes[1:12]] == [placed[session].ref for session in others]

    def reveal(ref, session):
        return orders.reveal(ref, token_hash(session), "127.0.0.1", "test")

    shown = await asyncio.gather(
        *(reveal(placed[session].ref, session) for session in sessions),
        reveal(placed[others[1]].ref, others[2]),
        reveal("V0", others[3]),
    )
    assert shown[12:] == [None, None]
    assert shown[0][1] == []
    texts = [[code.text for code in codes] for _order, codes in shown[1:12]]
    assert [order["ref"] for order, _codes in shown[:12]] == [placed[session].ref for session in sessions]
    assert [len(one) for one in texts] == [owed[session] // 1990 for session in others]
    assert len({text for one in texts for text in one}) == sum(map(len, texts))
    kept = await db.fetchval(
        "SELECT count(*) FROM vault_reveal JOIN orders_line l ON l.id = line_id WHERE l.sku_id = $1", few.id
    )
    assert kept == 2
    assert await stocked.codes_by_state(few) == {"free": 1, "delivered": 2}


def indexes(plan, table):
    """How a plan finds rows of ``table``: names of indexes, None where it reads all of it."""
    if plan.get("Relation Name") == table and plan["Node Type"] not in ("ModifyTable", "Bitmap Heap Scan"):
        yield plan.get("Index Name")
    for part in plan.get("Plans", []):
        yield from indexes(part, table)


@pytest.mark.parametrize("statement", [ordinary.SETTLE, LOCK, WRITE], ids=["settle", "lock", "write"])
async def test_a_payment_is_found_by_its_reference_also_where_the_planner_knows_no_better(statement):
    """In a young shop a method has few payments; a plan that goes through all of them is kept when it has many."""
    steady = db._steady.pool
    async with steady.acquire() as connection:
        await connection.execute(f"PREPARE asked AS {statement}")
        given = "NULL, NULL" if "$2" in statement else "NULL"
        plan = await connection.fetchval(f"EXPLAIN (FORMAT JSON) EXECUTE asked ({given})")
        await connection.execute("DEALLOCATE asked")
    ways = set(indexes(plan[0]["Plan"], "payments_attempt"))
    assert ways - {"payments_attempt_pkey"} == {"payments_attempt_ref_key"}


async def test_a_code_that_comes_back_in_time_is_not_called_sold_out():
    """Somebody holds the last code locked and gives it up: the next buyer must still get it."""
    sku = await stocked.sku(1)
    holding, let_go = asyncio.Event(), asyncio.Event()

    async def undecided(tx):
        await tx.execute("UPDATE vault_code SET reserved_until = now() WHERE sku_id = $1", sku.id)
        holding.set()
        await let_go.wait()
        raise ValueError("changed my mind")

    first = asyncio.create_task(db.transaction(undecided))
    await holding.wait()
    second = asyncio.create_task(stocked.order(sku))
    await asyncio.sleep(0)
    let_go.set()
    with pytest.raises(ValueError, match="changed my mind"):
        await first
    assert (await second).is_new


# -- what the database itself refuses ---------------------------------------------------


async def test_a_delivered_code_can_never_move():
    sku = await stocked.sku(1)
    placed = await stocked.order(sku)
    await settle("epay", stocked.paid(placed), "callback")
    for statement in (
        "UPDATE vault_code SET state = 'free', line_id = NULL, delivered_at = NULL WHERE sku_id = $1",
        "UPDATE vault_code SET line_id = line_id + 1 WHERE sku_id = $1",
        "DELETE FROM vault_code WHERE sku_id = $1",
    ):
        with pytest.raises(asyncpg.CheckViolationError):
            await db.execute(statement, sku.id)
    assert await stocked.codes_by_state(sku) == {"delivered": 1}


async def test_an_entry_between_unlike_accounts_or_of_nothing_is_refused():
    async def accounts(tx):
        return [await ledger.account(tx, 1, "deposits", currency) for currency in ("CNY", "USD")]

    yuan, dollars = await db.transaction(accounts)
    rows = await db.fetchval("SELECT count(*) FROM ledger_entry")
    for debit, credit, amount in ((yuan, dollars, 5), (yuan, yuan, 5), (yuan, yuan + 10_000, 5), (yuan, dollars, -5)):
        with pytest.raises((asyncpg.CheckViolationError, asyncpg.ForeignKeyViolationError)):
            await db.execute(
                "INSERT INTO ledger_entry (kind, source, debit_id, credit_id, amount, currency)"
                " VALUES ('test', $1, $2, $3, $4, 'CNY')",
                new_token(),
                debit,
                credit,
                amount,
            )
    assert await db.fetchval("SELECT count(*) FROM ledger_entry") == rows


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE ledger_entry SET amount = amount + 1",
        "DELETE FROM ledger_entry",
        "UPDATE audit_entry SET act = 'x'",
        "DELETE FROM audit_entry",
    ],
)
async def test_books_and_audit_are_never_rewritten(statement):
    sku = await stocked.sku(1)
    await settle("epay", stocked.paid(await stocked.order(sku)), "callback")
    await acts.confirm_paid(1, (await stocked.order(await stocked.sku(1))).ref, await stocked.staff_member(), "", None)
    with pytest.raises(asyncpg.CheckViolationError):
        await db.execute(statement)


WAITING = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"


async def until_it_waits(tx, task):
    """For the lock of this transaction, or is through without one."""
    while not (task.done() or await tx.fetchval(WAITING)):
        await asyncio.sleep(0.01)


@pytest.mark.parametrize("amount", [1990, 1000])
async def test_a_payment_takes_the_order_before_its_attempt(amount):
    """Cancelling does so: taken the other way round, both would wait for each other until PostgreSQL ends one."""
    placed = await stocked.order(await stocked.sku(1))

    async def hold_while_a_payment_comes(tx):
        await tx.execute("SELECT FROM orders_order WHERE id = $1 FOR UPDATE", placed.order_id)
        paying = asyncio.create_task(settle("epay", stocked.paid(placed, amount), "callback"), context=Context())
        await until_it_waits(tx, paying)
        await tx.execute("SELECT FROM payments_attempt WHERE order_id = $1 FOR UPDATE NOWAIT", placed.order_id)
        return paying

    paying = await db.transaction(hold_while_a_payment_comes)
    assert (await paying).order_ref == placed.ref


@pytest.mark.parametrize("slot", [0, 2**31 - 1], ids=["before the random place", "behind it"])
async def test_a_code_that_another_sale_is_taking_just_now_is_not_taken(slot):
    sku = await stocked.sku(1)
    await db.execute("UPDATE vault_code SET slot = $2 WHERE sku_id = $1", sku.id, slot)
    priced = await quote(1, [Item(sku.code, 1)])
    shop = await shops.main_shop()

    async def take_while_another_wants_it(tx):
        first = await place_in(tx, shop, priced, {}, stocked.buyer(), stocked.chosen(), new_token(), 1)
        second = asyncio.create_task(stocked.order(sku), context=Context())
        await until_it_waits(tx, second)
        return first, second

    first, second = await db.transaction(take_while_another_wants_it)
    with pytest.raises(SoldOut):
        await second
    holder = "SELECT order_id FROM orders_line WHERE id = (SELECT line_id FROM vault_code WHERE sku_id = $1)"
    assert await db.fetchval(holder, sku.id) == first.order_id


async def test_the_ordinary_sale_leaves_an_order_alone_that_is_being_cancelled():
    sku = await stocked.sku(1)
    placed = await stocked.order(sku)

    async def cancel_while_it_is_paid(tx):
        await orders.cancel_in(tx, placed.order_id, "buyer")
        paying = asyncio.create_task(ordinary.settle("epay", stocked.paid(placed), "callback"), context=Context())
        await until_it_waits(tx, paying)
        return paying

    assert await (await db.transaction(cancel_while_it_is_paid)) is None
    assert await stocked.states(placed) == ("cancelled", "released")
    assert await stocked.codes_by_state(sku) == {"free": 1}


# -- staff ------------------------------------------------------------------------------


async def test_confirming_by_hand_takes_the_normal_road_and_is_audited():
    sku = await stocked.sku(1)
    placed = await stocked.order(sku)
    staff_id = await stocked.staff_member()
    assert (await acts.confirm_paid(1, placed.ref, staff_id, "bank 42", "192.0.2.1")).outcome is Outcome.DELIVERED
    assert await stocked.states(placed) == ("paid", "delivered")
    entry = await db.fetchrow("SELECT * FROM audit_entry WHERE object = $1", f"order:{placed.ref}")
    assert (entry["act"], entry["actor"], str(entry["ip"])) == ("order.confirm_paid", f"staff:{staff_id}", "192.0.2.1")
    with pytest.raises(Refused):
        await acts.confirm_paid(1, placed.ref, staff_id, "", None)


# -- seeing -----------------------------------------------------------------------------


async def test_a_stranger_sees_neither_order_nor_code():
    sku = await stocked.sku(1)
    session = new_token()
    placed = await stocked.order(sku, who=stocked.buyer(session=session))
    await settle("epay", stocked.paid(placed), "callback")
    stranger = token_hash(new_token())
    assert await orders.for_session(placed.ref, stranger) is None
    assert await orders.reveal(placed.ref, stranger, None, "") is None
    assert await db.fetchval("SELECT count(*) FROM vault_reveal WHERE session_hash = $1", stranger) == 0
    assert (await orders.for_session(placed.ref, token_hash(session)))["ref"] == placed.ref


async def test_an_unpaid_order_reveals_nothing_to_its_own_buyer():
    sku = await stocked.sku(1)
    session = new_token()
    placed = await stocked.order(sku, who=stocked.buyer(session=session))
    _order, shown = await orders.reveal(placed.ref, token_hash(session), None, "")
    assert shown == []


async def test_the_link_of_the_mail_lets_its_holder_in_and_a_wrong_one_does_not():
    sku = await stocked.sku(1)
    placed = await stocked.order(sku)
    other = new_token()
    await db.execute(
        "INSERT INTO people_session (id_hash, kind, expires_at) VALUES ($1, 'buyer', now() + interval '1 day')",
        token_hash(other),
    )
    assert not await orders.let_in(placed.ref, new_token(), token_hash(other))
    assert await orders.for_session(placed.ref, token_hash(other)) is None
    assert await orders.let_in(placed.ref, placed.token, token_hash(other))
    assert (await orders.for_session(placed.ref, token_hash(other)))["ref"] == placed.ref
