"""The buyer's balance: what is there and how it changed, for whoever has shown that the e-mail address is theirs."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from litestar import Response, get, post

from core import db
from core.balances import MAIL_LINK, cards
from core.jobs import enqueue, ring
from core.ledger import chart, customers
from core.orders import new_session
from core.payments import offer
from core.people import contact_proof, sessions
from core.people.email import read_email
from core.redemption.redeem import RequestReused, Till
from core.refused import Refused
from core.web import limits
from core.web import visit as visits
from core.web.errors import FormError
from core.web.flash import flash
from core.web.forms import Line, read_form
from core.web.i18n import _, html_lang
from core.web.render import page, see_other
from core.web.request import AnyRequest, visit_of
from core.web.sessions import begin
from core.web.visit import Visit

SHOWN = 100


@get("/balance", opt={"who": "anyone", "session": True})
async def balance(request: AnyRequest) -> Response[Any]:
    return await _mine(request)


async def _mine(request: AnyRequest, errors: dict[str, Any] | None = None, status: int = 200) -> Response[Any]:
    visit = visit_of(request)
    contacts = await contact_proof.proven(visit.shop.id, visit.session.id_hash) if visit.session else []
    if not contacts:
        return _door(request, {}, {})
    balances = [one for contact in contacts for one in await customers.of_contact(visit.shop.id, contact)]
    context = {
        "contacts": contacts,
        "pairs": [(contact, contact) for contact in contacts],
        "balances": [(one, await customers.history(one, SHOWN)) for one in balances],
        "kinds": chart.KINDS,
        "errors": errors or {},
    }
    return page(request, "balances/mine.html", context, status=status)


def _door(request: AnyRequest, kept: dict[str, Any], errors: dict[str, Any], status: int = 200) -> Response[Any]:
    return page(request, "balances/door.html", {"kept": kept, "errors": errors}, status=status)


def way_in(_subject: None) -> tuple[str, dict[str, Any]] | None:
    """The link under the search for orders, where the shop takes balances."""
    visit = visits.current()
    return ("balances/_way_in.html", {}) if visit and offer.balance_is_taken(visit.shop.id) else None


class Ask(msgspec.Struct):
    contact: Line


@post("/balance/link", opt={"who": "anyone", "limit": "lookup", "max_body": 4096})
async def ask_for_link(request: AnyRequest) -> Response[Any]:
    """The answer is the same whether the address has a balance or not; a job looks."""
    visit = visit_of(request)
    try:
        sent = await read_form(request, Ask)
        contact = read_email(sent.contact, "contact")
    except FormError as error:
        return _door(request, error.kept, dict(error.fields), 422)
    except Refused as refused:
        return _door(request, {"contact": sent.contact}, {"contact": refused.text}, 422)
    args = {"shop_id": visit.shop.id, "contact": contact, "locale": html_lang(visit.locale)}
    await ring(await db.transaction(enqueue, MAIL_LINK, args))
    return page(request, "balances/link_sent.html", {"contact": contact})


@get("/balance/open", opt={"who": "anyone", "session": True})
async def link_page(request: AnyRequest) -> Response[Any]:
    """The link of the mail. It is used up by the button, not by whatever looks at links on its way."""
    visit = visit_of(request)
    await limits.hit("order-link", visit.ip)
    token = request.query_params.get("k", "")
    if not await contact_proof.link_lives(visit.shop.id, token):
        return _over(request)
    return page(request, "balances/open.html", {"token": token})


def _over(request: AnyRequest) -> Response[Any]:
    return page(request, "balances/link_over.html", {}, status=404)


class Open(msgspec.Struct):
    token: Line


@post("/balance/open", opt={"who": "anyone", "limit": "order-link", "max_body": 4096})
async def open_link(request: AnyRequest) -> Response[Any]:
    visit = visit_of(request)
    sent = await read_form(request, Open)
    agent = request.headers.get("user-agent", "")

    contact, fresh = await db.transaction(new_session.prove, visit.shop.id, sent.token, visit.session, visit.ip, agent)
    if contact is None:
        return _over(request)
    response = see_other("/balance")
    return begin(response, fresh, max_age=sessions.BUYER_SECONDS) if fresh else response


class Card(msgspec.Struct):
    code: Line
    contact: Line
    key: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9_-]{8,100}$")]


@post("/balance/card", opt={"who": "buyer", "max_body": 4096})
async def put_card_in(request: AnyRequest) -> Response[Any]:
    """Top up with a value card of this shop."""
    visit = visit_of(request)
    try:
        sent = await read_form(request, Card)
        if sent.contact not in await contact_proof.proven(visit.shop.id, visit.session.id_hash):
            return see_other("/balance")
        till = Till(visit.shop.id, visit.shop.timezone, _caller(visit), "/balance", visit.ip or None)
        money = await cards.put_in(till, sent.contact, sent.key, sent.code)
    except FormError as error:
        return await _mine(request, dict(error.fields), 422)
    except Refused as refused:
        return await _mine(request, {refused.field or "code": refused.text}, 422)
    except RequestReused:
        return see_other("/balance")
    return flash(see_other("/balance"), _("%(sum)s was put into your balance.", sum=money.text(visit.locale)))


def _caller(visit: Visit) -> str:
    return f"buyer:{visit.session.id_hash.hex()[:16]}"


@post("/balance/leave", opt={"who": "buyer", "max_body": 4096})
async def leave(request: AnyRequest) -> Response[Any]:
    visit = visit_of(request)
    await contact_proof.forget(visit.session.id_hash)
    return flash(see_other("/balance"), _("Your balance is closed on this device."))


ROUTES = (balance, ask_for_link, link_page, open_link, put_card_in, leave)
