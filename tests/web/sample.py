"""Sample pages that use every part of the ground."""

import io
from pathlib import Path
from typing import Annotated, Any

import msgspec
from litestar import Request, Response, get, post

from core import clock, db
from core.people import sessions
from core.web.errors import FormError
from core.web.feature import Feature, Nav
from core.web.flash import flash
from core.web.forms import Line, Upload, read_form, read_json
from core.web.hx import hx_response, toast
from core.web.i18n import _
from core.web.render import fragment, page, see_other
from core.web.sessions import begin, finish

AnyRequest = Request[Any, Any, Any]


class Order(msgspec.Struct):
    sku: Line
    quantity: Annotated[int, msgspec.Meta(ge=1, le=10)] = 1
    tags: list[str] = []
    fields: dict[str, str] = {}


class Letter(msgspec.Struct):
    subject: Line
    paper: Upload | None = None


@get("/sample", opt={"who": "anyone"})
async def public(request: AnyRequest) -> Response[str]:
    return page(request, "sample/public.html", {"hits": None}, cache=True)


@get("/sample/cookie", opt={"who": "anyone"})
async def with_cookie(request: AnyRequest) -> Response[str]:
    return flash(page(request, "sample/public.html", {}, cache=True), "yours alone")


@get("/sample/form", opt={"who": "anyone", "session": True})
async def form_page(request: AnyRequest) -> Response[str]:
    return page(request, "sample/form.html", {"errors": {}, "kept": {}})


@post("/sample/form", opt={"who": "anyone"})
async def form_send(request: AnyRequest) -> Response[Any]:
    try:
        form = await read_form(request, Order, gather={"fields": "field_"})
    except FormError as error:
        return page(request, "sample/form.html", {"errors": error.fields, "kept": error.kept}, status=422)
    await db.execute("INSERT INTO sample_order (sku, quantity) VALUES ($1, $2)", form.sku, form.quantity)
    return flash(see_other("/sample/form"), _("Saved"))


@post("/sample/upload", opt={"who": "anyone", "max_body": 3_000_000})
async def upload(request: AnyRequest) -> Response[dict[str, Any]]:
    form = await read_form(request, Letter)
    paper = form.paper
    if paper is None:
        return Response({"size": None})
    told = {"name": paper.filename, "size": paper.size, "starts": paper.file.read(5).decode()}
    return Response({**told, "in_memory": isinstance(paper.file, io.BytesIO)})


@post("/sample/json", opt={"who": "anyone"})
async def json_in(request: AnyRequest) -> Response[dict[str, Any]]:
    order = await read_json(request, Order)
    return Response({"sku": order.sku, "quantity": order.quantity})


@post("/sample/start", opt={"who": "anyone"})
async def start(request: AnyRequest) -> Response[Any]:
    visit = request.scope["state"]["visit"]
    token = await db.transaction(_start, visit.session)
    return begin(see_other("/sample/mine"), token)


async def _start(tx: db.Tx, old: sessions.Session | None) -> str:
    return await sessions.rotate(tx, old, "buyer")


@post("/sample/end", opt={"who": "buyer"})
async def end(request: AnyRequest) -> Response[Any]:
    visit = request.scope["state"]["visit"]
    await db.transaction(sessions.end, visit.session.id_hash)
    return finish(see_other("/sample"))


@get("/sample/mine", opt={"who": "buyer"})
async def mine(request: AnyRequest) -> Response[dict[str, Any]]:
    session = request.state.session
    return Response({"session": session.id_hash.hex() if session else None})


@post("/sample/mine", opt={"who": "buyer", "limit": "reveal"})
async def mine_change(request: AnyRequest) -> Response[dict[str, Any]]:
    await db.execute("INSERT INTO sample_order (sku, quantity) VALUES ('mine', 1)")
    return Response({"changed": True}, status_code=200)


@post("/sample/notify", opt={"who": "gateway"})
async def notify(request: AnyRequest) -> Response[str]:
    return Response((await request.body()).decode(), media_type="text/plain", status_code=200)


@get("/sample/boom", opt={"who": "anyone"})
async def boom() -> Response[str]:
    raise RuntimeError("the boiler\nburst")


@get("/sample/part", opt={"who": "anyone"})
async def part(request: AnyRequest) -> Response[str]:
    return hx_response(fragment(request, "sample/_part.html", {}), push="/sample?x=1")


@get("/sample/toast", opt={"who": "anyone"})
async def toasted(request: AnyRequest) -> Response[str]:
    return toast(fragment(request, "sample/_part.html", {}), _("Saved"))


@get("/sample/hx", opt={"who": "anyone"})
async def hx_page(request: AnyRequest) -> Response[str]:
    return page(request, "sample/hx.html", {"remask": False})


@get("/sample/remask", opt={"who": "anyone"})
async def remask(request: AnyRequest) -> Response[str]:
    return page(request, "sample/hx.html", {"remask": True})


@get("/sample/style", opt={"who": "anyone"})
async def style(request: AnyRequest) -> Response[str]:
    return page(request, "sample/style.html", {})


@get("/sample/style", opt={"who": "staff:orders.read"})
async def console_style(request: AnyRequest) -> Response[str]:
    return page(request, "sample/console_style.html", {"now": clock.now()})


@get("/sample", opt={"who": "staff:orders.read"})
async def console(request: AnyRequest) -> Response[str]:
    return page(request, "sample/console.html", {})


@post("/sample", opt={"who": "staff:settings.edit"})
async def console_change(request: AnyRequest) -> Response[Any]:
    await db.execute("INSERT INTO sample_order (sku, quantity) VALUES ('staff', 1)")
    return flash(see_other("/admin/sample"), _("Saved"))


@post("/sample/danger", opt={"who": "staff:settings.edit", "fresh": True, "max_body": 2_000_000})
async def danger(request: AnyRequest) -> Response[Any]:
    form = await read_form(request, Letter)
    paper = form.paper.file.read().decode() if form.paper else ""
    await db.execute("INSERT INTO sample_order (sku, quantity) VALUES ($1, $2)", form.subject, len(paper))
    return flash(see_other("/admin/sample"), _("Saved"))


@get("/sample", opt={"who": "anyone"})
async def rest() -> Response[dict[str, Any]]:
    return Response({"ok": True})


feature = Feature(
    name="sample",
    folder=Path(__file__).parent,
    buyer_routes=[
        public,
        with_cookie,
        form_page,
        form_send,
        upload,
        json_in,
        start,
        end,
        mine,
        mine_change,
        notify,
        boom,
        part,
        toasted,
        style,
        hx_page,
        remask,
    ],
    console_routes=[console, console_change, console_style, danger],
    rest_routes=[rest],
    nav=[
        Nav(_("Orders"), "/admin/sample", "receipt", group="sales", right="orders.read"),
        Nav(_("Settings"), "/admin/sample/settings", "settings", group="system", right="settings.edit"),
    ],
)
