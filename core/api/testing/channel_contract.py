"""What every channel must keep: it sells to a partner who proves who it is, once for each of its references."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from core import clock
from core.api import (
    Answer,
    Article,
    Channel,
    ChannelCall,
    Choice,
    ForgedCall,
    HttpError,
    Money,
    NothingLeft,
    Partner,
    PartnerUnavailable,
    Sale,
    SaleState,
    Secret,
    Seller,
    Shelf,
    Wish,
)
from core.api.testing.contract import Contract, OtherSide
from core.api.testing.forgery import altered_call, garbage_calls
from core.api.testing.machine import Machine

_numbers = itertools.count(1)
PRICE = Money(1990, "CNY")
SKU_ID, SKU_CODE = 7, "SKU-7"
CODE = "CODE-4H7D-CANARY"


def a_partner(**changes: Any) -> Partner:
    """A partner with a key and a secret."""
    facts: dict[str, Any] = {
        "id": 1,
        "shop_id": 1,
        "name": "buyer",
        "api_key": "k-0123456789abcdef",
        "discount": 0,
        "notify_url": "",
        "session_hash": b"",
        "stopped": False,
        "secret": Secret("s-0123456789abcdef"),
    }
    return Partner(**{**facts, **changes})


@dataclass
class Counter:
    """The shop's counter for programs with one thing on sale and one partner, who sells once for each reference."""

    known: Partner
    left: int = 100
    name: str = "Shop"
    currency: str = "CNY"
    book: dict[str, Sale] = field(default_factory=dict)

    async def partner(self, api_key: str) -> Partner | None:
        return self.known if api_key == self.known.api_key else None

    async def balance(self, partner: Partner) -> Money:
        return Money(100_000, "CNY")

    async def shelves(self) -> list[Shelf]:
        return [Shelf(1, "music", {"en": "Music"}, 0)]

    async def articles(self, partner: Partner, page: int, size: int) -> tuple[list[Article], int]:
        return ([self._article()] if page == 1 else []), 1

    async def article(self, partner: Partner, product_id: int) -> Article | None:
        return self._article() if product_id == 3 else None

    def _article(self) -> Article:
        now, words = clock.now(), {"en": "A month", "zh-CN": "一个月"}
        choice = Choice(SKU_ID, SKU_CODE, words, PRICE, PRICE, self.left, 1, 10, True)
        return Article(3, "a-month", words, {}, {}, "", 1, False, True, (), (choice,), now, now)

    async def sell(self, partner: Partner, wish: Wish) -> Sale:
        if wish.reference not in self.book:
            if self.left < wish.quantity or wish.sku_id != SKU_ID:
                raise NothingLeft
            self.left -= wish.quantity
            self.book[wish.reference] = a_sale(len(self.book) + 1, wish.reference, wish.quantity)
        return self.book[wish.reference]

    async def sale(self, partner: Partner, sale_id: int) -> Sale | None:
        return next((one for one in self.book.values() if one.id == sale_id), None)

    async def sale_of(self, partner: Partner, reference: str) -> Sale | None:
        return self.book.get(reference)

    async def goods(self, partner: Partner, sale: Sale) -> tuple[str, ...]:
        return tuple(f"{CODE}-{number}" for number in range(sale.quantity))


def a_sale(id: int, reference: str, quantity: int = 1) -> Sale:
    """An order of that partner, delivered."""
    now = clock.now()
    return Sale(
        id=id,
        ref=f"VTEST{id}",
        reference=reference,
        state=SaleState.DELIVERED,
        total=PRICE.times(quantity),
        refunded=Money(0, "CNY"),
        product_id=3,
        sku_id=SKU_ID,
        title={"en": "A month"},
        quantity=quantity,
        unit_price=PRICE,
        by_hand=False,
        created_at=now,
        delivered_at=now,
    )


class ChannelContract(Contract):
    """Derive, set ``plugin``, and write the calls a partner's program makes; ``other_side`` is that program."""

    def listing(self, partner: Partner) -> ChannelCall:
        """The signed call with which a partner asks what is on sale."""
        raise NotImplementedError

    def order(self, partner: Partner, reference: str, sku_id: int, quantity: int) -> ChannelCall:
        """The signed call with which it buys. Each has a new nonce or time, if the protocol wants one."""
        raise NotImplementedError

    def collecting(self, partner: Partner, sale: Sale) -> ChannelCall | None:
        """The signed call with which it gets its codes; None: they come with the answer to the order."""
        return None

    @pytest.fixture
    def channel(self, machine: Machine) -> Channel:
        found: Channel = self.the_one(machine.runtime.channels)
        return found

    @pytest.fixture
    def seller(self) -> Counter:
        self.known_secrets += [CODE, a_partner().secret.reveal()]
        return Counter(a_partner())

    async def _asked(self, channel: Channel, call: ChannelCall, seller: Seller) -> Answer:
        answer = await channel.answer(call, seller)
        assert isinstance(answer, Answer), f"{answer!r} is no answer"
        return answer

    def _reference(self) -> str:
        return f"test-{next(_numbers)}"

    async def test_it_has_a_name(self, channel: Channel) -> None:
        assert isinstance(channel, Channel) and channel.title.get("en")

    async def test_a_partner_sees_what_is_on_sale(self, channel: Channel, seller: Counter) -> None:
        answer = await self._asked(channel, self.listing(seller.known), seller)
        assert answer.status == 200 and (SKU_CODE.encode() in answer.body or str(SKU_ID).encode() in answer.body)

    async def test_a_partner_buys_and_gets_its_codes(self, channel: Channel, seller: Counter) -> None:
        reference = self._reference()
        answer = await self._asked(channel, self.order(seller.known, reference, SKU_ID, 2), seller)
        collecting = self.collecting(seller.known, seller.book[reference])
        if collecting is not None:
            answer = await self._asked(channel, collecting, seller)
        for number in range(2):
            assert f"{CODE}-{number}".encode() in answer.body
        assert [(one.reference, one.quantity) for one in seller.book.values()] == [(reference, 2)]

    async def test_the_same_reference_buys_once(self, channel: Channel, seller: Counter) -> None:
        reference = self._reference()
        for _ in range(2):
            answer = await self._asked(channel, self.order(seller.known, reference, SKU_ID, 1), seller)
            assert answer.status == 200
        assert list(seller.book) == [reference], "the partner's own reference must go into Wish.reference"

    async def test_an_altered_call_is_refused(self, channel: Channel, seller: Counter) -> None:
        for what, call in altered_call(lambda: self.order(seller.known, self._reference(), SKU_ID, 1)):
            await self._sells_nothing(channel, seller, what, call)

    async def test_a_call_with_another_secret_is_refused(self, channel: Channel, seller: Counter) -> None:
        for thief in (a_partner(secret=Secret("s-another-secret")), a_partner(api_key="k-fedcba9876543210")):
            call = self.order(thief, self._reference(), SKU_ID, 1)
            await self._sells_nothing(channel, seller, "signed by somebody else", call)

    async def test_garbage_is_refused(self, channel: Channel, seller: Counter) -> None:
        call = self.order(seller.known, self._reference(), SKU_ID, 1)
        for garbage in garbage_calls(call):
            await self._sells_nothing(channel, seller, f"garbage {garbage.body[:30]!r}", garbage)

    async def _sells_nothing(self, channel: Channel, seller: Counter, what: str, call: ChannelCall) -> None:
        before = dict(seller.book)
        try:
            answer = await channel.answer(call, seller)
            assert answer.status >= 400, f"{what}: it is answered with {answer.status}"
        except ForgedCall as refused:
            assert isinstance(refused.answer, Answer)
        except Exception as error:  # noqa: BLE001  whatever it is, the author must see it
            pytest.fail(f"{what}: it breaks the plugin instead of being refused ({error!r})")
        assert seller.book == before, f"{what}: it is believed"

    async def test_what_is_gone_is_a_clear_no(self, channel: Channel, seller: Counter) -> None:
        seller.left = 0
        answer = await self._asked(channel, self.order(seller.known, self._reference(), SKU_ID, 1), seller)
        assert seller.book == {} and CODE.encode() not in answer.body

    async def test_news_that_nobody_took_are_told_again(
        self, channel: Channel, machine: Machine, other_side: OtherSide
    ) -> None:
        self.known_secrets += [CODE]
        url = f"{other_side.address}/told"
        async for fault in self.lost_answers(machine, other_side, to_questions=True):
            sale = a_sale(1, self._reference())
            with fault:
                answer = await self.outcome(
                    channel.tell_sale(a_partner(), sale, (CODE,), url), PartnerUnavailable, HttpError, machine=machine
                )
            if fault.was_met and fault.fault not in ("garbage", "empty"):
                assert isinstance(answer, PartnerUnavailable | HttpError), f"{fault}: it takes that for a yes"
            assert CODE not in str(answer)

    @pytest.fixture
    async def other_side(self) -> AsyncIterator[Any]:
        """The partner's program. Without one, nothing is told to it."""
        async with OtherSide() as nobody:
            yield nobody
