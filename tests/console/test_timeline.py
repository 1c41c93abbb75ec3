"""An order's page names who must act: the diagnosis for every case, the merged timeline, what staff correct on it."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from core import db
from core.checkout import trace
from core.checkout.diagnosis import Back, Bought, Facts, Sent, Try, Who, diagnose
from core.checkout.place import place
from core.checkout.settle import settle
from core.ids import new_token, token_hash
from core.messages import gifts as gift_mails
from core.orders import gifts
from core.orders import service as orders
from core.orders.contact import masked_contact
from core.orders.gifts import Gift
from core.payments import calls
from core.payments.method import CallbackRequest
from core.pricing.quote import Item, quote
from core.shops import service as shops
from core.vault.cipher import open_secret
from core.web.i18n import speaking
from tests import stocked
from tests.console import audited, everything, newest_audit, words

NOON = datetime(2026, 11, 22, 4, 0, tzinfo=UTC)


def ago(**units):
    return NOON - timedelta(**units)


UNPAID = Facts("unpaid", "reserved", ago(minutes=10), NOON + timedelta(minutes=5))
BEGUN = replace(UNPAID, tries=[Try("EPay", "waiting", ago(minutes=10))])
PAID = replace(
    UNPAID, payment="paid", paid=ago(minutes=9), told=ago(minutes=9), told_by="callback", tries=[*BEGUN.tries]
)
DELIVERED = replace(PAID, goods="delivered", delivered=ago(minutes=9) + timedelta(seconds=0.3))
BUYING = replace(PAID, goods="preparing")
STOPPED = replace(PAID, goods="review")
MISMATCH = replace(STOPPED, payment="mismatch")
TAKEN = replace(DELIVERED, payment="charged_back")


def asked(facts, *kinds):
    return replace(facts, questions=[(kind, ago(minutes=8)) for kind in kinds])


def bought(state):
    return replace(BUYING, purchases=[Bought("K1", "failed", ago(minutes=9)), Bought("K2", state, ago(minutes=7))])


def mailed(state):
    return replace(DELIVERED, messages=[Sent("sent", ago(minutes=9)), Sent(state, ago(minutes=6), "no such box")])


def tried(**changes):
    return replace(UNPAID, tries=[replace(BEGUN.tries[0], **changes)])


CASES = [
    # the buyer
    (UNPAID, "no_payment", Who.BUYER, ago(minutes=10), "extend"),
    (tried(begun=ago(minutes=2)), "waiting", Who.BUYER, ago(minutes=2), "ask"),
    (tried(asked=ago(minutes=4)), "silent", Who.BUYER, ago(minutes=4), "ask"),
    (tried(state="failed"), "payment_failed", Who.BUYER, ago(minutes=10), "extend"),
    (replace(UNPAID, payment="expired", goods="released"), "expired", Who.BUYER, NOON + timedelta(minutes=5), ""),
    (replace(BEGUN, payment="expired", ended=ago(minutes=1)), "expired", Who.BUYER, ago(minutes=1), "ask"),
    (asked(MISMATCH, "underpaid"), "underpaid", Who.BUYER, ago(minutes=8), "deliver"),
    (DELIVERED, "not_seen", Who.BUYER, DELIVERED.delivered, "contact"),
    (mailed("sent"), "not_seen", Who.BUYER, DELIVERED.delivered, "resend"),
    # the gateway
    (BEGUN, "silent", Who.GATEWAY, ago(minutes=10), "ask"),
    (
        tried(state="failed", error="unavailable: time-out"),
        "gateway_away",
        Who.GATEWAY,
        ago(minutes=10),
        "extend",
    ),
    (replace(PAID, refunds=[Back("sent", ago(minutes=3))]), "refund_sent", Who.GATEWAY, ago(minutes=3), ""),
    # the supplier
    (bought("sent"), "purchase_sent", Who.SUPPLIER, ago(minutes=7), "buy_ask"),
    (bought("waiting"), "purchase_waiting", Who.SUPPLIER, ago(minutes=7), "buy_ask"),
    (bought("unknown"), "purchase_unknown", Who.SUPPLIER, ago(minutes=7), "buy_ask"),
    (asked(STOPPED, "purchase_unknown"), "purchase_unknown", Who.SUPPLIER, ago(minutes=8), "buy_ask"),
    (asked(STOPPED, "purchase_failed"), "purchase_failed", Who.SUPPLIER, ago(minutes=8), "buy"),
    (asked(STOPPED, "purchase_odd"), "purchase_odd", Who.SUPPLIER, ago(minutes=8), "buy"),
    # us
    (replace(BEGUN, forged=ago(minutes=5)), "forged", Who.SHOP, ago(minutes=5), "ask"),
    (replace(BEGUN, payment="expired", forged=ago(minutes=5)), "forged", Who.SHOP, ago(minutes=5), "ask"),
    (tried(state="failed", error="refused: bad key"), "gateway_refused", Who.SHOP, ago(minutes=10), "settings"),
    (asked(replace(PAID, held=True, goods="review"), "risk"), "held", Who.SHOP, ago(minutes=8), "approve"),
    (bought("created"), "purchase_created", Who.SHOP, ago(minutes=7), "jobs"),
    (replace(BUYING, by_hand=True), "by_hand", Who.SHOP, ago(minutes=9), "hand"),
    (PAID, "not_delivered", Who.SHOP, ago(minutes=9), "jobs"),
    (asked(STOPPED, "out_of_stock"), "out_of_stock", Who.SHOP, ago(minutes=8), "import"),
    (asked(STOPPED, "paid_late"), "paid_late", Who.SHOP, ago(minutes=8), "deliver"),
    (asked(STOPPED, "by_hand"), "by_hand", Who.SHOP, ago(minutes=8), "hand"),
    (asked(STOPPED, "job_failed"), "job_failed", Who.SHOP, ago(minutes=8), "jobs"),
    (STOPPED, "review", Who.SHOP, ago(minutes=9), "deliver"),
    (
        asked(replace(STOPPED, payment="mismatch"), "wrong_currency"),
        "wrong_currency",
        Who.SHOP,
        ago(minutes=8),
        "refund",
    ),
    (asked(DELIVERED, "bad_code"), "bad_code", Who.SHOP, ago(minutes=8), "replace"),
    (asked(DELIVERED, "paid_twice"), "too_much", Who.SHOP, ago(minutes=8), "refund"),
    (mailed("failed"), "mail_failed", Who.SHOP, ago(minutes=6), "contact"),
    (mailed("held"), "mail_held", Who.SHOP, ago(minutes=6), "settings"),
    (mailed("queued"), "mail_queued", Who.SHOP, ago(minutes=6), "jobs"),
    (replace(PAID, refunds=[Back("asked", ago(minutes=3))]), "refund_asked", Who.SHOP, ago(minutes=3), "refund"),
    (replace(PAID, refunds=[Back("approved", ago(minutes=3))]), "refund_approved", Who.SHOP, ago(minutes=3), "refund"),
    (replace(PAID, refunds=[Back("unknown", ago(minutes=3))]), "refund_unknown", Who.SHOP, ago(minutes=3), "refund"),
    (asked(DELIVERED, "refund_failed"), "refund_failed", Who.SHOP, ago(minutes=8), "refund"),
    (
        asked(replace(DELIVERED, payment="charged_back"), "chargeback"),
        "charged_back",
        Who.SHOP,
        ago(minutes=8),
        "trace",
    ),
    # nobody
    (replace(DELIVERED, seen=ago(minutes=7)), "done", Who.NOBODY, ago(minutes=7), ""),
    (replace(UNPAID, payment="cancelled", ended=ago(minutes=1)), "cancelled", Who.NOBODY, ago(minutes=1), ""),
    (
        replace(DELIVERED, payment="refunded", goods="void", refunds=[Back("done", ago(minutes=2))]),
        "refunded",
        Who.NOBODY,
        ago(minutes=2),
        "",
    ),
]


@pytest.mark.parametrize(("facts", "case", "turn", "since", "act"), CASES, ids=[case[1] for case in CASES])
def test_whose_turn_it_is(facts, case, turn, since, act):
    found = diagnose(facts, NOON)
    assert (found.case, found.turn, found.since, found.act) == (case, turn, since, act)
    with speaking("en"):
        assert str(found.state)


def test_the_story_of_a_good_sale():
    seen = DELIVERED.delivered + timedelta(minutes=2)
    facts = replace(DELIVERED, told=ago(minutes=10) + timedelta(seconds=8), seen=seen)
    with speaking("en"):
        said = [str(one) for one in diagnose(facts, NOON).facts]
    assert said[1:] == [
        "the gateway called 8 s after the payment was begun",
        "delivery took 0.3 s",
        "the buyer looked at the codes 2 minutes later",
    ]


def test_each_step_says_what_it_waited_for():
    steps = [
        trace.Row(NOON, "placed", "Placed", "buyer"),
        trace.Row(ago(minutes=-1), "begun", "A", "shop", about="P-1"),
        trace.Row(ago(minutes=-2), "begun", "B", "shop", about="P-2"),
        trace.Row(ago(minutes=-5), "sent", "Sent", "shop", about="P-1"),
        trace.Row(ago(minutes=-6), "note", "Note", "staff"),
    ]
    found = [(row.waited, row.after) for row in trace.with_waits(steps)]
    assert found == [(None, None), (None, None), (None, None), (timedelta(minutes=4), "A"), (None, None)]


def test_nothing_secret_is_kept_of_a_call():
    call = CallbackRequest(
        "POST",
        b"out_trade_no=V1-1&sign=abc123&money=19.90",
        b'{"resource": {"ciphertext": "x", "nonce": "n"}, "payer": {"openid": "o-1"}, "trade_state": "OK",'
        b' "long": "' + b"a" * 90 + b'", "list": [{"api_key": "k", "n": 1}]}',
        {"authorization": "secret"},
        "192.0.2.1",
    )
    said = calls.read(call)
    assert calls.masked(said) == {
        "out_trade_no": "V1-1",
        "sign": "••••",
        "money": "19.90",
        "resource": {"ciphertext": "••••", "nonce": "••••"},
        "payer": {"openid": "••••"},
        "trade_state": "OK",
        "long": "••••",
        "list": [{"api_key": "••••", "n": 1}],
    }
    assert calls.read(replace(call, query=b"", body=b"\xff<xml>")) == {}
    assert calls.read(replace(call, query=b"", body=b"[" * 60_000)) == {}


def test_who_paid_is_not_kept_wherever_it_stands():
    """Stripe tells name and address of the payer, which nobody would erase with the buyer's other data."""
    payer = {"name": "Jenny Rosen", "email": "j@example.com", "address": {"line1": "510 Townsend", "city": "Reno"}}
    session = {"id": "cs_1", "amount_total": 1990, "customer_details": payer, "shipping_address": "510 Townsend"}
    said = calls.masked({"type": "checkout.session.completed", "data": {"object": session}})
    kept = {"id": "cs_1", "amount_total": 1990, "customer_details": "••••", "shipping_address": "••••"}
    assert said == {"type": "checkout.session.completed", "data": {"object": kept}}


def test_what_lies_deep_is_not_kept_as_text():
    deep: object = {"token": "t0p"}
    for _level in range(5):
        deep = {"a": deep}
    assert "t0p" not in str(calls.masked(deep))
    for _level in range(100_000):
        deep = [deep]
    assert calls.masked({"a": deep})["a"][0][0][0][0] == "••••"


# -- the page ---------------------------------------------------------------------------


OF_ORDER = " JOIN orders_line line ON line.id = vault_code.line_id WHERE line.order_id = $1"


@pytest.fixture
async def sold(address, real):
    return await stocked.sku(1)


@pytest.fixture
async def order(sold):
    return await stocked.order(sold)


def path(placed, act=""):
    return f"/admin/orders/{placed.ref}{act}"


async def test_a_sale_is_told_from_all_tables_in_one_line(staff, order):
    await settle("epay", stocked.paid(order), "callback")
    said = {"trade_status": "TRADE_SUCCESS", "sign": "SECRETSIGN"}
    call = calls.Call("epay", "callback", [order.attempt_ref], "delivered", 7, "192.0.2.9", "req-1", calls.masked(said))
    calls.note(call)
    await calls.written()
    await db.execute(
        "INSERT INTO vault_reveal (code_id, line_id, ip, agent) SELECT code.id, line_id, '192.0.2.7', 'Safari/ iPhone'"
        " FROM vault_code code JOIN orders_line line ON line.id = code.line_id WHERE line.order_id = $1",
        order.order_id,
    )
    row = await orders.for_staff(1, order.ref)
    kinds = [(one.kind, one.actor) for one in await trace.of(row)]
    assert sorted(kinds) == sorted(
        [
            ("placed", "buyer"),
            ("attempt", "buyer"),
            ("paid", "gateway"),
            ("delivered", "shop"),
            ("message", "shop"),
            ("message_failed", "system"),
            ("callback", "gateway"),
            ("shown", "buyer"),
        ]
    )
    page = await staff.get(path(order))
    said = words(page)
    assert "Nobody has to do anything Paid and delivered, and the buyer looked at the codes." in said
    assert "TRADE_SUCCESS" in said and "req-1" in said and "192.0.2.9" in said and "Safari · iPhone" in said
    assert "SECRETSIGN" not in page and "callback" not in words(await staff.get(path(order) + "?by=buyer"))
    assert "TRADE_SUCCESS" not in words(await staff.get(path(order) + "?by=buyer"))


async def test_the_price_of_an_order_is_told_as_money(staff, order):
    page = words(await staff.get(f"/admin/orders/{order.ref}"))
    assert "Total CN¥19.90" in page and "Total 1990" not in page


async def test_a_call_that_is_not_believed_stands_on_its_order(staff, order):
    calls.note(calls.Call("epay", "callback", ["x" * 9, order.attempt_ref], "forged: no sign", 1))
    calls.note(calls.Call("other", "callback", [order.attempt_ref], "forged: no sign", 1))
    await calls.written()
    rows = await db.fetch("SELECT order_id, method FROM payments_call WHERE said = 'forged: no sign' ORDER BY id")
    assert [tuple(row) for row in rows] == [(order.order_id, "epay"), (None, "other")]
    page = words(await staff.get(path(order)))
    assert "It is the shop's turn A call about this payment came, but its signature does not fit." in page


@pytest.mark.parametrize(
    ("query", "body"),
    [
        (b"no%00name=x", b""),
        (b"trade=%00123456789", b""),
        (b"", rb'{"trade": "\ud800 12345678"}'),
        (b"", rb'{"\ud800": 1}'),
        (b"", b'{"money": NaN, "fee": -Infinity}'),
    ],
)
async def test_no_call_takes_others_of_its_moment_with_it(real, query, body):
    """Whoever sends what no database keeps must not wipe out who called beside him."""
    said = calls.read(CallbackRequest("POST", query, body, {}, "192.0.2.9"))
    await db.execute("DELETE FROM payments_call")
    calls.note(calls.Call("epay", "callback", [], "delivered", 1))
    calls.note(calls.Call("epay", "callback", calls.names_in(said), "forged", 1, payload=calls.masked(said)))
    await calls.written()
    rows = await db.fetch("SELECT said FROM payments_call ORDER BY id")
    assert [row["said"] for row in rows] == ["delivered", "forged"]


async def test_the_trace_is_taken_along_and_written_down(staff, order, sign_in):
    await settle("epay", stocked.paid(order), "callback")
    code = await db.fetchval(
        "SELECT mask FROM vault_code JOIN orders_line l ON l.id = line_id WHERE l.order_id = $1", order.order_id
    )
    mark = await newest_audit()
    answer = await staff.http.post(path(order, "/trace"), data={"format": "json", "csrf": staff.csrf})
    said = answer.json()
    assert answer.headers["content-disposition"] == f'attachment; filename="{order.ref}.json"'
    assert (said["order"], said["total"], said["currency"]) == (order.ref, "19.90", "CNY")
    assert [step["kind"] for step in said["steps"]][:1] == ["placed"]
    assert any(step["facts"].get("masks") == code for step in said["steps"])
    text = (await staff.http.post(path(order, "/trace"), data={"format": "txt", "csrf": staff.csrf})).text
    assert f"{order.ref}  19.90 CNY" in text and "Order placed, codes reserved" in text
    assert [act for act, _object in await audited(mark)] == ["order.traced", "order.traced"]
    reader = await sign_in("readonly")
    before = await everything()
    answer = await reader.http.post(path(order, "/trace"), data={"format": "txt", "csrf": reader.csrf})
    assert answer.status_code == 403 and await everything() == before


async def test_more_time_keeps_the_codes(staff, order):
    before = await db.fetchrow("SELECT expires_at, created_at FROM orders_order WHERE id = $1", order.order_id)
    mark = await newest_audit()
    await staff.post(path(order, "/extend"), minutes="60")
    until = await db.fetchval("SELECT expires_at FROM orders_order WHERE id = $1", order.order_id)
    assert until == before["expires_at"] + timedelta(minutes=60)
    reserved = await db.fetch(
        "SELECT reserved_until FROM vault_code JOIN orders_line l ON l.id = line_id WHERE l.order_id = $1",
        order.order_id,
    )
    assert [row["reserved_until"] for row in reserved] == [until]
    assert await audited(mark) == [("order.extended", f"order:{order.ref}")]
    await staff.post(path(order, "/extend"), minutes="1440")
    await staff.post(path(order, "/extend"), minutes="1440")
    kept = await everything()
    assert "three days at most" in words(await staff.post(path(order, "/extend"), 409, minutes="1440"))
    assert "Choose how much longer" in words(await staff.post(path(order, "/extend"), 409, minutes="7"))
    assert await everything() == kept
    await settle("epay", stocked.paid(order), "callback")
    assert "waits for its payment" in words(await staff.post(path(order, "/extend"), 409, minutes="15"))


async def test_another_contact_closes_the_old_ways_in(staff, order):
    await settle("epay", stocked.paid(order), "callback")
    old = await db.fetchrow("SELECT contact, token_hash FROM orders_order WHERE id = $1", order.order_id)
    await db.execute(
        "WITH s AS (INSERT INTO people_session (id_hash, kind, expires_at)"
        " VALUES (sha256($2), 'buyer', now() + '1 day') RETURNING id_hash)"
        " INSERT INTO orders_access (order_id, session_hash, how) SELECT $1, id_hash, 'link' FROM s",
        order.order_id,
        order.ref.encode(),
    )
    mark = await newest_audit()
    await staff.post(path(order, "/contact"), contact=" New@Example.com ")
    now = await db.fetchrow("SELECT contact, contact_kind, token_hash FROM orders_order WHERE id = $1", order.order_id)
    assert (now["contact"], now["contact_kind"]) == ("new@example.com", "email")
    assert now["token_hash"] != old["token_hash"]
    assert await db.fetchval("SELECT array_agg(how) FROM orders_access WHERE order_id = $1", order.order_id) == [
        "bought"
    ]
    sent = await db.fetch("SELECT recipient FROM messages_message WHERE order_id = $1 ORDER BY id", order.order_id)
    assert [row["recipient"] for row in sent][-1] == "new@example.com" and len(sent) == 2
    assert await audited(mark) == [("order.contact_changed", f"order:{order.ref}")]
    kept = await everything()
    for wrong in ("nobody", "new@example.com"):
        page = await staff.post(path(order, "/contact"), 409, contact=wrong)
        assert 'id="contact" open>' in page and f'name="contact" type="text" value="{wrong.strip()}"' in page
    assert await everything() == kept


async def test_another_contact_renews_the_link_of_a_gift_and_the_old_one_is_written_down_nowhere(staff, sold):
    shop = await shops.main_shop()
    priced = await quote(shop.id, [Item(sold.code, 1)])
    order = await place(
        shop, priced, {}, stocked.buyer(), stocked.chosen(), new_token(), gift=Gift("friend@example.com", "For you")
    )
    await settle("epay", stocked.paid(order), "callback")
    await db.transaction(gift_mails.queue_due)
    sealed = "SELECT token_sealed FROM orders_gift WHERE order_id = $1"
    seen = open_secret(gifts.TOKEN_PURPOSE, await db.fetchval(sealed, order.order_id)).decode()
    old = await db.fetchval("SELECT contact FROM orders_order WHERE id = $1", order.order_id)
    browser = token_hash(order.ref)
    await db.execute(
        "INSERT INTO people_session (id_hash, kind, expires_at) VALUES ($1, 'buyer', now() + interval '1 day')", browser
    )
    assert await gifts.let_in(shop.id, seen, browser) == order.ref
    mails = "SELECT state FROM messages_message WHERE recipient = 'friend@example.com' AND data ->> 'gift' = $1"
    mark, waiting = await newest_audit(), await db.fetch(mails, str(order.order_id))
    await staff.post(path(order, "/contact"), contact="new-one@example.com")
    assert await gifts.for_session(order.ref, browser) is None
    assert not await gifts.link_fits(shop.id, seen) and await gifts.let_in(shop.id, seen, browser) is None
    assert await gifts.link_fits(
        shop.id, open_secret(gifts.TOKEN_PURPOSE, await db.fetchval(sealed, order.order_id)).decode()
    )
    assert await db.fetch(mails, str(order.order_id)) == waiting  # it takes the new link when it goes out
    await db.execute("UPDATE messages_message SET state = 'sent' WHERE recipient = 'friend@example.com'")
    await staff.post(path(order, "/contact"), contact="newer@example.com")
    assert [row["state"] for row in await db.fetch(mails, str(order.order_id))] == ["sent", "held"]
    said = await db.fetchval(
        "SELECT string_agg(data::text, '') FROM orders_event WHERE order_id = $1", order.order_id
    ) + await db.fetchval("SELECT string_agg(detail::text, '') FROM audit_entry WHERE id > $1", mark)
    for contact in (old, "new-one@example.com", "newer@example.com"):
        assert contact not in said and said.count(masked_contact(contact)) >= 2


async def test_staff_see_the_buyers_page_without_codes(staff, order, sold):
    await settle("epay", stocked.paid(order), "callback")
    kept = await everything()
    page = await staff.get(path(order, "/as-buyer"))
    assert "<div inert>" in page and "This is what the buyer sees" in words(page) and order.ref in words(page)
    assert sold.codes[0] not in page and "<script" not in page and await everything() == kept


async def test_staff_see_no_link_of_a_gift(staff, sold):
    shop = await shops.main_shop()
    priced = await quote(shop.id, [Item(sold.code, 1)])
    gift = Gift("friend@example.com", "For you")
    order = await place(shop, priced, {}, stocked.buyer(), stocked.chosen(), new_token(), gift=gift)
    await settle("epay", stocked.paid(order), "callback")
    page = await staff.get(path(order, "/as-buyer"))
    assert "It is a gift" in words(page) and "For you" in words(page)
    assert "?k=" not in page


async def test_staff_see_no_link_of_an_unpaid_order(staff, order):
    await db.execute(
        "UPDATE payments_attempt SET state = 'waiting', started = $2 WHERE order_id = $1",
        order.order_id,
        {"kind": "redirect", "url": "https://pay.example/1"},
    )
    staff.http.headers["user-agent"] = "Mozilla/5.0 MicroMessenger/8.0"
    page = await staff.get(path(order, "/as-buyer"))
    assert "WeChat may not open this way to pay" in words(page)
    assert "?k=" not in page


async def test_asking_by_hand_needs_something_to_ask_about(staff, order):
    mark = await newest_audit()
    await staff.post(path(order, "/ask"))
    assert await audited(mark) == [("order.asked", f"order:{order.ref}")]
    await settle("epay", stocked.paid(order), "callback")
    assert "No payment of this order is open." in words(await staff.post(path(order, "/ask"), 409))
