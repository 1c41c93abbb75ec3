"""A gift as its recipient sees it."""

from __future__ import annotations

from typing import Any

from litestar import Response, get, post
from litestar.params import FromPath

from core import db
from core.audit import service as audit
from core.catalog import notes
from core.catalog.markdown import to_html
from core.catalog.service import words
from core.ids import token_hash
from core.orders import gifts
from core.orders.pages import REVEALED_SECONDS, drawing_of
from core.orders.view import OrderView, order_view
from core.people import sessions
from core.vault.reveal import RevealedCode
from core.web import limits
from core.web.qr import qr
from core.web.render import page, see_other
from core.web.request import AnyRequest, visit_of
from core.web.sessions import begin
from core.web.visit import Visit


@get("/gift", opt={"who": "anyone", "session": True})
async def by_link(request: AnyRequest) -> Response[Any]:
    """The link: the browser is let in, and the token leaves the address bar."""
    visit = visit_of(request)
    token = request.query_params.get("k", "")
    if not token:
        return see_other("/")
    await limits.hit("order-link", visit.ip)
    if not await gifts.link_fits(visit.shop.id, token):
        if await limits.below("wrong-link", visit.ip):
            await db.transaction(_alarm, visit)
        return _unknown(request)
    fresh = None
    if visit.session is None:
        fresh = await db.transaction(_new_session, visit.ip, request.headers.get("user-agent", ""))
    session_hash = visit.session.id_hash if fresh is None else token_hash(fresh)
    ref = await gifts.let_in(visit.shop.id, token, session_hash)
    response = see_other(f"/gift/{ref}")
    return begin(response, fresh, max_age=sessions.BUYER_SECONDS) if fresh else response


async def _new_session(tx: db.Tx, ip: str, agent: str) -> str:
    return await sessions.create(tx, "buyer", ip=ip, agent=agent)


async def _alarm(tx: db.Tx, visit: Visit) -> None:
    await audit.alarm(tx, "gift.wrong_link", "", "", {"request": visit.id}, shop_id=visit.shop.id, ip=visit.ip)


@get("/gift/{ref:str}", opt={"who": "anyone", "session": True})
async def gift_page(request: AnyRequest, ref: FromPath[str]) -> Response[Any]:
    visit = visit_of(request)
    row = await gifts.for_session(ref, visit.session.id_hash) if visit.session else None
    if row is None:
        return _unknown(request)
    return page(request, "orders/gift.html", _context(visit, order_view(row)))


@post("/gift/{ref:str}/reveal", opt={"who": "buyer", "max_body": 4096})
async def reveal(request: AnyRequest, ref: FromPath[str]) -> Response[Any]:
    visit = visit_of(request)
    drawn = await drawing_of(request)
    agent = request.headers.get("user-agent", "")
    shown = await gifts.reveal(ref, visit.session.id_hash, visit.ip, agent)
    if shown is None:
        return _unknown(request)
    return page(request, "orders/gift.html", _context(visit, order_view(shown[0]), shown[1], drawn))


def _context(
    visit: Visit, order: OrderView, revealed: list[RevealedCode] | None = None, drawn: int | None = None
) -> dict[str, Any]:
    return {
        "order": order,
        "gift": order.gift,
        "revealed": {code.code_id: code.text for code in revealed or []},
        "elsewhere": revealed is not None and len(revealed) < len(order.kept_codes),
        "burn_hours": order.burn_hours,
        "seconds": REVEALED_SECONDS,
        "drawn": drawn,
        "show_at": f"/gift/{order.ref}/reveal",
        "in_place": False,
        "qr": qr,
        "words": lambda texts: words(texts, visit.locale),
        "markdown": to_html,
        # without the buyer's contact, and with the link of the gift: the recipient need not know either
        "note_of": lambda line: notes.written(
            line.delivery_note,
            order.sold(line, f"{visit.origin}/gift/{order.ref}"),
            visit.shop,
            visit.origin,
            visit.locale,
        ),
    }


def _unknown(request: AnyRequest) -> Response[Any]:
    """The same for a gift that is not there and for a wrong link."""
    return page(request, "orders/gift_unknown.html", {}, status=404)


routes = [by_link, gift_page, reveal]
