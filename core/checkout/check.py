"""Asks the guards and the risk rules of all plugins about an order before anything of it is stored."""

from __future__ import annotations

from core.catalog.service import words
from core.checkout.place import Answers, Buyer, placed_before
from core.hooks import runtime
from core.hooks.views import LineToCheck, OrderToCheck
from core.orders.history import History, network_of, telling_address
from core.pricing.quote import Quote
from core.refused import Refused
from core.review import assess
from core.review.assess import NOTHING_FOUND, Decision, Verdict
from core.shops.service import Shop
from core.web import limits
from core.web.i18n import _


class NotTrusted(Refused):
    """The risk rules refuse this order. The buyer is not told which one, or what it saw."""

    def __init__(self) -> None:
        super().__init__(_("We cannot take this order. You have not been charged. Please ask the shop."))


async def check(shop: Shop, quote: Quote, buyer: Buyer, answers: Answers, key: str) -> Verdict:
    """What the rules found, to be stored with the order.

    :raises Refusal: a guard says no, with the text for the buyer.
    :raises NotTrusted: the risk rules say no.
    """
    order = _order(shop, quote, buyer, answers)
    try:
        await runtime.current().ask("check_order", shop.id, order=order)
        verdict = await assess.assess(order, shop)
        if verdict.decision is Decision.REFUSE:
            raise NotTrusted
        return verdict
    except Refused as refused:
        # The second click of an order that was placed: guards count the first one already.
        if await placed_before(shop, buyer, key):
            return NOTHING_FOUND
        if isinstance(refused, NotTrusted) and await limits.below("not-trusted", buyer.ip):
            await assess.keep_refused(shop.id, key, order, verdict)
        raise


def _order(shop: Shop, quote: Quote, buyer: Buyer, answers: Answers) -> OrderToCheck:
    ip = telling_address(buyer.ip)
    return OrderToCheck(
        contact=buyer.contact,
        contact_kind=buyer.contact_kind,
        ip=ip,
        agent=buyer.agent,
        locale=buyer.locale,
        total=quote.total,
        lines=tuple(
            LineToCheck(
                sku_code=line.sku.code,
                product_title=words(line.sku.product_title, buyer.locale),
                quantity=line.quantity,
                unit_price=line.unit_price,
                total=line.total,
                face_value=line.sku.price,
            )
            for line in quote.lines
        ),
        answers=_together(answers),
        history=History(shop.id, buyer.contact, ip, buyer.session_hash, quote.total.currency),
        network=network_of(ip),
        device=buyer.session_hash.hex()[:32],
    )


def _together(answers: Answers) -> dict[str, str]:
    """What was answered to a question that several goods ask stands one below the other."""
    found: dict[str, list[str]] = {}
    for one in answers.values():
        for key, answer in one.items():
            found.setdefault(key, []).append(answer)
    return {key: "\n".join(dict.fromkeys(given)) for key, given in found.items()}
