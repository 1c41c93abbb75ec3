"""Paying from the balance through the real shop: exact, only by its owner, never more than there is."""

import asyncio
import secrets
from collections.abc import AsyncIterator

import httpx
import pytest

from core import clock, db
from core.checkout import acts
from core.checkout.ask import ask_about
from core.checkout.settle import Outcome
from core.hooks import runtime, store
from core.ids import token_hash
from core.ledger import customers
from core.ledger import service as ledger
from core.money import Money
from core.payments import service as payments
from core.payments.method import GatewayRefused
from core.payments.purse import AttemptPurse
from core.people import contact_proof, sessions
from core.refused import Refused
from core.shops import service as shops
from core.web import csrf
from tests import console, stocked

PRICE = 1990


@pytest.fixture(scope="module")
async def address(database: str, redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    home = tmp_path_factory.mktemp("home")
    async with console.running(database, redis_url, home) as address:
        await db.execute(
            "UPDATE shops_shop SET test_mode = false,"
            ' settings = settings || \'{"open_orders_per_contact": 1000, "open_orders_per_address": 1000}\''
        )
        shops.forget()
        await db.transaction(store.enable, "payments.balance", True)
        await runtime.current().refresh()
        yield address


@pytest.fixture(scope="module")
async def what(address: str) -> stocked.Sku:
    return await stocked.sku(200, PRICE)


class Buyer:
    """A browser whose session has perhaps shown that the contact is its own."""

    def __init__(self, address: str, cookie: str, contact: str) -> None:
        self.cookie, self.contact = cookie, contact
        headers = {"accept-language": "en", "origin": address, "x-csrf-token": csrf.token_for(cookie)}
        self.http = httpx.AsyncClient(base_url=address, headers=headers, cookies={"vs": cookie}, timeout=60)

    @property
    def session_hash(self) -> bytes:
        return token_hash(self.cookie)

    async def prove(self) -> None:
        token = await contact_proof.new_link(1, self.contact)
        assert await db.transaction(contact_proof.prove, 1, token, self.session_hash) == self.contact

    async def order(self, what: stocked.Sku, **changes: str) -> httpx.Response:
        form = {
            "sku": what.code,
            "quantity": "1",
            "contact": self.contact,
            "method": "balance",
            "key": secrets.token_hex(12),
        }
        return await self.http.post("/checkout", data={**form, **changes})

    async def unpaid(self, what: stocked.Sku) -> stocked.Placed:
        who = stocked.Buyer("email", self.contact, self.session_hash, False, "127.0.0.1", "test", "en")
        return await stocked.order(what, who=who)

    async def pay(self, placed: stocked.Placed) -> httpx.Response:
        return await self.http.post(f"/o/{placed.ref}/pay", data={"method": "balance"})


async def _put_in(tx: db.Tx, contact: str, amount: int) -> None:
    await customers.put_in(
        tx, 1, contact, Money(amount, "CNY"), kind="balance_in", source=secrets.token_hex(8), against="goodwill"
    )


@pytest.fixture
async def new_buyer(address: str):
    buyers: list[Buyer] = []

    async def make(amount: int = 0, *, proven: bool = True) -> Buyer:
        cookie = await db.transaction(sessions.create, "buyer")
        buyers.append(Buyer(address, cookie, f"{secrets.token_hex(6)}@example.com"))
        if amount:
            await db.transaction(_put_in, buyers[-1].contact, amount)
        if proven:
            await buyers[-1].prove()
        return buyers[-1]

    yield make
    for buyer in buyers:
        await buyer.http.aclose()
    assert await customers.out_of_step() == []


async def held(buyer: Buyer) -> int:
    [balance] = await customers.of_contact(1, buyer.contact)
    return balance.money.amount


async def written() -> dict[str, int]:
    row = await db.fetchrow(
        "SELECT (SELECT count(*) FROM orders_order) AS orders, (SELECT count(*) FROM ledger_entry) AS entries,"
        " (SELECT count(*) FROM payments_event) AS events,"
        " (SELECT count(*) FROM vault_code WHERE state = 'delivered') AS delivered"
    )
    return dict(row)


async def booked(order_ref: str) -> list[tuple[str, str, str, int]]:
    rows = await db.fetch(
        "SELECT entry.kind, debit.code AS debit, credit.code AS credit, entry.amount FROM ledger_entry entry"
        " JOIN ledger_account debit ON debit.id = entry.debit_id JOIN orders_order o ON o.id = entry.order_id"
        " JOIN ledger_account credit ON credit.id = entry.credit_id WHERE o.ref = $1 ORDER BY entry.id",
        order_ref,
    )
    return [tuple(row) for row in rows]


async def test_an_order_is_paid_and_delivered_at_once(new_buyer, what):
    buyer = await new_buyer(5000)
    placed = await buyer.order(what)
    assert placed.status_code == 303, placed.text
    page = (await buyer.http.get(placed.headers["location"])).text
    assert "/reveal" in page
    [balance] = await customers.of_contact(1, buyer.contact)
    assert balance.money == Money(3010, "CNY")
    assert await booked(placed.headers["location"].removeprefix("/o/")) == [
        ("balance_paid", f"customer:{balance.id}", "gateway:balance", PRICE),
        ("payment", "gateway:balance", "deposits", PRICE),
        ("sale", "deposits", "revenue", PRICE),
    ]
    assert await ledger.balance(1, "gateway:balance", "CNY") == 0


async def test_the_button_is_there_for_the_owner_of_enough_and_for_nobody_else(new_buyer, what):
    owner, poor, stranger = await new_buyer(PRICE), await new_buyer(PRICE - 1), await new_buyer(PRICE, proven=False)
    for buyer, shown in ((owner, True), (poor, False), (stranger, False)):
        form = (await buyer.http.get(f"/checkout?sku={what.code}")).text
        assert ('value="balance"' in form) is shown
        placed = await buyer.unpaid(what)
        page = (await buyer.http.get(f"/o/{placed.ref}")).text
        assert ('value="balance"' in page) is shown
        assert ('href="/balance"' in page) is not shown
    assert f'value="{owner.contact}"' in (await owner.http.get(f"/checkout?sku={what.code}")).text


async def test_nobody_else_pays_from_it(new_buyer, what):
    owner, thief = await new_buyer(5000), await new_buyer(9000)
    stranger = await new_buyer(proven=False)
    placed = await thief.unpaid(what)
    await db.execute("UPDATE orders_order SET contact = $2 WHERE id = $1", placed.order_id, owner.contact)
    before = await written()
    assert (await thief.order(what, contact=owner.contact)).status_code == 422
    assert (await stranger.order(what, contact=owner.contact)).status_code == 422
    await thief.pay(placed)
    with pytest.raises(GatewayRefused, match="Open your balance"):
        await AttemptPurse(placed.attempt_ref, thief.session_hash).take()
    with pytest.raises(GatewayRefused):
        await AttemptPurse(placed.attempt_ref).take()
    assert await written() == before
    assert (await held(owner), await held(thief)) == (5000, 9000)


async def test_a_proof_is_over_after_hours_and_a_link_is_good_once(new_buyer, what):
    buyer = await new_buyer(5000)
    token = await contact_proof.new_link(1, buyer.contact)
    assert await db.transaction(contact_proof.prove, 1, token, buyer.session_hash) == buyer.contact
    assert await db.transaction(contact_proof.prove, 1, token, buyer.session_hash) is None
    await db.execute("UPDATE people_contact_proof SET expires_at = now() WHERE session_hash = $1", buyer.session_hash)
    before = await written()
    assert (await buyer.order(what)).status_code == 422
    assert await written() == before
    assert await held(buyer) == 5000


async def test_thirty_payments_at_once_from_what_suffices_for_three(new_buyer, what):
    buyer = await new_buyer(3 * PRICE + 500)
    placed = [await buyer.unpaid(what) for _ in range(30)]
    answers = await asyncio.gather(*(buyer.pay(one) for one in placed))
    assert {answer.status_code for answer in answers} == {303}
    states = [await stocked.states(one) for one in placed]
    assert states.count(("paid", "delivered")) == 3
    assert states.count(("unpaid", "reserved")) == 27
    assert await held(buyer) == 500
    assert await ledger.balance(1, "gateway:balance", "CNY") == 0
    [balance] = await customers.of_contact(1, buyer.contact)
    assert [change.money.amount for change in await customers.history(balance, 50)] == [-PRICE] * 3 + [3 * PRICE + 500]


async def test_many_clicks_on_one_order_take_its_price_once(new_buyer, what):
    buyer = await new_buyer(10 * PRICE)
    placed = await buyer.unpaid(what)
    await asyncio.gather(*(buyer.pay(placed) for _ in range(6)))
    assert await stocked.states(placed) == ("paid", "delivered")
    assert await held(buyer) == 9 * PRICE
    assert await db.fetchval("SELECT count(*) FROM review_item WHERE order_id = $1", placed.order_id) == 0


async def test_money_taken_before_the_process_died_still_buys(new_buyer, what):
    buyer = await new_buyer(5000)
    placed = await buyer.unpaid(what)
    balance = runtime.current().payment_methods["balance"]
    ref = await db.transaction(payments.begin, placed.order_id, balance, "")
    await AttemptPurse(ref, buyer.session_hash).take()
    assert await stocked.states(placed) == ("unpaid", "reserved")
    due = [one for one in await payments.attempts_to_query("http://127.0.0.1:9") if one.view.ref == ref]
    assert len(due) == 1
    await ask_about(due[0])
    await ask_about(due[0])
    assert await stocked.states(placed) == ("paid", "delivered")
    assert await held(buyer) == 5000 - PRICE


async def test_an_order_that_is_over_takes_nothing(new_buyer, what):
    buyer = await new_buyer(5000)
    placed = await buyer.unpaid(what)
    await db.execute("UPDATE orders_order SET expires_at = $2 WHERE id = $1", placed.order_id, clock.now())
    before = await written()
    with pytest.raises(GatewayRefused, match="cannot be paid any more"):
        await AttemptPurse(placed.attempt_ref, buyer.session_hash).take()
    assert await written() == before
    assert await held(buyer) == 5000


async def test_staff_cannot_say_that_it_was_taken(new_buyer, what):
    buyer, staff_id = await new_buyer(PRICE - 1), await stocked.staff_member()
    placed = await buyer.unpaid(what)
    balance = runtime.current().payment_methods["balance"]
    ref = await db.transaction(payments.begin, placed.order_id, balance, "")
    before = await written()
    with pytest.raises(Refused, match="no payment to confirm"):
        await acts.confirm_paid(1, placed.ref, staff_id, "", None, ref)
    assert await written() == before
    settled = await acts.confirm_paid(1, placed.ref, staff_id, "seen in the bank", None)
    assert settled.outcome is Outcome.DELIVERED
    assert await db.fetchval("SELECT method FROM payments_event WHERE order_id = $1", placed.order_id) == "epay"
    assert await ledger.balance(1, "gateway:balance", "CNY") == 0


async def test_its_door_takes_no_reports(address):
    before = await written()
    async with httpx.AsyncClient(base_url=address) as http:
        answer = await http.post("/pay/balance/notify", data={"paid": "1"})
    assert (answer.status_code, answer.content) == (400, b"fail")
    assert await written() == before
    assert await db.fetchval("SELECT count(*) FROM audit_alarm WHERE subject = 'gateway:balance'") == 1
