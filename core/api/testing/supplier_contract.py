"""What every supplier plugin must keep, whatever its supplier does."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import pytest

from core import clock
from core.api import (
    AboveCap,
    CallbackRequest,
    Delivers,
    Money,
    NotSent,
    Offer,
    OfferNews,
    OutOfStock,
    Purchase,
    PurchaseAnswer,
    PurchaseNews,
    PurchaseState,
    Supplier,
    SupplierRefused,
    SupplierUnavailable,
)
from core.api.testing.contract import CallbackContract, OtherSide
from core.api.testing.machine import BASE_URL, Machine

_numbers = itertools.count(1)


class FakeSupplier(OtherSide):
    """A supplier that speaks your protocol and keeps its own book of what it sold.

    ``item`` is something it sells as codes, ``top_up`` something it puts on an account, with ``account`` as the
    buyer's answers; leave out what it does not sell. ``asks`` says whether it can be asked about a purchase by our
    reference, ``price`` what one piece of either costs.
    """

    item: ClassVar[str] = ""
    top_up: ClassVar[str] = ""
    account: ClassVar[Mapping[str, str]] = {}
    asks: ClassVar[bool] = True
    price: ClassVar[Money] = Money(1000, "CNY")

    def sales(self, ref: str) -> int:
        """How often it sold under this reference of ours."""
        raise NotImplementedError

    def in_all(self) -> int | None:
        """How many sales stand in its book, whatever their reference; None: it does not say."""
        return None

    def sell_out(self) -> None:
        """From now on it has nothing left of anything."""
        raise NotImplementedError

    def raise_prices(self) -> None:
        """From now on everything costs twice as much."""
        raise NotImplementedError

    async def finish(self, ref: str) -> None:
        """An order it took but had not finished is finished now."""

    async def callback(self, purchase: Purchase) -> CallbackRequest | None:
        """The call with which it tells the shop of a finished purchase, exactly as it comes over the line; None: it
        has none."""
        return None


@dataclass
class Kept:
    """What the plugin handed to ``purchase.keep``."""

    answers: list[bytes] = field(default_factory=list)

    async def __call__(self, raw: bytes) -> None:
        assert isinstance(raw, bytes), "keep takes the answer as it came: bytes"
        self.answers.append(raw)


class SupplierContract(CallbackContract):
    """Derive, set ``plugin``, and override ``other_side`` with your :class:`FakeSupplier`."""

    @pytest.fixture
    async def other_side(self) -> AsyncIterator[Any]:
        raise NotImplementedError("override other_side with your FakeSupplier")
        yield

    @pytest.fixture
    def supplier(self, machine: Machine) -> Supplier:
        found: Supplier = self.the_one(machine.runtime.suppliers)
        return found

    def purchase(self, other_side: FakeSupplier, quantity: int = 1, **changes: Any) -> Purchase:
        """One thing to buy, under a reference of its own."""
        cards = bool(other_side.item)
        facts: dict[str, Any] = {
            "ref": f"VTEST{next(_numbers)}-P1",
            "item": other_side.item if cards else other_side.top_up,
            "quantity": quantity,
            "price_cap": other_side.price.times(quantity),
            "account": {} if cards else other_side.account,
            "callback_url": f"{BASE_URL}/supply/test/notify",
            "created_at": clock.now(),
            "keep": Kept(),
        }
        return Purchase(**{**facts, **changes})

    async def _ended(self, supplier: Supplier, other_side: FakeSupplier, purchase: Purchase) -> Any:
        """Buy and, where the supplier takes its time, let it finish and ask."""
        answer: PurchaseAnswer | None = await supplier.purchase(purchase)
        if isinstance(answer, PurchaseAnswer) and answer.state is PurchaseState.WAITING:
            await other_side.finish(purchase.ref)
            answer = await supplier.query(purchase)
        return answer

    def _check_goods(self, answer: Any, purchase: Purchase, offer_is_codes: bool) -> None:
        assert isinstance(answer, PurchaseAnswer), f"{answer!r} is no answer"
        assert answer.state is PurchaseState.DONE, f"{answer.state}: {answer.text}"
        if not offer_is_codes:
            assert answer.goods == ()
            return
        codes = [good.code for good in answer.goods]
        assert len(codes) == purchase.quantity == len(set(codes)), f"{len(set(codes))} codes for {purchase.quantity}"
        assert all(codes), "an empty code"
        kept = purchase.keep.answers  # type: ignore[attr-defined]
        assert kept, "an answer with codes must be handed to purchase.keep before it is read"
        self.known_secrets += codes

    def _sold_once(self, other_side: FakeSupplier, purchase: Purchase) -> None:
        sales = other_side.sales(purchase.ref)
        assert sales == 1, f"the supplier sold {sales} times under one reference"

    # -- what it sells ------------------------------------------------------------------

    async def test_its_catalogue_comes_to_an_end_and_can_be_stored(
        self, supplier: Supplier, other_side: FakeSupplier
    ) -> None:
        assert supplier.title.get("en"), "title needs at least a text for en"
        offers = await self._catalogue(supplier)
        items = [offer.item for offer in offers]
        assert len(items) == len(set(items)), "an item comes twice"
        assert {other_side.item, other_side.top_up} - {""} <= set(items)
        for offer in offers:
            assert 1 <= len(offer.item) <= 100 and offer.title, f"{offer} cannot be stored"
            assert offer.cost is None or offer.cost.amount >= 0, f"{offer}"
            assert offer.stock is None or offer.stock >= 0, f"{offer}"
            assert 1 <= offer.least and (offer.most is None or offer.most >= offer.least), f"{offer}"

    async def _catalogue(self, supplier: Supplier) -> list[Offer]:
        offers: list[Offer] = []
        start: str | None = None
        for _ in range(100):
            part = await supplier.catalogue(start)
            offers += part.offers
            start = part.next
            if start is None:
                return offers
        pytest.fail("its catalogue has no end")

    async def test_it_tells_price_and_stock_of_what_is_asked_for(
        self, supplier: Supplier, other_side: FakeSupplier
    ) -> None:
        for item, delivers in ((other_side.item, Delivers.CODES), (other_side.top_up, Delivers.TOP_UP)):
            if item:
                found = await supplier.offers((item, "no-such-item"))
                assert set(found) == {item, "no-such-item"} and found["no-such-item"] is None
                offer = found[item]
                assert offer is not None
                assert (offer.item, offer.cost, offer.delivers) == (item, other_side.price, delivers)

    async def test_its_balance_is_money_or_not_told(self, supplier: Supplier) -> None:
        assert isinstance(await supplier.balance(), Money | None)

    async def test_an_unusable_answer_to_a_question_says_nothing(
        self, supplier: Supplier, machine: Machine, other_side: FakeSupplier
    ) -> None:
        purchase = self.purchase(other_side)
        await supplier.purchase(purchase)
        item = other_side.item or other_side.top_up
        questions: dict[str, Callable[[], Awaitable[Any]]] = {
            "catalogue": lambda: supplier.catalogue(None),
            "offers": lambda: supplier.offers((item,)),
            "balance": supplier.balance,
            "query": lambda: supplier.query(purchase),
        }
        async for fault in self.lost_answers(machine, other_side, to_questions=True):
            for name, ask in questions.items():
                if name == "query" and not other_side.asks:
                    continue
                with fault:
                    answer = await self.outcome(ask(), SupplierUnavailable, machine=machine)
                if fault.was_met:
                    assert isinstance(answer, SupplierUnavailable), f"{name}, {fault}: it makes {answer!r} of it"

    # -- buying -------------------------------------------------------------------------

    @pytest.mark.parametrize("quantity", [1, 2])
    async def test_a_purchase_brings_what_was_bought(
        self, supplier: Supplier, other_side: FakeSupplier, quantity: int
    ) -> None:
        if not other_side.item:
            return
        purchase = self.purchase(other_side, quantity)
        answer = await self._ended(supplier, other_side, purchase)
        self._check_goods(answer, purchase, True)
        assert answer.cost is None or answer.cost == other_side.price.times(quantity)
        self._sold_once(other_side, purchase)

    async def test_a_top_up_arrives(self, supplier: Supplier, other_side: FakeSupplier) -> None:
        if not other_side.top_up:
            return
        purchase = self.purchase(other_side, item=other_side.top_up, account=other_side.account)
        self._check_goods(await self._ended(supplier, other_side, purchase), purchase, False)
        self._sold_once(other_side, purchase)

    async def test_the_same_reference_buys_once(
        self, supplier: Supplier, machine: Machine, other_side: FakeSupplier
    ) -> None:
        purchase = self.purchase(other_side)
        await supplier.purchase(purchase)
        again = await self.outcome(supplier.purchase(purchase), SupplierUnavailable, machine=machine)
        assert not (isinstance(again, PurchaseAnswer) and again.state is PurchaseState.FAILED)
        self._sold_once(other_side, purchase)

    async def test_two_references_buy_twice(self, supplier: Supplier, other_side: FakeSupplier) -> None:
        one, two = self.purchase(other_side), self.purchase(other_side)
        for purchase in (one, two):
            await supplier.purchase(purchase)
            self._sold_once(other_side, purchase)

    async def test_a_purchase_without_a_usable_answer_is_not_known_and_not_bought_again(
        self, supplier: Supplier, machine: Machine, other_side: FakeSupplier
    ) -> None:
        async for fault in self.lost_answers(machine, other_side):
            purchase = self.purchase(other_side)
            before = other_side.in_all() or 0
            with fault:
                answer = await self.outcome(supplier.purchase(purchase), SupplierUnavailable, NotSent, machine=machine)
            sold = max(other_side.sales(purchase.ref), (other_side.in_all() or 0) - before)
            assert sold <= (1 if fault.acts else 0), f"{fault}: one purchase was bought {sold} times"
            waits = isinstance(answer, PurchaseAnswer) and answer.state is PurchaseState.WAITING
            # who asks something else first may know for certain that the order was never sent
            never_sent = isinstance(answer, NotSent) and not sold
            if fault.was_met:
                told = waits or never_sent or isinstance(answer, SupplierUnavailable)
                assert told, f"{fault}: it makes {answer!r} of it"
            if other_side.asks:
                await self._ask_about(supplier, machine, other_side, purchase, str(fault))

    async def _ask_about(
        self, supplier: Supplier, machine: Machine, other_side: FakeSupplier, purchase: Purchase, fault: str
    ) -> None:
        """After a lost answer: what was sold is found and nothing is sold once more."""
        sold = other_side.sales(purchase.ref)
        if sold:
            await other_side.finish(purchase.ref)
        found = await supplier.query(purchase)
        if sold:
            assert found is not None, f"{fault}: it was sold, but asking does not find it"
            self._check_goods(found, purchase, bool(other_side.item))
        else:
            assert found is None or found.state is not PurchaseState.DONE, f"{fault}: nothing was sold"
            assert await self._ended(supplier, other_side, purchase) is not None
        self._sold_once(other_side, purchase)

    async def test_a_purchase_that_reaches_nobody(
        self, supplier: Supplier, machine: Machine, other_side: FakeSupplier
    ) -> None:
        purchase = self.purchase(other_side)
        await other_side.down()
        answer = await self.outcome(supplier.purchase(purchase), NotSent, SupplierUnavailable, machine=machine)
        assert isinstance(answer, NotSent | SupplierUnavailable)
        machine.forget_failures()
        await other_side.up()
        await supplier.purchase(purchase)
        self._sold_once(other_side, purchase)

    async def test_nothing_is_bought_above_the_price_cap(
        self, supplier: Supplier, machine: Machine, other_side: FakeSupplier
    ) -> None:
        purchase = self.purchase(other_side)
        other_side.raise_prices()
        answer = await self.outcome(supplier.purchase(purchase), AboveCap, SupplierRefused, machine=machine)
        failed = isinstance(answer, PurchaseAnswer) and answer.state is PurchaseState.FAILED
        assert failed or isinstance(answer, SupplierRefused), f"it answers {answer!r} to a price above the cap"
        assert other_side.sales(purchase.ref) == 0

    async def test_sold_out_is_a_clear_no(self, supplier: Supplier, machine: Machine, other_side: FakeSupplier) -> None:
        purchase = self.purchase(other_side)
        other_side.sell_out()
        answer = await self.outcome(
            self._ended(supplier, other_side, purchase), OutOfStock, SupplierRefused, machine=machine
        )
        failed = isinstance(answer, PurchaseAnswer) and answer.state is PurchaseState.FAILED
        assert failed or isinstance(answer, SupplierRefused), f"it answers {answer!r} when nothing is left"
        assert other_side.sales(purchase.ref) == 0

    async def test_what_was_never_bought_is_not_found(
        self, supplier: Supplier, machine: Machine, other_side: FakeSupplier
    ) -> None:
        found = await self.outcome(supplier.query(self.purchase(other_side)), SupplierRefused, machine=machine)
        assert found is None if other_side.asks else isinstance(found, SupplierRefused)

    async def test_another_merchants_key_buys_nothing(self, other_side: FakeSupplier, pool: None) -> None:
        async with self.in_another_shop(other_side) as stranger:
            if not stranger.secrets():
                return
            supplier = self.the_one(stranger.runtime.suppliers)
            no = (SupplierRefused, SupplierUnavailable)
            assert isinstance(await self.outcome(supplier.catalogue(None), *no, machine=stranger), no)
            purchase = self.purchase(other_side)
            answer = await self.outcome(supplier.purchase(purchase), *no, machine=stranger)
            assert isinstance(answer, no)
            assert other_side.sales(purchase.ref) == 0

    # -- what it hears ------------------------------------------------------------------

    async def _called(self, supplier: Supplier, other_side: FakeSupplier) -> tuple[Purchase, CallbackRequest | None]:
        purchase = self.purchase(other_side)
        await self._ended(supplier, other_side, purchase)
        return purchase, await other_side.callback(purchase)

    async def test_a_true_callback_names_the_purchase(self, supplier: Supplier, other_side: FakeSupplier) -> None:
        purchase, call = await self._called(supplier, other_side)
        if call is None:
            return
        news = await self.check_callback(supplier.parse_callback, call)
        assert isinstance(news, PurchaseNews | OfferNews), f"{news!r} tells nothing"
        if isinstance(news, PurchaseNews):
            assert news.ref == purchase.ref
            if news.answer is not None and news.answer.state is PurchaseState.DONE:
                assert len(news.answer.goods) in (0, purchase.quantity)

    async def test_an_altered_callback_is_refused(self, supplier: Supplier, other_side: FakeSupplier) -> None:
        _purchase, call = await self._called(supplier, other_side)
        if call is not None:
            await self.check_forgeries(supplier.parse_callback, call, await supplier.parse_callback(call))

    async def test_a_callback_for_another_merchant_is_refused(
        self, supplier: Supplier, other_side: FakeSupplier
    ) -> None:
        _purchase, call = await self._called(supplier, other_side)
        if call is None:
            return
        async with self.in_another_shop(other_side) as stranger:
            await self.check_strangers_key(self.the_one(stranger.runtime.suppliers).parse_callback, call)

    async def test_garbage_is_refused(self, supplier: Supplier) -> None:
        await self.check_garbage(supplier.parse_callback)
