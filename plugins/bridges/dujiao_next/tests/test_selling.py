"""Selling to a Dujiao-Next shop: what every channel must keep. A real shop's answers are tried in tests/bridges."""

import itertools
import json
import time

import pytest
from aiohttp import web

from core.api import ChannelCall, ForgedCall, PartnerUnavailable, Wish
from core.api.testing import ChannelContract, OtherSide

from ..upstream import NOTHING_SOLD
from .fake import ROOT, signed

_seconds = itertools.cycle(range(50))


class Program(OtherSide):
    """The shop that buys and hears of its orders."""

    says = True

    def routes(self):
        return [web.post("/told", self.told)]

    async def told(self, request):
        given, body = request.headers, await request.read()
        fits = signed("s-0123456789abcdef", "POST", f"{ROOT}/callback", given["Dujiao-Next-Timestamp"], body)
        assert (given["Dujiao-Next-Api-Key"], given["Dujiao-Next-Signature"]) == ("k-0123456789abcdef", fits)
        return web.json_response({"ok": self.says, "message": "received"})


def call(partner, method, path, body=b""):
    """Each in a second of its own: an order in the same words in the same second is taken for a replay."""
    stamp = str(int(time.time()) - next(_seconds))
    headers = {
        "dujiao-next-api-key": partner.api_key,
        "dujiao-next-timestamp": stamp,
        "dujiao-next-signature": signed(partner.secret.reveal(), method, f"{ROOT}{path}", stamp, body),
    }
    return ChannelCall(method, f"{ROOT}{path}", {}, headers, body, "198.51.100.1")


class TestContract(ChannelContract):
    plugin = "bridges.dujiao_next"

    @pytest.fixture
    async def other_side(self):
        async with Program() as program:
            yield program

    def listing(self, partner):
        return call(partner, "GET", "/products")

    def order(self, partner, reference, sku_id, quantity):
        wanted = {"sku_id": sku_id, "quantity": quantity, "downstream_order_no": reference}
        return call(partner, "POST", "/orders", json.dumps(wanted).encode())

    def collecting(self, partner, sale):
        return call(partner, "GET", f"/orders/{sale.id}")

    # -- what is peculiar to it ---------------------------------------------------------

    async def test_news_of_an_order_carry_its_goods(self, channel, seller, other_side):
        sale = await seller.sell(seller.known, Wish("A-1", 7, 2, {}))
        await channel.tell_sale(seller.known, sale, ("ONE", "TWO"), f"{other_side.address}/told")
        told = other_side.seen[0].json()
        stamp = told.pop("timestamp")
        assert abs(stamp - time.time()) < 60
        told["fulfillment"].pop("delivered_at")
        assert told == {
            "event": "order.delivered",
            "order_id": 1,
            "order_no": "VTEST1",
            "downstream_order_no": "A-1",
            "status": "delivered",
            "fulfillment": {"type": "auto", "status": "delivered", "payload": "ONE\nTWO", "delivery_data": None},
        }
        await channel.tell_stand(seller.known, ((3, 7),), f"{other_side.address}/told")
        told = other_side.seen[1].json()
        assert (told["event"], told["skus"]) == ("catalog.changed", [{"product_id": 3, "sku_id": 7}])
        other_side.says = False
        with pytest.raises(PartnerUnavailable):
            await channel.tell_stand(seller.known, (), f"{other_side.address}/told")

    async def test_an_order_that_comes_twice_as_it_is_is_a_replay(self, channel, seller):
        order = self.order(seller.known, "A-2", 7, 1)
        assert (await channel.answer(order, seller)).status == 200
        await self._sells_nothing(channel, seller, "replayed", order)
        with pytest.raises(ForgedCall) as again:
            await channel.answer(order, seller)
        # a proxy may have sent it twice: who bought must not take this for a no
        assert json.loads(again.value.answer.body)["error_code"] not in NOTHING_SOLD
        questions = [self.listing(seller.known)] * 2
        assert [(await channel.answer(one, seller)).status for one in questions] == [200, 200]
