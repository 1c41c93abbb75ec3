"""Fulu: what every supplier must keep, its published vectors, and what is peculiar to it."""

import json
from datetime import date

import pytest

from core.api import (
    CallbackRequest,
    Check,
    Delivers,
    Forged,
    Money,
    NotSent,
    OutOfStock,
    PurchaseNews,
    PurchaseState,
    SupplierUnavailable,
)
from core.api.testing import Fault, SupplierContract

from ..cards import CannotOpen, opened
from ..signature import is_signed, sign
from ..supplier import yuan
from .fake import APP_SECRET, BAD_PHONE, CARD, GAME, LOCKED, TOP_UP, FuluGateway, compact, sealed, signature


class TestContract(SupplierContract):
    plugin = "suppliers.fulu"

    @pytest.fixture
    async def other_side(self):
        async with FuluGateway() as gateway:
            yield gateway

    # -- what is peculiar to it ---------------------------------------------------------

    async def test_goods_become_offers(self, supplier, other_side):
        offers = {one.item: one for one in (await supplier.catalogue()).offers}
        assert {item: (one.delivers, one.listed) for item, one in offers.items()} == {
            CARD: (Delivers.CODES, True),
            TOP_UP: (Delivers.TOP_UP, True),
            GAME: (Delivers.TOP_UP, True),
            LOCKED: (Delivers.TOP_UP, False),  # it wants a password, which is not asked for
        }
        assert [one.key for one in offers[GAME].fields] == ["charge_account", "charge_game_srv"]
        assert offers[CARD].face_value == Money(5000, "CNY")
        other_side.sell_out()
        assert (await supplier.catalogue()).offers[0].stock == 0

    @pytest.mark.parametrize("price", ["free", 1e15, "1e999999", "NaN"])
    async def test_a_price_that_cannot_be_read_is_that_of_its_offer_alone(self, supplier, other_side, price):
        other_side.game_price = price
        costs = {one.item: one.cost for one in (await supplier.catalogue()).offers}
        assert (costs.pop(GAME), set(costs.values())) == (None, {Money(4850, "CNY")})
        account = {"charge_account": "me", "charge_game_srv": "1"}
        with pytest.raises(NotSent, match="cannot be read"):
            await supplier.purchase(self.purchase(other_side, item=GAME, account=account))
        assert other_side.orders == {}

    async def test_a_card_is_opened(self, supplier, other_side):
        other_side.at_once = True
        purchase = self.purchase(other_side, 2)
        assert (await supplier.purchase(purchase)).state is PurchaseState.WAITING
        answer = await supplier.query(purchase)
        assert [(good.code, good.pin) for good in answer.goods] == [
            ("CD100000000001", "PW000001"),
            ("CD100000000002", "PW000002"),
        ]
        assert answer.goods[0].expires_on == date(2030, 12, 31)
        assert answer.cost == Money(9700, "CNY")

    async def test_cards_that_do_not_open_or_are_too_few_are_not_delivered(self, supplier, other_side):
        purchase = self.purchase(other_side, 2)
        await supplier.purchase(purchase)
        await other_side.finish(purchase.ref)
        (order,) = other_side.orders.values()
        second = order.cards.pop()
        with pytest.raises(SupplierUnavailable, match="delivered 1 cards instead of 2"):
            await supplier.query(purchase)
        order.cards.append({**second, "card_number": "bm90IGEgY2FyZA=="})
        with pytest.raises(SupplierUnavailable, match="do not open"):
            await supplier.query(purchase)
        assert len(purchase.keep.answers) == 2

    async def test_a_top_up_that_fails_was_not_sold(self, supplier, other_side):
        purchase = self.purchase(other_side, item=TOP_UP, account={"charge_account": BAD_PHONE})
        await supplier.purchase(purchase)
        await other_side.finish(purchase.ref)
        assert (await supplier.query(purchase)).state is PurchaseState.FAILED

    @pytest.mark.parametrize("fault", [Fault.CUT, Fault.ERROR, Fault.GARBAGE])
    async def test_an_order_whose_answer_is_lost_is_found_by_asking(self, supplier, other_side, fault):
        other_side.breaks_after_price = fault
        purchase = self.purchase(other_side)
        with pytest.raises(SupplierUnavailable):
            await supplier.purchase(purchase)
        await other_side.finish(purchase.ref)
        answer = await supplier.query(purchase)
        assert (answer.state, len(answer.goods), other_side.sales(purchase.ref)) == (PurchaseState.DONE, 1, 1)

    async def test_a_second_order_under_one_reference_is_asked_about(self, supplier, other_side):
        purchase = self.purchase(other_side)
        await supplier.purchase(purchase)
        with pytest.raises(SupplierUnavailable, match="4001"):
            await supplier.purchase(purchase)
        assert other_side.sales(purchase.ref) == 1

    async def test_gone_between_looking_and_buying(self, supplier, other_side):
        other_side.sell_out()
        with pytest.raises(OutOfStock, match="3005"):
            await supplier.purchase(self.purchase(other_side))
        assert other_side.orders == {}

    async def test_an_answer_signed_with_another_secret_is_none(self, supplier, other_side):
        other_side._yes = lambda result: FuluGateway._no(other_side, 0, "")
        with pytest.raises(SupplierUnavailable):
            await supplier.balance()

    async def test_a_call_with_the_same_characters_only_makes_us_ask(self, supplier, other_side):
        """The signature of a true call fits every rearrangement of it, so nothing of a call is believed."""
        purchase = self.purchase(other_side, item=TOP_UP, account={"charge_account": BAD_PHONE})
        await supplier.purchase(purchase)
        call = await other_side.callback(purchase)
        turned = json.loads(call.body)
        turned["order_id"] = turned["order_id"][::-1]
        news = await supplier.parse_callback(CallbackRequest("POST", b"", compact(turned).encode(), {}, call.client_ip))
        assert news == PurchaseNews(purchase.ref)
        with pytest.raises(Forged):
            await supplier.parse_callback(
                CallbackRequest("POST", b"", call.body.replace(b"processing", b"successing"), {}, call.client_ip)
            )

    async def test_the_test_button(self, machine, other_side):
        async def checked(**changes):
            await machine.save({**other_side.settings(), **changes})
            loaded = machine.loaded
            return (await loaded.plugin.check(loaded.context.settings, loaded.context)).answer

        assert await checked() is Check.OK
        assert await checked(app_secret="f" * 32) is Check.CREDENTIALS_WRONG
        assert await checked(address=None) is Check.WILL_NOT_WORK
        await other_side.down()
        assert await checked() is Check.TRY_LATER


# -- published vectors --------------------------------------------------------------------


def test_the_published_answer_is_signed():
    result = '{"name":"OpenApi2.0对接专用商户","balance":344283.1608,"is_open":1}'
    assert sign(result, APP_SECRET) == "af223d55aaab949a4061d651cc4b2765"
    assert is_signed(result, signature(result), APP_SECRET)
    assert not is_signed(result, sign(result, ""), "")


def test_the_published_card_opens():
    assert opened("12nCp6X/nALmrvr1erxK+D4L8n/kqz/RItKWUfvZrCU=", APP_SECRET) == "CD1000250201906121742434441"


@pytest.mark.parametrize("text", ["", "x", "bm90IGEgY2FyZA==", sealed("CODE")[:-4]])
def test_what_is_no_card_is_refused(text):
    with pytest.raises(CannotOpen):
        opened(text, APP_SECRET)


@pytest.mark.parametrize(("amount", "fen"), [("48.5000", 4850), (48.5, 4850), ("0.0001", 1), ("10.4201", 1043)])
def test_costs_are_rounded_up(amount, fen):
    assert yuan(amount) == Money(fen, "CNY")
