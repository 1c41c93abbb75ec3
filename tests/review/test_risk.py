"""Risk rules and what comes of them: orders that are refused, held, let go or turned down, and who works on them."""

import asyncio
from datetime import timedelta

import pytest

from core import clock, db
from core.audit.person import Person
from core.checkout import acts, held, place
from core.checkout.check import NotTrusted, check
from core.checkout.evidence import with_evidence
from core.checkout.place import Buyer
from core.checkout.settle import Outcome, settle
from core.ids import new_token, token_hash
from core.money import Money
from core.orders.history import History
from core.payments import refunds
from core.pricing.quote import Item, quote
from core.refused import Refused
from core.review import assess, claims, queue
from core.review.assess import NOTHING_FOUND, Decision
from core.shops import service as shops
from core.web.i18n import speaking
from tests import stocked

pytestmark = pytest.mark.usefixtures("plugins")


async def asked(what, who=None, key=None):
    """What the rules say about an order of one ``what``."""
    shop = await shops.main_shop()
    priced = await quote(shop.id, [Item(what.code, 1)])
    return await check(shop, priced, who or stocked.buyer(), {}, key or new_token())


async def ordered(what, who=None, key=None):
    """Ask the rules and place the order, as the counter does."""
    who, key = who or stocked.buyer(), key or new_token()
    verdict = await asked(what, who, key)
    shop = await shops.main_shop()
    priced = await quote(shop.id, [Item(what.code, 1)])
    return await place.place(shop, priced, {}, who, stocked.chosen(), key, verdict)


async def paid_and_held(says, what=None):
    await says("score 60")
    placed = await ordered(what or await stocked.sku(1))
    settled = await settle("epay", stocked.paid(placed), "callback")
    assert settled.outcome is Outcome.NEEDS_REVIEW
    return placed


async def people():
    await stocked.staff_member()
    rows = await db.fetch(
        "INSERT INTO people_staff (shop_id, email, name, role) VALUES (1, 'anna@x.cd', 'Anna', 'support'),"
        " (1, 'bo@x.cd', 'Bo', 'support') ON CONFLICT (shop_id, email) DO UPDATE SET role = 'support' RETURNING id"
    )
    return [Person(1, row["id"]) for row in rows]


async def steps(placed):
    rows = await db.fetch("SELECT kind FROM orders_event WHERE order_id = $1 ORDER BY id", placed.order_id)
    return [row["kind"] for row in rows]


async def questions(placed):
    rows = await db.fetch(
        "SELECT kind, state, resolution FROM review_item WHERE order_id = $1 ORDER BY id", placed.order_id
    )
    return [tuple(row) for row in rows]


async def mails(placed):
    rows = await db.fetch("SELECT event FROM messages_message WHERE order_id = $1 ORDER BY id", placed.order_id)
    return [row["event"] for row in rows]


async def rows_of(*tables):
    return [await db.fetchval(f"SELECT count(*) FROM {table}") for table in tables]


# -- weighing ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "decision", "score"),
    [
        ((), Decision.ALLOW, 0),
        (("score 30", "score 19"), Decision.ALLOW, 49),
        (("score 30", "score 20"), Decision.REVIEW, 50),
        (("score 50", "score 49"), Decision.REVIEW, 99),
        (("score 50", "score 50"), Decision.REFUSE, 100),
        (("review 0",), Decision.REVIEW, 0),
        (("refuse 0", "review 0"), Decision.REFUSE, 0),
        (("refuse 100", "score 100", "allow 0"), Decision.ALLOW, 200),
        (("note 100", "score 49"), Decision.ALLOW, 49),
        (("raise", "allow 0"), Decision.ALLOW, 0),
    ],
)
async def test_the_points_of_all_rules_are_added_and_the_strictest_word_counts(says, words, decision, score):
    await says(*words)
    what = await stocked.sku(0)
    if decision is Decision.REFUSE:
        with pytest.raises(NotTrusted):
            await asked(what)
        return
    verdict = await asked(what)
    assert (verdict.decision, verdict.score, len(verdict.findings)) == (decision, score, len(words))


async def test_the_shop_says_from_where_on(says):
    await says("score 60")
    await db.execute("""UPDATE shops_shop SET settings = settings || '{"risk_review": 61}'""")
    shops.forget()
    assert (await asked(await stocked.sku(0))).decision is Decision.ALLOW
    await db.execute("""UPDATE shops_shop SET settings = settings || '{"risk_review": 5, "risk_refuse": 60}'""")
    shops.forget()
    with pytest.raises(NotTrusted):
        await asked(await stocked.sku(0))
    await db.execute("UPDATE shops_shop SET settings = settings - 'risk_review' - 'risk_refuse'")
    shops.forget()


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ("raise", "RuntimeError"),
        ("exit", "SystemExit"),
        ("cancel", "CancelledError"),
        ("nonsense", "TypeError"),
        ("half", "ValueError"),
        ("endless", "ValueError"),
    ],
)
async def test_a_rule_that_fails_asks_for_a_person_and_the_others_still_count(says, plugins, fault, error):
    await says(fault, "score 10", "score 101")
    verdict = await asked(await stocked.sku(0))
    assert (verdict.decision, verdict.score) == (Decision.REVIEW, 10)
    found = {one.rule: one.evidence for one in verdict.findings}
    assert found["one"].data == {"error": error}
    assert str(found["one"].reason) == "This rule failed."
    assert found["three"].data == {"error": "ValueError"}
    failures = plugins.plugin("risk.says").failures
    assert error in failures["assess of one"].last or error == "SystemExit"
    assert "assess of two" not in failures


async def test_a_rule_that_is_slow_keeps_nobody_waiting_even_if_it_does_not_hear(says):
    await says("hang", "deaf", "score 10")
    verdict = await asked(await stocked.sku(0))
    assert (verdict.decision, verdict.score) == (Decision.REVIEW, 10)
    reasons = [str(one.evidence.reason) for one in verdict.findings]
    assert reasons == ["This rule took too long to answer."] * 2 + ["It is three"]


# -- orders that are refused ------------------------------------------------------------


async def test_who_is_refused_is_told_nothing_and_nothing_is_placed_but_it_is_remembered(says):
    await says("refuse 70", "score 40")
    what, who, key = await stocked.sku(1), stocked.buyer("thief@example.com", ip="203.0.113.9"), new_token()
    before = await rows_of("orders_order", "people_session", "review_item")
    for _click in range(3):
        with pytest.raises(NotTrusted) as refused:
            await ordered(what, who, key)
    assert str(refused.value.text) == "We cannot take this order. You have not been charged. Please ask the shop."
    assert await rows_of("orders_order", "people_session", "review_item") == before
    assert await stocked.codes_by_state(what) == {"free": 1}
    [row] = await db.fetch("SELECT * FROM review_refused WHERE contact = 'thief@example.com'")
    assert (row["tries"], row["score"], row["total"], str(row["ip"])) == (3, 110, 1990, "203.0.113.9")
    assert row["lines"] == [{"sku": what.code, "title": row["lines"][0]["title"], "quantity": 1}]
    found = await queue.evidence_of_refused([row["id"]])
    assert [(one["rule"], one["action"], one["score"]) for one in found[row["id"]]] == [
        ("one", "refuse", 70),
        ("two", "score", 40),
    ]


async def test_a_refusal_is_forgotten_after_its_time(says):
    await says("refuse 70")
    with pytest.raises(NotTrusted):
        await asked(await stocked.sku(0))
    await db.execute("UPDATE review_refused SET at = $1", clock.now() - timedelta(days=assess.KEPT_DAYS, seconds=1))
    await assess.sweep()
    assert await rows_of("review_refused") == [0]
    assert await db.fetchval("SELECT count(*) FROM review_evidence WHERE refused_id IS NOT NULL") == 0


async def test_the_second_click_of_a_placed_order_is_not_judged(says):
    await says()
    what, who, key = await stocked.sku(2), stocked.buyer(), new_token()
    first = await ordered(what, who, key)
    await says("refuse 0")
    assert (await ordered(what, who, key)).ref == first.ref
    assert await rows_of("review_refused") == [0]


# -- orders that are held ---------------------------------------------------------------


async def test_an_order_nobody_found_anything_about_is_placed_by_the_plain_statement():
    values = (1, 2)
    assert with_evidence(place.PLACE, values, NOTHING_FOUND) == (place.PLACE, values)


async def test_a_held_order_is_paid_and_not_delivered(says):
    what = await stocked.sku(1)
    placed = await paid_and_held(says, what)
    assert await stocked.states(placed) == ("paid", "review")
    assert await stocked.codes_by_state(what) == {"reserved": 1}
    assert await questions(placed) == [("risk", "open", "")]
    assert await mails(placed) == ["order_in_review"]
    with speaking("zh-CN"):
        found = await queue.evidence_of([placed.order_id])
    assert [(one["rule"], one["score"], one["reason"], one["data"]) for one in found[placed.order_id]] == [
        ("one", 60, "It is one", {"figure": 7})
    ]
    with pytest.raises(Refused, match="hold this order"):
        await acts.deliver_anyway(1, placed.ref, 1, None)
    assert await stocked.states(placed) == ("paid", "review")


async def test_what_is_found_below_the_line_is_kept_and_holds_nothing(says):
    await says("score 49", "note 90")
    placed = await ordered(await stocked.sku(1))
    await settle("epay", stocked.paid(placed), "callback")
    assert await stocked.states(placed) == ("paid", "delivered")
    assert len((await queue.evidence_of([placed.order_id]))[placed.order_id]) == 2


async def test_a_finding_in_signs_that_no_database_keeps_is_written_down_without_them(says):
    await says("odd")
    placed = await ordered(await stocked.sku(1))
    found = await queue.evidence_of([placed.order_id])
    assert [(one["reason"], one["data"]) for one in found[placed.order_id]] == [("It is ab", {"a": "?"})]


async def test_an_approved_order_is_delivered_at_once(says):
    [anna, _bo] = await people()
    placed = await paid_and_held(says)
    await held.approve(1, placed.ref, "known to us", anna)
    assert await stocked.states(placed) == ("paid", "delivered")
    assert await questions(placed) == [("risk", "done", "approved")]
    assert await mails(placed) == ["order_in_review", "order_delivered"]
    assert (await steps(placed))[-2:] == ["risk_approved", "delivered"]
    with pytest.raises(Refused, match="decided already"):
        await held.approve(1, placed.ref, "", anna)


async def test_an_approved_order_whose_codes_are_gone_waits_for_stock(says):
    [anna, _bo] = await people()
    what = await stocked.sku(1)
    placed = await paid_and_held(says, what)
    await db.execute("UPDATE vault_code SET state = 'free', line_id = NULL WHERE sku_id = $1", what.id)
    await says()
    other = await ordered(what)
    await settle("epay", stocked.paid(other), "callback")
    await held.approve(1, placed.ref, "", anna)
    assert await stocked.states(placed) == ("paid", "review")
    assert await questions(placed) == [("risk", "done", "approved"), ("out_of_stock", "open", "")]


@pytest.mark.parametrize(("way", "balance"), [("hand", 0), ("balance", 1990)])
async def test_a_refused_order_gives_money_and_codes_back_and_tells_the_buyer(says, way, balance):
    [anna, _bo] = await people()
    what = await stocked.sku(1)
    placed = await paid_and_held(says, what)
    with pytest.raises(Refused, match="Say why"):
        await held.refuse(1, placed.ref, way, "  ", anna)
    assert await stocked.states(placed) == ("paid", "review")
    await held.refuse(1, placed.ref, way, "a stolen card", anna)
    assert await stocked.states(placed) == ("refunded", "void")
    assert await stocked.codes_by_state(what) == {"free": 1}
    assert await questions(placed) == [("risk", "done", "refused")]
    assert sorted(await mails(placed)) == ["order_in_review", "order_refunded", "order_refused"]
    refund = await db.fetchrow("SELECT * FROM payments_refund WHERE order_id = $1", placed.order_id)
    assert (refund["amount"], refund["way"], refund["note"], refund["state"]) == (1990, way, "a stolen card", "done")
    contact = await db.fetchval("SELECT contact FROM orders_order WHERE id = $1", placed.order_id)
    assert (await db.fetchval("SELECT amount FROM ledger_balance WHERE contact = $1", contact) or 0) == balance
    note = await db.fetchval("SELECT note FROM review_item WHERE order_id = $1", placed.order_id)
    assert note == "a stolen card"


async def test_above_the_limit_the_money_waits_for_a_second_person_and_the_decision_can_come_back(says):
    [anna, bo] = await people()
    await db.execute("""UPDATE shops_shop SET settings = settings || '{"refund_limit": 100}'""")
    shops.forget()
    placed = await paid_and_held(says)
    await held.refuse(1, placed.ref, "hand", "a stolen card", anna)
    assert await stocked.states(placed) == ("paid", "void")
    refund = await db.fetchval("SELECT id FROM payments_refund WHERE order_id = $1", placed.order_id)
    await db.transaction(refunds.decline, 1, refund, bo)
    assert await stocked.states(placed) == ("paid", "review")
    assert await questions(placed) == [("risk", "open", "")]
    await held.approve(1, placed.ref, "", anna)
    assert await stocked.states(placed) == ("paid", "delivered")
    await db.execute("UPDATE shops_shop SET settings = settings - 'refund_limit'")
    shops.forget()


async def test_what_costs_nothing_can_be_held_too(says):
    [anna, _bo] = await people()
    await says("review 0")
    shop, what = await shops.main_shop(), await stocked.sku(2, price=0)
    free = []
    for _order in range(2):
        who, key = stocked.buyer(), new_token()
        priced = await quote(shop.id, [Item(what.code, 1)])
        verdict = await check(shop, priced, who, {}, key)
        nothing_to_pay = place.Chosen("", {}, "", test=False)
        free.append(await place.place(shop, priced, {}, who, nothing_to_pay, key, verdict))
        assert await stocked.states(free[-1]) == ("paid", "review")
    await held.approve(1, free[0].ref, "", anna)
    await held.refuse(1, free[1].ref, "hand", "too many of these", anna)
    assert await stocked.states(free[0]) == ("paid", "delivered")
    assert await stocked.states(free[1]) == ("refunded", "void")
    assert await stocked.codes_by_state(what) == {"delivered": 1, "free": 1}


async def test_a_way_back_that_does_not_work_changes_nothing(says):
    [anna, _bo] = await people()
    placed = await paid_and_held(says)
    with pytest.raises(Refused, match="cannot give money back by itself"):
        await held.refuse(1, placed.ref, "source", "a stolen card", anna)
    assert await stocked.states(placed) == ("paid", "review")
    assert await questions(placed) == [("risk", "open", "")]
    assert await mails(placed) == ["order_in_review"]


async def test_before_it_is_paid_it_can_be_let_go_or_turned_down(says):
    [anna, _bo] = await people()
    await says("review 0")
    what = await stocked.sku(2)
    good, bad = await ordered(what), await ordered(what)
    await held.approve(1, good.ref, "", anna)
    assert await stocked.states(good) == ("unpaid", "reserved")
    await settle("epay", stocked.paid(good), "callback")
    assert await stocked.states(good) == ("paid", "delivered")
    await held.refuse(1, bad.ref, "hand", "no", anna)
    assert await stocked.states(bad) == ("cancelled", "released")
    assert await stocked.codes_by_state(what) == {"delivered": 1, "free": 1}
    # money that comes all the same waits for a person again
    await settle("epay", stocked.paid(bad), "callback")
    assert await stocked.states(bad) == ("paid", "review")
    assert await questions(bad) == [("risk", "open", "")]


# -- two people at once -----------------------------------------------------------------


async def outcome_of(placed):
    """Whether the buyer has the code, and how much money went back."""
    return await db.fetchrow(
        "SELECT (SELECT count(*) FROM vault_code code JOIN orders_line line ON line.id = code.line_id"
        "        WHERE line.order_id = $1 AND code.state = 'delivered') AS codes,"
        " (SELECT coalesce(sum(amount), 0)::int FROM payments_refund WHERE order_id = $1) AS back,"
        " (SELECT count(*) FROM ledger_entry WHERE order_id = $1 AND kind = 'sale') AS sales",
        placed.order_id,
    )


async def test_many_clicks_at_once_decide_once(says):
    [anna, bo] = await people()
    for _round in range(3):
        placed = await paid_and_held(says)
        clicks = [held.approve(1, placed.ref, "", anna) for _ in range(4)]
        clicks += [held.refuse(1, placed.ref, "hand", "no", bo) for _ in range(4)]
        done = await asyncio.gather(*clicks, return_exceptions=True)
        assert sum(isinstance(one, Refused) for one in done) == 7
        assert tuple(await outcome_of(placed)) in {(1, 0, 1), (0, 1990, 0)}
        assert len([kind for kind in await steps(placed) if kind.startswith("risk_")]) == 1


async def test_without_holding_the_order_the_buyer_gets_the_code_and_the_money(says):
    """The control: look, and then act on what was seen."""
    [anna, bo] = await people()
    placed = await paid_and_held(says)
    seen, approved = asyncio.Event(), asyncio.Event()

    async def look(tx):
        order = await tx.fetchrow("SELECT * FROM orders_order WHERE id = $1", placed.order_id)
        return order, await tx.fetchrow("SELECT * FROM review_item WHERE order_id = $1", placed.order_id)

    async def careless_refusal(tx):
        order, item = await look(tx)
        seen.set()
        await approved.wait()
        await held.turn_down(tx, order, item, "hand", "no", bo)

    async def careless_approval(tx):
        order, item = await look(tx)
        await held.let_go(tx, order, item, "", anna)

    refusal = asyncio.create_task(db.transaction(careless_refusal))
    await seen.wait()
    await db.transaction(careless_approval)
    approved.set()
    await refusal
    assert tuple(await outcome_of(placed)) == (1, 1990, 1)


async def item_of(placed):
    return await db.fetchval("SELECT id FROM review_item WHERE order_id = $1", placed.order_id)


async def test_what_somebody_works_on_is_left_alone_until_it_is_taken_over(says):
    [anna, bo] = await people()
    placed = await paid_and_held(says)
    item = await item_of(placed)
    await db.transaction(claims.claim, 1, item, anna.staff_id)
    await db.transaction(claims.claim, 1, item, anna.staff_id)
    with pytest.raises(Refused, match="Anna works on this now"):
        await db.transaction(claims.claim, 1, item, bo.staff_id)
    for act in (held.approve(1, placed.ref, "", bo), held.refuse(1, placed.ref, "hand", "no", bo)):
        with pytest.raises(Refused, match="Anna works on this now"):
            await act
    assert await questions(placed) == [("risk", "open", "")]
    with pytest.raises(Refused, match="Anna works on this now"):
        await db.transaction(claims.release, 1, item, bo.staff_id)
    [mine], _total = await queue.items(1, anna.staff_id, queue.Wanted(q=placed.ref, whose="mine"))
    assert (mine["holder"], mine["holder_name"]) == (anna.staff_id, "Anna")
    assert await queue.items(1, bo.staff_id, queue.Wanted(q=placed.ref, whose="free")) == ([], 0)
    with pytest.raises(Refused, match="Anna works on this now"):
        await db.transaction(claims.take_over, 1, item, bo.staff_id, bo.staff_id, None)
    await db.transaction(claims.take_over, 1, item, bo.staff_id, anna.staff_id, None)
    with pytest.raises(Refused, match="Bo works on this now"):
        await held.approve(1, placed.ref, "", anna)
    assert (
        await db.fetchval(
            "SELECT detail ->> 'from' FROM audit_entry WHERE act = 'review.taken_over' AND object = $1",
            f"review:{item}",
        )
        == f"staff:{anna.staff_id}"
    )
    await held.approve(1, placed.ref, "", bo)
    with pytest.raises(Refused, match="decided already"):
        await db.transaction(claims.claim, 1, item, anna.staff_id)


async def test_a_claim_runs_out(says):
    [anna, bo] = await people()
    placed = await paid_and_held(says)
    item = await item_of(placed)
    await db.transaction(claims.claim, 1, item, anna.staff_id)
    await db.execute("UPDATE review_item SET claimed_at = $2 WHERE id = $1", item, clock.now() - claims.LASTS)
    await db.transaction(claims.claim, 1, item, bo.staff_id)
    with pytest.raises(Refused, match="Bo works on this now"):
        await db.transaction(claims.claim, 1, item, anna.staff_id)


async def test_of_many_who_want_it_at_once_one_has_it(says):
    await stocked.staff_member()
    rows = await db.fetch(
        "INSERT INTO people_staff (shop_id, email, role) SELECT 1, n || '@many.cd', 'support'"
        " FROM generate_series(1, 8) AS n RETURNING id"
    )
    item = await item_of(await paid_and_held(says))
    tries = [db.transaction(claims.claim, 1, item, row["id"]) for row in rows]
    done = await asyncio.gather(*tries, return_exceptions=True)
    assert sum(isinstance(one, Refused) for one in done) == 7


async def test_looking_first_and_claiming_then_lets_several_have_it(says):
    """The control."""
    [anna, bo] = await people()
    item = await item_of(await paid_and_held(says))
    both_looked = asyncio.Barrier(2)

    async def careless(tx, staff_id):
        row = await tx.fetchrow("SELECT * FROM review_item WHERE id = $1", item)
        await both_looked.wait()
        assert claims.holder(row) is None
        await tx.execute(
            "UPDATE review_item SET claimed_by = $2, claimed_at = $3 WHERE id = $1", item, staff_id, clock.now()
        )
        return staff_id

    done = await asyncio.gather(*(db.transaction(careless, who.staff_id) for who in (anna, bo)))
    assert done == [anna.staff_id, bo.staff_id]


# -- what a buyer did before ------------------------------------------------------------


async def bought(contact, session, ip, minutes_ago, state="unpaid", list_price=None):
    """An order as it stands in the database, with one line and one try to pay."""
    now = clock.now() - timedelta(minutes=minutes_ago)
    order_id = await db.fetchval(
        "INSERT INTO orders_order (shop_id, ref, key, contact, contact_kind, locale, currency, total, token_hash,"
        " token_sealed, ip, payment_state, fulfilment_state, expires_at, created_at, paid_at)"
        " VALUES (1, $1, $1, $2, 'email', 'en', 'CNY', 1000, sha256('x'), 'x', $3, $4, 'released', $5, $5, $6)"
        " RETURNING id",
        new_token(),
        contact,
        ip,
        "paid" if state == "paid" else "expired",
        now,
        now if state == "paid" else None,
    )
    await db.execute(
        "INSERT INTO people_session (id_hash, kind, expires_at) VALUES ($1, 'buyer', now() + interval '1 day')"
        " ON CONFLICT DO NOTHING",
        token_hash(session),
    )
    await db.execute("INSERT INTO orders_access VALUES ($1, $2, 'bought')", order_id, token_hash(session))
    sku_id, product_id = await db.fetchrow("SELECT id, product_id FROM catalog_sku ORDER BY id LIMIT 1")
    await db.execute(
        "INSERT INTO orders_line (order_id, sku_id, product_id, product_title, sku_title, sku_code, quantity,"
        " unit_price, total, list_price) VALUES ($1, $2, $3, '{}', '{}', 'X', 1, 700, 700, $4)",
        order_id,
        sku_id,
        product_id,
        list_price,
    )
    await db.execute(
        "INSERT INTO payments_attempt (ref, order_id, method, amount, currency, state)"
        " VALUES ($1, $2, 'epay', 1000, 'CNY', $3)",
        new_token(),
        order_id,
        "paid" if state == "paid" else "failed",
    )


async def test_orders_are_counted_by_what_they_share():
    await stocked.sku(0)
    me = History(1, "me@example.com", "198.18.5.7", token_hash("my browser"), "CNY")
    await bought("me@example.com", "my browser", "198.18.5.7", 5, "paid")
    await bought("me@example.com", "my phone", "198.18.9.9", 10)
    await bought("other@example.com", "my browser", "198.18.5.8", 20, "paid", list_price=990)
    await bought("third@example.com", "theirs", "198.18.5.7", 30)
    await bought("me@example.com", "my browser", "198.18.5.7", 61)
    hour = timedelta(hours=1)

    async def figures(by, within=hour):
        found = await me.count(by, within)
        return found.orders, found.paid, found.spent.amount, found.contacts, await me.failed_payments(by, within)

    assert await figures("contact") == (2, 1, 1000, 1, 1)
    assert await figures("device") == (2, 2, 2000, 2, 0)
    assert await figures("address") == (2, 1, 1000, 2, 1)
    assert await figures("network") == (3, 2, 2000, 3, 1)
    assert await figures("contact", timedelta(hours=2)) == (3, 1, 1000, 1, 2)
    assert await figures("account") == (0, 0, 0, 0, 0)
    await db.execute(
        "INSERT INTO people_contact_proof (session_hash, shop_id, contact, expires_at)"
        " VALUES ($1, 1, 'other@example.com', $2)",
        me.session_hash,
        clock.now() + hour,
    )
    me = History(1, "me@example.com", "198.18.5.7", token_hash("my browser"), "CNY")
    assert await me.account() == "other@example.com"
    assert await figures("account") == (1, 1, 1000, 1, 0)
    assert (await me.of_value(Money(700, "CNY"), hour)).orders == 3
    assert (await me.of_value(Money(990, "CNY"), hour)).contacts == 1
    assert (await me.of_value(Money(700, "USD"), hour)).orders == 0
    assert await me.is_first() is False
    assert await History(1, "third@example.com", "", b"", "CNY").is_first() is True
    nobody = History(1, "nobody@example.com", "", b"", "CNY")
    assert [(await nobody.count(by, hour)).orders for by in ("device", "address", "network")] == [0, 0, 0]


async def test_asked_together_the_answers_are_those_of_asking_alone():
    def history():
        return History(1, "me@example.com", "198.18.5.7", token_hash("my browser"), "CNY")

    def questions(me):
        hour = timedelta(hours=1)
        counts = [me.count(by, hour) for by in ("contact", "account", "device", "address", "network", "contact")]
        failed = [me.failed_payments(by, hour) for by in ("contact", "device")]
        return [*counts, *failed, me.of_value(Money(700, "CNY"), hour), me.is_first()]

    together = await asyncio.gather(*questions(history()))
    assert together == [await question for question in questions(history())]
    me = history()
    first, *others = [asyncio.create_task(question) for question in questions(me)]
    await asyncio.sleep(0)
    first.cancel()
    assert await asyncio.gather(*others) == together[1:]
    assert await me.count("contact", timedelta(hours=1)) == together[0]


async def test_a_network_is_a_neighbourhood_of_either_kind():
    await stocked.sku(0)
    near, far = "2001:db8:1:2:ffff::1", "2001:db8:1:3::1"
    await bought("a@six.example", "a", near, 5)
    await bought("b@six.example", "b", far, 5)
    me = History(1, "c@six.example", "2001:db8:1:2::9", b"", "CNY")
    assert (await me.count("network", timedelta(hours=1))).orders == 1
    assert (await me.count("address", timedelta(hours=1))).orders == 0


async def test_the_rules_see_who_orders(says, plugins):
    seen = []
    await says("score 1")
    rule = plugins.risk_rules["one"]
    real = rule.assess

    async def watch(order):
        seen.append(order)
        return await real(order)

    rule.assess = watch
    who = Buyer("email", "b@example.com", token_hash("x" * 43), True, "203.0.113.77", "Firefox", "zh-CN")
    await asked(await stocked.sku(0, price=500), who)
    await asked(await stocked.sku(0, price=500), stocked.buyer(ip="127.0.0.1"))
    [order, local] = seen
    assert (order.ip, order.network, order.agent) == ("203.0.113.77", "203.0.113.0/24", "Firefox")
    assert order.device == token_hash("x" * 43).hex()[:32]
    assert order.lines[0].face_value == Money(500, "CNY")
    assert (local.ip, local.network) == ("", "")
