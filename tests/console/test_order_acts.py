"""An order's page: what staff may do with it, each act with all it writes, and refusals that write nothing."""

import asyncio

import pytest

from core import db
from core.checkout.settle import Outcome, settle
from tests import stocked
from tests.console import audited, everything, newest_audit, words

pytestmark = pytest.mark.usefixtures("real")


@pytest.fixture(scope="module")
async def what(address):
    return await stocked.sku(60)


async def facts(placed):
    row = await db.fetchrow(
        "SELECT payment_state AS payment, fulfilment_state AS goods, paid,"
        " (SELECT count(*) FROM vault_code code JOIN orders_line line ON line.id = code.line_id"
        "  WHERE line.order_id = o.id AND code.state = 'delivered') AS delivered,"
        " (SELECT count(*) FROM vault_code code JOIN orders_line line ON line.id = code.line_id"
        "  WHERE line.order_id = o.id AND code.state = 'reserved') AS reserved,"
        " (SELECT count(*) FROM payments_event WHERE order_id = o.id) AS events"
        " FROM orders_order o WHERE id = $1",
        placed.order_id,
    )
    return tuple(row.values())


async def steps(placed):
    rows = await db.fetch("SELECT kind FROM orders_event WHERE order_id = $1 ORDER BY id", placed.order_id)
    return [row["kind"] for row in rows]


async def booked(placed):
    """Account, currency and balance of what the ledger holds of an order."""
    rows = await db.fetch(
        "SELECT account.code, account.currency, sum(posting.amount)::bigint AS amount FROM ledger_posting posting"
        " JOIN ledger_entry entry ON entry.id = posting.entry_id JOIN ledger_account account"
        " ON account.id = posting.account_id WHERE entry.order_id = $1 GROUP BY 1, 2",
        placed.order_id,
    )
    return {(row["code"], row["currency"]): row["amount"] for row in rows if row["amount"]}


async def questions(placed):
    rows = await db.fetch(
        "SELECT id, kind, state, resolution FROM review_item WHERE order_id = $1 ORDER BY id", placed.order_id
    )
    return [(row["kind"], row["state"], row["resolution"]) for row in rows]


async def expired(placed):
    await db.execute(
        "UPDATE vault_code SET state = 'free', line_id = NULL, reserved_until = NULL WHERE line_id IN"
        " (SELECT id FROM orders_line WHERE order_id = $1)",
        placed.order_id,
    )
    await db.execute(
        "UPDATE orders_order SET payment_state = 'expired', fulfilment_state = 'released' WHERE id = $1",
        placed.order_id,
    )
    await db.execute("UPDATE orders_line SET state = 'released' WHERE order_id = $1", placed.order_id)


@pytest.fixture
async def order(what):
    return await stocked.order(what)


@pytest.fixture
async def short(address):
    """A paid order whose codes are gone, and its SKU."""
    what = await stocked.sku(1)
    placed = await stocked.order(what)
    await db.execute("UPDATE vault_code SET state = 'void', line_id = NULL WHERE sku_id = $1", what.id)
    assert (await settle("epay", stocked.paid(placed), "callback")).outcome is Outcome.NEEDS_REVIEW
    return placed, what


def path(placed, act=""):
    return f"/admin/orders/{placed.ref}{act}"


async def test_what_the_buyer_answered_stands_under_its_question(staff, address):
    placed = await stocked.order(await stocked.sku(1))
    where = "WHERE id = (SELECT product_id FROM orders_line WHERE order_id = $1)"
    asked = [
        {"key": "q1", "label": {"zh-CN": "游戏账号", "en": "Game account"}},
        {"key": "q2", "label": {"en": "Server"}, "option_titles": {"7": {"en": "Seventh heaven"}}},
    ]
    await db.execute(f"UPDATE catalog_product SET buyer_fields = $2 {where}", placed.order_id, asked)
    given = {"q1": "li-77", "q2": "7", "q3": "gone since"}
    await db.execute("UPDATE orders_line SET fields = $2 WHERE order_id = $1", placed.order_id, given)
    page = words(await staff.get(path(placed)))
    assert "Game account li-77 Server Seventh heaven q3 gone since" in " ".join(page.split())


# -- confirm paid -----------------------------------------------------------------------


async def test_confirming_delivers_and_is_written_down(staff, order):
    mark = await newest_audit()
    page = words(await staff.get(path(order)))
    assert "Confirm paid" in page and "Cancel order" in page and "Unpaid" in page
    said = words(await staff.post(path(order, "/confirm-paid"), note=" T-77 "))
    assert "Payment confirmed, codes delivered." in said
    assert await facts(order) == ("paid", "delivered", 1990, 1, 0, 1)
    assert await audited(mark) == [("order.confirm_paid", f"order:{order.ref}")]
    assert await steps(order) == ["placed", "paid", "delivered"]
    event = await db.fetchrow(
        "SELECT source, state, amount, currency, gateway_ref, outcome FROM payments_event WHERE order_id = $1",
        order.order_id,
    )
    assert tuple(event.values()) == ("staff", "paid", 1990, "CNY", "T-77", "paid")
    assert await booked(order) == {("gateway:epay", "CNY"): 1990, ("revenue", "CNY"): -1990}
    page = words(await staff.get(path(order)))
    assert "Confirm paid" not in page and "Cancel order" not in page and "T-77" in page
    assert "Send the message again" in page


async def test_confirming_twice_at_once_has_one_effect(staff, order):
    form = {"note": "", "csrf": staff.csrf}
    answers = await asyncio.gather(*(staff.http.post(path(order, "/confirm-paid"), data=form) for _ in range(6)))
    assert {answer.status_code for answer in answers} <= {303, 409}
    assert await facts(order) == ("paid", "delivered", 1990, 1, 0, 1)
    assert (await steps(order)).count("delivered") == 1
    assert await db.fetchval("SELECT count(*) FROM messages_message WHERE order_id = $1", order.order_id) == 1


async def test_an_expired_order_is_confirmed_and_delivered_from_what_is_there(staff, order):
    await expired(order)
    await staff.post(path(order, "/confirm-paid"), note="")
    assert await facts(order) == ("paid", "delivered", 1990, 1, 0, 1)


async def test_a_late_confirmation_without_codes_asks_a_person(staff, address):
    what = await stocked.sku(1)
    order = await stocked.order(what)
    await expired(order)
    await stocked.order(what)
    said = words(await staff.post(path(order, "/confirm-paid"), note=""))
    assert "Payment confirmed, but the codes are gone." in said
    assert await facts(order) == ("paid", "review", 1990, 0, 0, 1)
    assert await questions(order) == [("paid_late", "open", "")]


async def test_what_is_paid_cannot_be_confirmed_or_cancelled(staff, order):
    await staff.post(path(order, "/confirm-paid"), note="")
    before = await everything()
    for act, said in (
        ("/confirm-paid", "This order is paid already"),
        ("/cancel", ""),
        ("/deliver", "This order does not wait for a decision."),
    ):
        assert said in words(await staff.post(path(order, act), status=409))
    assert await everything() == before


async def test_an_order_without_a_payment_cannot_be_confirmed(staff, order):
    await db.execute("DELETE FROM payments_attempt WHERE order_id = $1", order.order_id)
    assert "Confirm paid" not in words(await staff.get(path(order)))
    before = await everything()
    assert "no payment to confirm" in words(await staff.post(path(order, "/confirm-paid"), status=409, note=""))
    assert await everything() == before


async def test_a_test_order_is_confirmed_without_money_in_the_books(staff, what):
    order = await stocked.order(what, test=True)
    await db.execute("UPDATE payments_attempt SET method = 'sandbox' WHERE order_id = $1", order.order_id)
    await staff.post(path(order, "/confirm-paid"), note="")
    assert await facts(order) == ("paid", "delivered", 1990, 1, 0, 1)
    assert await booked(order) == {}


async def test_unknown_orders_are_not_found(staff):
    before = await everything()
    await staff.get("/admin/orders/VNOSUCH", status=404)
    for act in ("/note", "/resend"):
        await staff.post(f"/admin/orders/VNOSUCH{act}", status=404)
    for act in ("/confirm-paid", "/cancel", "/deliver"):
        await staff.post(f"/admin/orders/VNOSUCH{act}", status=404)
    assert await everything() == before


# -- cancel, note, resend ---------------------------------------------------------------


async def test_cancelling_frees_the_codes_once(staff, order):
    mark = await newest_audit()
    form = {"csrf": staff.csrf}
    answers = await asyncio.gather(*(staff.http.post(path(order, "/cancel"), data=form) for _ in range(4)))
    assert sorted(answer.status_code for answer in answers) == [303, 409, 409, 409]
    assert await facts(order) == ("cancelled", "released", 0, 0, 0, 0)
    assert await audited(mark) == [("order.cancelled", f"order:{order.ref}")]
    assert await steps(order) == ["placed", "cancelled"]


async def test_a_note_stands_in_the_timeline_and_is_text_only(staff, order):
    await staff.post(path(order, "/note"), note="<b>called</b> 你好")
    page = await staff.get(path(order))
    assert "&lt;b&gt;called&lt;/b&gt; 你好" in page and "<b>called</b>" not in page
    assert await steps(order) == ["placed", "note"]
    await staff.post(path(order, "/note"), note="   ")
    await staff.post(path(order, "/note"), status=422, note="x" * 301)
    assert await steps(order) == ["placed", "note"]


async def test_the_message_goes_out_again(staff, order):
    mark = await newest_audit()
    assert "No message was written" in words(await staff.post(path(order, "/resend"), status=409))
    assert await audited(mark) == []
    await staff.post(path(order, "/confirm-paid"), note="")
    await db.execute("UPDATE messages_message SET state = 'sent' WHERE order_id = $1", order.order_id)
    mark = await newest_audit()
    assert "on its way again" in words(await staff.post(path(order, "/resend")))
    assert await audited(mark) == [("order.resent", f"order:{order.ref}")]
    states = await db.fetch("SELECT state FROM messages_message WHERE order_id = $1", order.order_id)
    assert "sent" not in [row["state"] for row in states][-1:]


# -- what waits for a person ------------------------------------------------------------


async def test_delivering_later_has_one_effect_however_often_it_is_clicked(staff, short):
    order, what = short
    page = words(await staff.get(path(order)))
    assert "Deliver now" in page and "The money is here, the codes are not." in page
    before = await everything()
    assert "still not enough stock" in words(await staff.post(path(order, "/deliver"), status=409))
    assert await everything() == before
    await stocked.stock_up(what.id, [f"LATER-{what.code}-{n}" for n in range(5)])
    mark = await newest_audit()
    form = {"csrf": staff.csrf}
    answers = await asyncio.gather(*(staff.http.post(path(order, "/deliver"), data=form) for _ in range(6)))
    assert sorted(answer.status_code for answer in answers) == [303, 409, 409, 409, 409, 409]
    assert await facts(order) == ("paid", "delivered", 1990, 1, 0, 1)
    assert await questions(order) == [("out_of_stock", "done", "delivered")]
    assert await audited(mark) == [("order.delivered_anyway", f"order:{order.ref}")]
    assert await booked(order) == {("gateway:epay", "CNY"): 1990, ("revenue", "CNY"): -1990}
    assert (await stocked.codes_by_state(what))["free"] == 4
    sent = await db.fetch("SELECT event FROM messages_message WHERE order_id = $1 ORDER BY id", order.order_id)
    assert [row["event"] for row in sent] == ["order_in_review", "order_delivered"]


async def item_of(order, kind):
    return await db.fetchval("SELECT id FROM review_item WHERE order_id = $1 AND kind = $2", order.order_id, kind)


async def back(order, kind):
    return f"/admin/refunds/questions/{await item_of(order, kind)}/back"


async def test_paying_back_has_one_effect_and_takes_the_money_out_of_the_books(staff, short):
    order, _what = short
    mark = await newest_audit()
    form = {"csrf": staff.csrf, "way": "hand", "note": "by bank"}
    door = await back(order, "out_of_stock")
    answers = await asyncio.gather(*(staff.http.post(door, data=form) for _ in range(6)))
    assert sorted(answer.status_code for answer in answers) == [303, 409, 409, 409, 409, 409]
    assert await facts(order) == ("refunded", "void", 1990, 0, 0, 1)
    assert await questions(order) == [("out_of_stock", "done", "refunded")]
    assert await audited(mark) == [("refund.asked", f"order:{order.ref}")]
    assert await booked(order) == {}
    assert "by bank" in await staff.get(path(order))


async def test_delivering_and_paying_back_at_once_do_one_of_both(staff, short):
    order, what = short
    await stocked.stock_up(what.id, [f"BOTH-{what.code}"])
    doors = {path(order, "/deliver"): {}, await back(order, "out_of_stock"): {"way": "hand"}}
    answers = await asyncio.gather(
        *(staff.http.post(door, data={"csrf": staff.csrf, **form}) for door, form in [*doors.items()] * 3)
    )
    assert sorted(answer.status_code for answer in answers) == [303, 409, 409, 409, 409, 409]
    after = await facts(order)
    assert after in {("paid", "delivered", 1990, 1, 0, 1), ("refunded", "void", 1990, 0, 0, 1)}


async def test_a_wrong_amount_is_accepted_and_booked_as_it_came(staff, order):
    await settle("epay", stocked.paid(order, 500), "callback")
    assert await facts(order) == ("mismatch", "review", 500, 0, 0, 1)
    page = words(await staff.get(path(order)))
    assert "Less came than the order costs: CN¥5.00 of CN¥19.90." in page
    await staff.post(path(order, "/deliver"))
    assert await facts(order) == ("paid", "delivered", 500, 1, 0, 1)
    assert await booked(order) == {("gateway:epay", "CNY"): 500, ("revenue", "CNY"): -500}
    assert await questions(order) == [("underpaid", "done", "delivered")]


async def test_money_in_another_currency_goes_back_in_that_currency(staff, order):
    await settle("epay", stocked.paid(order, 300, "USD"), "callback")
    assert await booked(order) == {("gateway:epay", "USD"): 300, ("deposits", "USD"): -300}
    page = words(await staff.get(path(order)))
    assert "$3.00 came in another currency than was asked for." in page
    await staff.post(await back(order, "wrong_currency"), way="hand")
    assert await booked(order) == {}
    assert await facts(order) == ("refunded", "void", 300, 0, 0, 1)


async def test_another_currency_accepted_leaves_no_debt_in_the_books(staff, order):
    await settle("epay", stocked.paid(order, 300, "USD"), "callback")
    await staff.post(path(order, "/deliver"))
    assert await booked(order) == {("gateway:epay", "USD"): 300, ("revenue", "USD"): -300}


async def test_extra_money_is_returned_once(staff, sign_in, order):
    await settle("epay", stocked.paid(order), "callback")
    again = await settle("epay", stocked.paid(order, event=f"{order.ref}:again"), "callback")
    assert again.outcome is Outcome.PAID_TWICE
    door = await back(order, "paid_twice")
    assert "CN¥19.90 came although nothing was owed any more." in words(await staff.get(path(order)))
    other = await sign_in("support")
    mark = await newest_audit()
    answers = await asyncio.gather(
        *(who.http.post(door, data={"csrf": who.csrf, "way": "hand", "note": "n"}) for who in (staff, other) * 3)
    )
    assert sorted(answer.status_code for answer in answers) == [303, 409, 409, 409, 409, 409]
    assert await questions(order) == [("paid_twice", "done", "refunded")]
    assert await audited(mark) == [("refund.asked", f"order:{order.ref}")]
    assert await booked(order) == {("gateway:epay", "CNY"): 1990, ("revenue", "CNY"): -1990}
    assert await facts(order) == ("paid", "delivered", 3980, 1, 0, 2)


async def test_what_came_twice_is_asked_apart_from_the_delivery(staff, short):
    order, what = short
    await settle("epay", stocked.paid(order, event=f"{order.ref}:twice"), "callback")
    await stocked.stock_up(what.id, [f"APART-{what.code}"])
    await staff.post(path(order, "/deliver"))
    assert await questions(order) == [("out_of_stock", "done", "delivered"), ("paid_twice", "open", "")]
    await staff.post(await back(order, "paid_twice"), way="hand")
    assert await booked(order) == {("gateway:epay", "CNY"): 1990, ("revenue", "CNY"): -1990}


async def test_what_went_back_before_does_not_go_back_twice(staff, short):
    order, _what = short
    await settle("epay", stocked.paid(order, event=f"{order.ref}:twice"), "callback")
    await staff.post(await back(order, "paid_twice"), way="hand")
    await staff.post(await back(order, "out_of_stock"), way="hand")
    assert await booked(order) == {}
    assert await questions(order) == [("out_of_stock", "done", "refunded"), ("paid_twice", "done", "refunded")]
    assert await facts(order) == ("refunded", "void", 3980, 0, 0, 2)


async def test_questions_that_are_not_there_are_refused(staff, order):
    before = await everything()
    for act, form in (("back", {"way": "hand"}), ("keep", {}), ("seen", {})):
        await staff.post(f"/admin/refunds/questions/999999/{act}", status=409, **form)
    assert await everything() == before


async def test_who_may_not_act_sees_no_buttons(sign_in, order, short):
    reader = await sign_in("readonly")
    for placed in (order, short[0]):
        page = words(await reader.get(path(placed)))
        for button in ("Confirm paid", "Cancel order", "Deliver now", "I paid it back", "Add a note"):
            assert button not in page
