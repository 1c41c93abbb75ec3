"""The counter: the order form, and paying."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any

import msgspec
from litestar import Response, get, post
from litestar.params import FromPath

from core import db
from core.catalog.buyer_fields import check_answers
from core.catalog.service import SkuFacts, sku_facts, words
from core.checkout import cart
from core.checkout.ask import ask_about
from core.checkout.cart import MOST_LINES
from core.checkout.check import check
from core.checkout.discounts import UsedUp
from core.checkout.place import (
    Buyer,
    Chosen,
    OrderedAlready,
    Placed,
    Prepare,
    Prepared,
    SoldOut,
    TooManyOpen,
    first_click,
    place,
)
from core.checkout.price import NotYetSeen, PriceRose, as_text, compare, with_codes
from core.crash_point import crash_point
from core.ids import new_token, token_hash
from core.jobs import ring
from core.ledger import customers
from core.money import Money
from core.orders import service as orders
from core.orders.contact import read_contact
from core.orders.gifts import read_gift
from core.orders.pages import at_its_shop
from core.payments import offer
from core.payments import service as payments
from core.people import sessions
from core.pricing.promote import FIELD, takes_codes
from core.pricing.quote import Item, LineRefused, Quote, quote
from core.pricing.quote import priced as priced_at_list
from core.refused import Refused
from core.shops import service as shops
from core.vault import stock
from core.web import limits
from core.web import visit as visits
from core.web.errors import FormError, NotFound
from core.web.flash import flash
from core.web.forms import Line, read_form, read_query
from core.web.i18n import _, html_lang
from core.web.qr import qr
from core.web.render import page, see_other
from core.web.request import AnyRequest, visit_of
from core.web.sessions import begin
from core.web.visit import Visit

MOST_ASKED = 1000


class Wanted(msgspec.Struct):
    """The link from a product page, from the cart (``item`` is ``SKU:2``) or from an order that is wanted again.

    The quantity is read as text, so that nonsense gets a clear answer.
    """

    sku: Line = ""
    quantity: Line = "1"
    item: list[Line] = []
    again: Line = ""
    coupon: Line = ""
    gift: bool = False


class OrderForm(msgspec.Struct):
    contact: Annotated[str, msgspec.Meta(max_length=254, extra={"strip": True})]
    key: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9_-]{8,100}$")]
    sku: Line = ""
    item: Annotated[list[Line], msgspec.Meta(max_length=MOST_LINES)] = []
    quantity: Annotated[int, msgspec.Meta(ge=1, le=MOST_ASKED)] = 1
    method: Line = ""
    coupon: Line = ""
    gift: bool = False
    gift_to: Line = ""
    gift_message: Annotated[str, msgspec.Meta(max_length=2000)] = ""
    gift_on: Line = ""
    seen: Line = ""
    """The total the buyer saw."""
    fields: dict[str, str] = {}


class TriedForm(msgspec.Struct):
    """The same form while a coupon code is tried or something is left out: nothing else in it need be right yet."""

    apply: Line = ""
    without: Line = ""
    sku: Line = ""
    item: list[Line] = []
    contact: Annotated[str, msgspec.Meta(max_length=254, extra={"strip": True})] = ""
    key: Line = ""
    quantity: Line = "1"
    method: Line = ""
    coupon: Line = ""
    gift: bool = False
    gift_to: Line = ""
    gift_message: str = ""
    gift_on: Line = ""
    seen: Line = ""
    fields: dict[str, str] = {}


@dataclass(frozen=True, slots=True)
class FormLine:
    """One of the things on the form. ``wrong`` is what keeps it from being ordered so."""

    sku: SkuFacts
    quantity: int
    prefix: str
    """How the names of its questions begin."""
    wrong: Any = None


# -- the form ---------------------------------------------------------------------------


@get("/checkout", opt={"who": "anyone", "session": True, "repeats": ("item",)})
async def form(request: AnyRequest) -> Response[Any]:
    visit = visit_of(request)
    wanted = read_query(request, Wanted)
    kept: dict[str, Any] = {
        "sku": wanted.sku,
        "quantity": wanted.quantity,
        "item": wanted.item,
        FIELD: wanted.coupon,
        "gift": wanted.gift,
    }
    token = None
    if visit.session is not None:
        kept["contact"] = await orders.last_contact(visit.session.id_hash)
        kept |= await _as_before(visit, wanted)
    elif not await sessions.is_promised(visit.cookie):
        token = visit.cookie = await sessions.promise()
    response = await _form(request, kept, {})
    return begin(response, token, max_age=sessions.BUYER_SECONDS) if token else response


async def _as_before(visit: Visit, wanted: Wanted) -> dict[str, Any]:
    """What an own order that is wanted again said: its things, unless the link names one, and their answers."""
    order = await orders.for_session(wanted.again, visit.session.id_hash) if wanted.again else None
    if order is None:
        return {}
    lines = order["lines"]
    kept: dict[str, Any] = {"contact": order["contact"]}
    if not wanted.sku and not wanted.item:
        kept["item"] = [f"{line['sku_code']}:{line['quantity']}" for line in lines]
    facts = await sku_facts(visit.shop.id, [line["sku_code"] for line in lines])
    kept["fields"] = {
        f"{_prefix(facts[line['sku_code']], in_list=not wanted.sku)}{key}".removeprefix("field_"): answer
        for line in lines
        if line["sku_code"] in facts
        for key, answer in line["fields"].items()
    }
    return kept


async def _form(
    request: AnyRequest, kept: dict[str, Any], errors: dict[str, Any], status: int = 200, refused: Refused | None = None
) -> Response[Any]:
    """The order form as it was filled in, with what is wrong in it."""
    visit = visit_of(request)
    wanted = [one for one in _wanted(kept) if one[0] != kept.get("without")]
    facts = await sku_facts(visit.shop.id, [code for code, _quantity in wanted])
    gone = [code for code, _quantity in wanted if code not in facts or not facts[code].on_sale]
    in_list = bool(kept.get("item"))
    lines = _lines([one for one in wanted if one[0] not in gone], facts, in_list, refused)
    if not lines:
        sku = facts.get(wanted[0][0]) if wanted else None
        return page(request, "checkout/gone.html", {"sku": sku}, status=404)
    wrong = None if in_list else lines[0].wrong
    if wrong and "quantity" not in errors:
        errors = {**errors, "quantity": wrong}
        status = max(status, 422)
    priced, not_good = await _price(visit, priced_at_list([(line.sku, line.quantity) for line in lines]), kept)
    if not_good:
        errors = {FIELD: not_good, **errors}
        status = max(status, 422)
    total = priced.total
    payers = await _payers(visit, total)
    if payers:
        kept = {**kept, "contact": kept.get("contact") or payers[0]}
    sold_out = refused is None and not in_list and await _is_sold_out(lines[0].sku)
    context = {
        "lines": lines,
        "in_list": in_list,
        "wanted": _as_link(lines, in_list),
        "left_out": [words(facts[code].product_title, visit.locale) if code in facts else code for code in gone],
        "sku": lines[0].sku,
        "quantity": lines[0].quantity,
        "priced": priced,
        "total": total,
        "seen": as_text(total),
        "takes_codes": takes_codes(visit.shop.id),
        "offers": offer.offers(visit.shop.id, total.currency, visit.shop.test_mode, bool(payers)),
        "kept": kept,
        "answers": kept.get("fields") or {},
        "errors": errors,
        "notice": _notice(refused, in_list) if refused else _("Sold out at the moment.") if sold_out else "",
        "notice_kind": "info" if isinstance(refused, NotYetSeen) else "error",
        "help": "product" if sold_out else _help(refused) if not in_list or _is_of_orders(refused) else "",
        "words": lambda texts: words(texts, visit.locale),
    }
    return page(request, "checkout/form.html", context, status=status)


def _wanted(kept: dict[str, Any]) -> list[tuple[str, str]]:
    """The SKU codes on the form, each once, and how many of it as they were given."""
    items = kept.get("item")
    if not items:
        return [(str(kept.get("sku", "")), str(kept.get("quantity", "1")))]
    found: dict[str, str] = {}
    for one in [items] if isinstance(items, str) else items[:MOST_LINES]:
        code, _colon, quantity = str(one).rpartition(":")
        found.setdefault(code, quantity)
    return list(found.items())


def _lines(
    wanted: list[tuple[str, str]], facts: dict[str, SkuFacts], in_list: bool, refused: Refused | None
) -> list[FormLine]:
    troubled = refused.skus if in_list and isinstance(refused, LineRefused) else ()
    found = []
    for code, given in wanted:
        sku = facts[code]
        quantity, wrong = _quantity(given, sku.min_per_order, sku.max_per_order)
        if refused and code in troubled:
            wrong = refused.text
        found.append(FormLine(sku, quantity, _prefix(sku, in_list), wrong))
    return found


def _as_link(lines: list[FormLine], in_list: bool) -> dict[str, Any]:
    """The query of a link to a form with these things."""
    if in_list:
        return {"item": [f"{line.sku.code}:{line.quantity}" for line in lines]}
    return {"sku": lines[0].sku.code, "quantity": lines[0].quantity}


async def _is_sold_out(sku: SkuFacts) -> bool:
    """Told before the form is filled in: links to it are kept, and orders are placed again."""
    if sku.source != "codes":
        return False
    return (await stock.free_counts([sku.id])).get(sku.id, 0) < sku.min_per_order


def _prefix(sku: SkuFacts, in_list: bool) -> str:
    """How the names of the questions of a SKU begin, on the form of that one or in a list of several."""
    return f"field_{sku.id}_" if in_list else "field_"


def _notice(refused: Refused, in_list: bool) -> Any:
    if isinstance(refused, SoldOut) and in_list:
        return _("Some of it was sold out just now. Nothing was ordered, and you have not been charged.")
    return refused.text


def _help(refused: Refused | None) -> str:
    """Where to go from a refusal."""
    if refused is None or isinstance(refused, PriceRose | NotYetSeen | UsedUp):
        return ""
    return "orders" if _is_of_orders(refused) else "product"


def _is_of_orders(refused: Refused | None) -> bool:
    return isinstance(refused, TooManyOpen | OrderedAlready)


async def _price(visit: Visit, priced: Quote, kept: dict[str, Any]) -> tuple[Quote, Any]:
    """With its discounts, and what is wrong with the entered codes; then they count for nothing."""
    try:
        _kind, contact = read_contact(str(kept.get("contact") or ""))
    except Refused:
        contact = ""
    who = {"contact": contact, "locale": html_lang(visit.locale), "ip": visit.ip}
    try:
        return await with_codes(visit.shop, priced, str(kept.get(FIELD) or ""), **who), None
    except Refused as refused:
        return await with_codes(visit.shop, priced, "", **who), refused.text


async def _payers(visit: Visit, total: Money) -> list[str]:
    """Whose balance this visitor may pay such a sum from."""
    if visit.session is None or not offer.balance_is_taken(visit.shop.id):
        return []
    return await customers.payers(visit.shop.id, visit.session.id_hash, total)


def _quantity(given: Any, least: int, most: int) -> tuple[int, Any]:
    """A usable quantity, and what was wrong with the one given."""
    text = str(given).strip()
    number = int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 0
    if least <= number <= most:
        return number, None
    return least, _("Choose a quantity from %(least)d to %(most)d.", least=least, most=most)


# -- placing the order ------------------------------------------------------------------


@post("/checkout", opt={"who": "anyone", "max_body": 65_536, "repeats": ("item",)})
async def submit(request: AnyRequest) -> Response[Any]:
    kept: dict[str, Any] = {}
    try:
        if _is_no_order_yet(request):
            tried = await read_form(request, TriedForm, gather={"fields": "field_"})
            return await _form(request, msgspec.structs.asdict(tried), {})
        sent = await read_form(request, OrderForm, gather={"fields": "field_"})
        kept = msgspec.structs.asdict(sent)
        placed, token = await _place(request, sent)
    except FormError as error:
        return await _form(request, error.kept, error.fields, 422)
    except Refused as refused:
        if isinstance(refused, NotYetSeen):
            return await _form(request, kept, {}, 200, refused)
        if isinstance(refused, OrderedAlready):
            return await _form(request, {**kept, "key": ""}, {}, 409, refused)
        status = 409 if isinstance(refused, SoldOut | TooManyOpen | PriceRose | UsedUp) else 422
        of_several = isinstance(refused, LineRefused) and bool(kept["item"])
        if refused.field and not isinstance(refused, SoldOut) and not of_several:
            return await _form(request, kept, {refused.field: refused.text}, status)
        return await _form(request, kept, {}, status, refused)
    response = see_other(f"/o/{placed.ref}")
    return begin(response, token, max_age=sessions.BUYER_SECONDS) if token else response


def _is_no_order_yet(request: AnyRequest) -> bool:
    form = request.scope["state"].get("form")
    return form is not None and (form.first("apply") or form.first("without")) != ""


async def _place(request: AnyRequest, sent: OrderForm) -> tuple[Placed, str | None]:
    visit = visit_of(request)
    at_list = await quote(visit.shop.id, _items(sent))
    answers = _answers(at_list, sent.fields, bool(sent.item), visit.locale)
    kind, contact = read_contact(sent.contact)
    gift = read_gift(sent.gift_to, sent.gift_message, sent.gift_on, visit.shop.timezone) if sent.gift else None
    token = None if visit.session else await _token(visit)
    buyer = Buyer(
        contact_kind=kind,
        contact=contact,
        session_hash=token_hash(token) if token else visit.session.id_hash,
        session_is_new=token is not None,
        ip=visit.ip,
        agent=visit.agent,
        locale=html_lang(visit.locale),
    )
    try:
        priced = await with_codes(visit.shop, at_list, sent.coupon, contact=contact, locale=buyer.locale, ip=visit.ip)
        compare(sent.seen, priced, visit.locale)
    except Refused:
        # The second click of an order that was placed: it has used the code that is used up now.
        first = await first_click(visit.shop, at_list, answers, buyer, sent.key, gift)
        if first is None:
            raise
        return first, None
    if gift and gift.recipient and not priced.total.amount:
        await _count_free_gift(visit.ip)
    way = await _way(visit, priced, sent.method, contact)
    verdict = await check(visit.shop, priced, buyer, answers, sent.key)
    choice = Chosen("", {}, "", visit.shop.test_mode) if way is None else _choice(request, way, priced, buyer)
    placed = await place(visit.shop, priced, answers, buyer, choice, sent.key, verdict, gift)
    if way is not None and placed.is_new and not placed.started:
        await _start(request, way.method, placed.attempt_ref, buyer.session_hash)
    await ring(*placed.jobs)
    if sent.item and placed.is_new:
        await cart.ordered(buyer.session_hash, priced)
    crash_point("checkout.started")
    return placed, token if placed.is_new else None


async def _count_free_gift(ip: str) -> None:
    """What costs nothing must not carry any number of messages to strangers.

    :raises Refused: too many within an hour.
    """
    if not await limits.below("free-gift", ip):
        raise Refused(_("Those were many gifts for an hour. Pass the link on yourself, or wait a while."), "gift_to")


def _items(sent: OrderForm) -> list[Item]:
    if not sent.item:
        return [Item(sent.sku, sent.quantity)]
    # what is no number is out of every limit
    return [
        Item(code, int(given) if given.isascii() and given.isdigit() and len(given) < 6 else 0)
        for code, given in _wanted({"item": sent.item})
    ]


def _answers(at_list: Quote, sent: dict[str, str], in_list: bool, locale: str) -> dict[str, dict[str, str]]:
    """By the code of each SKU, what was answered to its questions.

    :raises Refused: at the field of the question.
    """
    found, left = {}, dict(sent)
    for line in at_list.lines:
        prefix = _prefix(line.sku, in_list)
        given = {
            field.key: left.pop(name, "")
            for field in line.sku.buyer_fields
            for name in [(prefix + field.key).removeprefix("field_")]
        }
        found[line.sku.code] = check_answers(line.sku.buyer_fields, given, locale, prefix)
    if left:
        raise Refused(_("This form has changed. Reload the page and try again."))
    return found


async def _way(visit: Visit, priced: Quote, method: str, contact: str) -> offer.Offer | None:
    """How the buyer pays; None when there is nothing to pay."""
    if not priced.total.amount:
        return None
    # only who wants to pay so is looked up: an ordinary sale waits for nothing more
    payers = await _payers(visit, priced.total) if offer.takes_balance(method) else []
    way = offer.chosen(method, offer.offers(visit.shop.id, priced.total.currency, visit.shop.test_mode, bool(payers)))
    if way.method.from_balance and contact not in payers:
        raise Refused(_("To pay from your balance, order with the e-mail address it belongs to."), "contact")
    return way


def _choice(request: AnyRequest, way: offer.Offer, priced: Quote, buyer: Buyer) -> Chosen:
    return Chosen(
        way.method.key,
        payments.label(way.method, way.option),
        way.option,
        way.method.test_only,
        _preparing(request, way, priced, buyer) if way.method.starts_here else None,
    )


async def _token(visit: Visit) -> str:
    """The session that begins with this order: the one the form was given, so that a second click is the same buyer."""
    return visit.cookie if visit.cookie and await sessions.is_promised(visit.cookie) else new_token()


def _preparing(request: AnyRequest, way: offer.Offer, priced: Quote, buyer: Buyer) -> Prepare:
    """How the first attempt begins when nobody has to be called for it."""
    base_url = request.app.state.config.base_url
    shop_address = shops.address(visit_of(request).shop.host, base_url)

    async def prepare(ref: str, now: datetime, expires_at: datetime) -> Prepared | None:
        attempt = payments.view(
            ref=f"{ref}-1",
            order_ref=ref,
            method=way.method.key,
            amount=priced.total,
            title=priced.lines[0].sku.product_title,
            option=way.option,
            locale=buyer.locale,
            ip=buyer.ip,
            agent=buyer.agent,
            base_url=base_url,
            shop_address=shop_address,
            created_at=now,
            expires_at=expires_at,
        )
        started = await payments.try_start(way.method, attempt)
        if isinstance(started, str):
            return None  # tried again, and written down, after the order is placed
        return Prepared(payments.step_to_json(started.step), payments.next_query_time(way.method, now, 0))

    return prepare


async def _start(request: AnyRequest, method: Any, attempt_ref: str, session_hash: bytes) -> None:
    attempt = await payments.load_attempt(attempt_ref, request.app.state.config.base_url)
    if attempt is None:
        return
    error = await payments.start(method, attempt, session_hash)
    if not error and payments.asked_at_once(method):
        await ask_about(attempt)


# -- paying -----------------------------------------------------------------------------


class PayForm(msgspec.Struct):
    method: Line = ""


@post("/o/{ref:str}/pay", opt={"who": "buyer", "max_body": 4096})
async def pay(request: AnyRequest, ref: FromPath[str]) -> Response[Any]:
    """Another way to pay, or another try: a further attempt for the same order."""
    visit = visit_of(request)
    sent = await read_form(request, PayForm)
    order = await orders.for_session(ref, visit.session.id_hash)
    if order is None:
        raise NotFound()
    await at_its_shop(visit, order)
    try:
        total = Money(order["total"], order["currency"])
        payers = await _payers(visit, total) if offer.takes_balance(sent.method) else []
        may_use_balance = order["contact"] in payers
        shop = visit.shop
        offered = offer.offers_for_order(shop.id, total.currency, order["test"], shop.test_mode, may_use_balance)
        way = offer.chosen(sent.method, offered)
        attempt_ref = await db.transaction(payments.begin, order["id"], way.method, way.option)
    except Refused as refused:
        return flash(see_other(f"/o/{ref}"), refused.text, "error")
    await _start(request, way.method, attempt_ref, visit.session.id_hash)
    return see_other(f"/o/{ref}")


def pay_panel(order: Any) -> tuple[str, dict[str, Any]] | None:
    """Fills the place for paying on the page of an unpaid order, or of one that was paid too little."""
    if order.payment_state != "unpaid" and order.missing is None:
        return None
    visit = visits.current()
    if visit is None:
        return None
    locale = visit.locale
    attempt = order.attempts[-1] if order.attempts else None
    started = attempt["started"] if attempt and attempt["state"] in ("created", "waiting") else None
    from_balance = order.from_balance and not order.missing
    return "checkout/_pay.html", {
        "order": order,
        "attempt": attempt,
        "step": started,
        "outside": _opens_outside(visit, attempt) if started else "",
        "offers": offer.offers_for_order(
            visit.shop.id, order.total.currency, order.test, visit.shop.test_mode, from_balance
        ),
        "balance_is_taken": offer.balance_is_taken(visit.shop.id)
        and not order.test
        and not order.missing
        and not from_balance,
        "words": lambda texts: words(texts, locale),
        "qr": qr,
    }


def _opens_outside(visit: Visit, attempt: dict[str, Any]) -> bool:
    """Whether the way to pay may not open here: WeChat's browser lets through hardly any but its own."""
    own = any(part in f"{attempt['method']}:{attempt['option']}".lower() for part in ("wx", "wechat", "weixin"))
    return "MicroMessenger" in visit.agent and not own


routes = [form, submit, pay]
