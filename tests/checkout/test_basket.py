"""Orders of several things: all of it or nothing, from wherever each of them comes; the cart before, the gift after."""

import asyncio
from collections import Counter

import asyncpg
import pytest

from core import clock, db
from core.audit.person import Person
from core.catalog.service import forget
from core.checkout import acts, cart
from core.checkout.cart import CartFull, Visitor
from core.checkout.place import SoldOut, _draft, place
from core.checkout.settle import settle
from core.fulfilment import by_hand
from core.ids import new_token, token_hash
from core.messages import gifts as gift_mails
from core.orders import gifts
from core.orders import service as orders
from core.orders.gifts import Gift, read_gift
from core.orders.view import order_view
from core.payments import money, refunds
from core.payments.refunds import Wish
from core.pricing.quote import Item, quote
from core.refused import Refused
from core.shops import service as shops
from tests import stocked

LINES = "SELECT {} FROM orders_line WHERE order_id = $1 ORDER BY id"


async def order(wanted, who=None, gift=None, answers=None):
    shop = await shops.main_shop()
    forget()
    priced = await quote(shop.id, [Item(sku.code, quantity) for sku, quantity in wanted])
    who = who or stocked.buyer()
    return await place(shop, priced, answers or {}, who, stocked.chosen(), new_token(), gift=gift)


async def from_elsewhere(sku, source, available=None, own_first=False):
    await db.execute(
        "UPDATE catalog_sku SET source = $2, available = $3, own_first = $4 WHERE id = $1",
        sku.id,
        source,
        available,
        own_first,
    )


async def orders_placed():
    return await db.fetchval("SELECT count(*) FROM orders_order")


# -- all of it or nothing ---------------------------------------------------------------


async def test_each_line_gets_its_own_codes_and_keeps_its_own_answers():
    one, two = await stocked.sku(3, price=1000), await stocked.sku(3, price=500)
    session = new_token()
    answers = {one.code: {"account": "a"}, two.code: {"account": "b"}}
    placed = await order([(one, 1), (two, 2)], stocked.buyer(session=session), answers=answers)
    rows = await db.fetch(LINES.format("sku_id, fields, total"), placed.order_id)
    assert [tuple(row.values()) for row in rows] == [
        (one.id, {"account": "a"}, 1000),
        (two.id, {"account": "b"}, 1000),
    ]
    await settle("epay", stocked.paid(placed, 2000), "callback")
    assert await stocked.states(placed) == ("paid", "delivered")
    row, shown = await orders.reveal(placed.ref, token_hash(session), "127.0.0.1", "test")
    codes = {line.id: {one.code: one.codes, two.code: two.codes}[line.sku_code] for line in order_view(row).lines}
    assert sorted(Counter(code.line_id for code in shown).values()) == [1, 2]
    assert all(code.text in codes[code.line_id] for code in shown)


async def test_one_thing_sold_out_reserves_nothing_and_says_which():
    there, gone = await stocked.sku(3), await stocked.sku(1)
    before = await orders_placed()
    with pytest.raises(SoldOut) as refused:
        await order([(there, 2), (gone, 2)])
    assert refused.value.skus == (gone.code,)
    assert await orders_placed() == before
    assert await stocked.codes_by_state(there) == {"free": 3}
    assert await stocked.codes_by_state(gone) == {"free": 1}


async def test_what_a_supplier_cannot_bring_is_told_by_name_too():
    own, bought = await stocked.sku(2), await stocked.sku(0)
    await from_elsewhere(bought, "supplier", available=1)
    with pytest.raises(SoldOut) as refused:
        await order([(own, 1), (bought, 2)])
    assert refused.value.skus == (bought.code,)
    assert await stocked.codes_by_state(own) == {"free": 2}


async def test_only_the_line_that_ran_out_is_bought_instead():
    plenty, few = await stocked.sku(5), await stocked.sku(1)
    for sku in (plenty, few):
        await from_elsewhere(sku, "supplier", own_first=True)
    placed = await order([(plenty, 2), (few, 2)])
    rows = await db.fetch(LINES.format("sku_id, source"), placed.order_id)
    assert [tuple(row.values()) for row in rows] == [(plenty.id, "codes"), (few.id, "supplier")]
    assert await stocked.codes_by_state(plenty) == {"free": 3, "reserved": 2}
    assert await stocked.codes_by_state(few) == {"free": 1}


async def test_own_codes_and_goods_made_by_hand_go_into_one_order():
    own, made = await stocked.sku(2, price=1000), await stocked.sku(0, price=500)
    await from_elsewhere(made, "hand")
    placed = await order([(own, 1), (made, 1)])
    await settle("epay", stocked.paid(placed, 1500), "callback")
    assert await stocked.states(placed) == ("paid", "preparing")
    assert await stocked.codes_by_state(own) == {"free": 1, "reserved": 1}
    line = await db.fetchval("SELECT max(id) FROM orders_line WHERE order_id = $1", placed.order_id)
    await by_hand.hand_over(1, placed.ref, line, f"MADE-{new_token()}", "", await stocked.staff_member())
    assert await stocked.states(placed) == ("paid", "delivered")
    assert await stocked.codes_by_state(own) == {"free": 1, "delivered": 1}


async def refund_declined(placed):
    """A whole refund was asked for, the order given up, and a second person said no."""
    anna = await stocked.staff_member()
    ben = await db.fetchval(
        "INSERT INTO people_staff (shop_id, email, role) VALUES (1, $1, 'owner') RETURNING id",
        f"{placed.ref.lower()}@b.cd",
    )
    await db.execute("""UPDATE shops_shop SET settings = settings || '{"refund_limit": 100}'""")

    async def ask(tx):
        row = await refunds.locked(tx, 1, placed.ref)
        [payment] = await money.payments_of(row["id"], tx)
        await refunds.ask(tx, row, [(payment, payment.left.amount)], Wish("hand"), Person(1, anna))

    await db.transaction(ask)
    await db.execute("UPDATE shops_shop SET settings = settings - 'refund_limit'")
    refund = await db.fetchval("SELECT id FROM payments_refund WHERE order_id = $1", placed.order_id)
    await db.transaction(refunds.decline, 1, refund, Person(1, ben))
    assert await stocked.states(placed) == ("paid", "review")


async def questions(placed):
    rows = await db.fetch(
        "SELECT kind FROM review_item WHERE order_id = $1 AND state = 'open' ORDER BY kind", placed.order_id
    )
    return [row["kind"] for row in rows]


async def hand_over(placed, line):
    await by_hand.hand_over(1, placed.ref, line, "", "", await stocked.staff_member())


async def test_codes_that_went_back_on_sale_are_asked_about_when_the_money_stays():
    own, made = await stocked.sku(2, price=1000), await stocked.sku(0, price=500)
    await from_elsewhere(made, "hand")
    placed = await order([(own, 1), (made, 1)])
    await settle("epay", stocked.paid(placed, 1500), "callback")
    await refund_declined(placed)
    assert await questions(placed) == ["by_hand", "purchase_failed"]
    await hand_over(placed, await db.fetchval("SELECT max(id) FROM orders_line WHERE order_id = $1", placed.order_id))
    assert await questions(placed) == ["purchase_failed"]
    await acts.deliver_anyway(1, placed.ref, await stocked.staff_member(), None)
    assert await stocked.states(placed) == ("paid", "delivered")
    assert await questions(placed) == []


async def test_what_was_made_before_is_asked_about_again_when_the_money_stays():
    one, two = await stocked.sku(0, price=1000), await stocked.sku(0, price=500)
    for sku in (one, two):
        await from_elsewhere(sku, "hand")
    placed = await order([(one, 1), (two, 1)])
    await settle("epay", stocked.paid(placed, 1500), "callback")
    lines = [row["id"] for row in await db.fetch(LINES.format("id"), placed.order_id)]
    await hand_over(placed, lines[0])
    await refund_declined(placed)
    await acts.deliver_anyway(1, placed.ref, await stocked.staff_member(), None)
    assert await questions(placed) == ["by_hand", "by_hand"]
    for line in lines:
        await hand_over(placed, line)
    assert await stocked.states(placed) == ("paid", "delivered")
    assert await questions(placed) == []


# -- many at once -----------------------------------------------------------------------

BUYERS, LEFT = 40, 12
ALL_OR_NOTHING = "share.upto > (SELECT count(*) FROM claimed WHERE claimed.sku_id = share.sku_id)"


async def rush(buy):
    """Many buyers want the last ones of two things in one order, some name them the other way round. Gives the SKUs,
    the orders, and how many of their lines lack codes."""
    one, two = await stocked.sku(LEFT), await stocked.sku(LEFT)
    wanted = [(one, 1), (two, 1)]
    tries = await asyncio.gather(
        *(buy(wanted if number % 2 else wanted[::-1]) for number in range(BUYERS)), return_exceptions=True
    )
    placed = [one for one in tries if not isinstance(one, SoldOut)]
    short = await db.fetchval(
        "SELECT count(*) FROM orders_line line WHERE line.order_id = ANY($1) AND line.quantity <>"
        " (SELECT count(*) FROM vault_code WHERE line_id = line.id AND state = 'reserved')",
        [one.order_id for one in placed],
    )
    return one, two, placed, short


async def test_the_last_ones_go_to_exactly_as_many_buyers_as_there_are():
    one, two, placed, short = await rush(order)
    assert (len(placed), short) == (LEFT, 0)
    for sku in (one, two):
        assert await stocked.codes_by_state(sku) == {"reserved": LEFT}


async def test_control_without_the_guard_orders_are_placed_that_have_no_codes():
    async def unguarded(wanted):
        shop = await shops.main_shop()
        priced = await quote(shop.id, [Item(sku.code, quantity) for sku, quantity in wanted])
        draft = await _draft(shop, priced, {}, stocked.buyer(), stocked.chosen(), new_token())
        assert draft.statement.count(ALL_OR_NOTHING) == 1
        statement, *values = draft.whole()
        [row] = await db.steadily(statement.replace(ALL_OR_NOTHING, "false"), *values)
        return draft.placed(row["id"])

    _one, _two, placed, short = await rush(unguarded)
    assert (len(placed), short) == (BUYERS, 2 * (BUYERS - LEFT))


# -- the cart ---------------------------------------------------------------------------


async def visitor(new=True):
    return Visitor(token_hash(new_token()), new, "127.0.0.1", "test")


def told(found):
    return [(line.sku.code, line.quantity, str(line.trouble or ""), line.can_have) for line in found.lines]


async def test_a_cart_begins_the_session_and_tells_what_has_changed():
    kept, sold, few, gone = [await stocked.sku(5, price=1000, most=4) for _number in range(4)]
    who = await visitor()
    assert await cart.add(1, who, [Item(sku.code, 3) for sku in (kept, sold, few, gone)] + [Item("NONE", 1)]) == 4
    await cart.add(1, who, [Item(kept.code, 3)])
    await db.execute("UPDATE vault_code SET state = 'void' WHERE sku_id = $1", sold.id)
    await db.execute("UPDATE vault_code SET state = 'void' WHERE sku_id = $1 AND slot > 10000", few.id)
    await db.execute("UPDATE catalog_sku SET listed = false WHERE id = $1", gone.id)
    found = await cart.of_session(1, who.session_hash)
    assert told(found) == [
        (kept.code, 4, "", 0),
        (sold.code, 3, "Sold out at the moment.", 0),
        (few.code, 3, "Only 2 can be had now.", 2),
        (gone.code, 3, "This is not on sale any more.", 0),
    ]
    assert (found.in_order, found.quote.total.amount) == (False, 4000)
    await cart.change(1, who.session_hash, few.code, 2)
    for sku in (sold, gone):
        await cart.change(1, who.session_hash, sku.code, 0)
    found = await cart.of_session(1, who.session_hash)
    assert (found.in_order, found.quote.total.amount) == (True, 6000)
    await cart.ordered(who.session_hash, found.quote)
    assert await cart.count(1, who.session_hash) == 0


async def test_a_cart_holds_twenty_things_however_many_are_put_in_at_once():
    skus = [await stocked.sku(0) for _number in range(22)]
    who = await visitor()
    await cart.add(1, who, [Item(skus[0].code, 1)])
    known = Visitor(who.session_hash, False, "", "")
    done = await asyncio.gather(*(cart.add(1, known, [Item(sku.code, 1)]) for sku in skus), return_exceptions=True)
    assert Counter(type(one) for one in done) == {int: 20, CartFull: 2}
    assert await cart.count(1, who.session_hash) == 20


async def test_the_database_holds_the_limits_of_a_cart():
    sku, who = await stocked.sku(0), await visitor()
    await cart.add(1, who, [Item(sku.code, 1)])
    add = "INSERT INTO checkout_cart_line (session_hash, shop_id, place, sku_id, quantity) VALUES ($1, 1, $2, $3, $4)"
    other = await stocked.sku(0)
    for place_, sku_id, quantity in ((2, sku.id, 1), (1, other.id, 1), (21, other.id, 1), (2, other.id, 0)):
        with pytest.raises(asyncpg.IntegrityConstraintViolationError):
            await db.execute(add, who.session_hash, place_, sku_id, quantity)
    assert await cart.count(1, who.session_hash) == 1


# -- the gift ---------------------------------------------------------------------------


async def link_of(placed, session):
    row = await orders.for_session(placed.ref, token_hash(session))
    return order_view(row).gift.path.removeprefix("/gift?k=")


async def recipient():
    token = new_token()
    await db.execute(
        "INSERT INTO people_session (id_hash, kind, expires_at) VALUES ($1, 'buyer', now() + interval '1 day')",
        token_hash(token),
    )
    return token_hash(token)


async def test_whoever_has_the_link_gets_the_codes_and_the_buyer_sees_that_it_was_opened():
    sku, session = await stocked.sku(2), new_token()
    placed = await order([(sku, 1)], stocked.buyer(session=session), Gift("friend@example.com", "Happy birthday"))
    await settle("epay", stocked.paid(placed), "callback")
    token, friend = await link_of(placed, session), await recipient()
    assert await gifts.reveal(placed.ref, friend, "127.0.0.1", "test") is None
    assert await gifts.let_in(1, new_token(), friend) is None
    assert await gifts.let_in(1, token, friend) == placed.ref
    _row, shown = await gifts.reveal(placed.ref, friend, "127.0.0.1", "test")
    assert [code.text in sku.codes for code in shown] == [True]
    assert await orders.for_session(placed.ref, friend) is None
    seen = order_view(await orders.for_session(placed.ref, token_hash(session)))
    assert seen.gift.opened_at is not None
    last = await db.fetchrow("SELECT kind, actor FROM orders_event WHERE order_id = $1 ORDER BY id DESC", seen.id)
    assert tuple(last.values()) == ("gift_opened", "recipient")


async def test_a_code_that_erases_itself_is_shown_to_whom_it_was_given_or_to_the_buyer_never_to_both():
    sku, session = await stocked.sku(1), new_token()
    await db.execute("UPDATE catalog_sku SET burn_hours = 24 WHERE id = $1", sku.id)
    placed = await order([(sku, 1)], stocked.buyer(session=session), Gift())
    await settle("epay", stocked.paid(placed), "callback")
    friend = await recipient()
    await gifts.let_in(1, await link_of(placed, session), friend)
    _row, shown = await gifts.reveal(placed.ref, friend, "127.0.0.1", "test")
    _row, again = await orders.reveal(placed.ref, token_hash(session), "127.0.0.1", "test")
    assert (len(shown), again) == (1, [])


async def test_the_recipient_is_mailed_once_on_the_day_and_only_what_was_paid():
    sku = await stocked.sku(3)
    later = clock.now() + gifts.LATEST / 2
    now_, unpaid, some_day = [
        await order([(sku, 1)], gift=Gift(f"{name}@example.com", send_at=send_at))
        for name, send_at in (("now", None), ("unpaid", None), ("later", later))
    ]
    for placed in (now_, some_day):
        await settle("epay", stocked.paid(placed), "callback")
    for _twice in range(2):
        await db.transaction(gift_mails.queue_due)
    rows = await db.fetch(
        "SELECT recipient, order_id, state FROM messages_message WHERE event = 'gift' AND recipient = ANY($1)",
        ["now@example.com", "unpaid@example.com", "later@example.com"],
    )
    assert [tuple(row.values()) for row in rows] == [("now@example.com", None, "held")]
    assert await stocked.states(unpaid) == ("unpaid", "reserved")


@pytest.mark.parametrize(
    ("filled", "field"),
    [
        (("nobody", "", ""), "gift_to"),
        (("", "x" * 501, ""), "gift_message"),
        (("", "", "2999-01-01"), "gift_to"),
        (("a@example.com", "", "2999-01-01"), "gift_on"),
        (("a@example.com", "", "2000-01-01"), "gift_on"),
        (("a@example.com", "", "some day"), "gift_on"),
    ],
)
def test_what_is_wrong_with_a_gift_is_told_at_its_field(filled, field):
    with pytest.raises(Refused) as refused:
        read_gift(*filled, "Asia/Shanghai")
    assert refused.value.field == field
