"""The doors that gateways knock on, and by which buyers come back from them."""

from __future__ import annotations

from typing import Any

from litestar import Response, get, post, route
from litestar.params import FromPath

from core import db
from core.audit import service as audit
from core.checkout.settle import Outcome, settle
from core.crash_point import crash_point
from core.hooks import callbacks
from core.jobs import bell, ring
from core.payments import calls, offer
from core.payments import service as payments
from core.payments.method import Answer, CallbackRequest, Claim, Forged, GatewayUnavailable
from core.web import limits
from core.web.errors import NotFound, Unavailable
from core.web.i18n import source
from core.web.render import see_other
from core.web.request import AnyRequest, visit_of
from core.web.visit import Visit

MAX_CALLBACK = 65_536
HOOK = "register_payment_methods"


@route(
    "/pay/{key:str}/notify",
    http_method=["GET", "POST"],
    opt={"who": "gateway", "max_body": MAX_CALLBACK},
    status_code=200,
)
async def notify(request: AnyRequest, key: FromPath[str]) -> Response[bytes]:
    visit = visit_of(request)
    method = offer.methods().get(key)
    if method is None:
        raise NotFound()
    call = CallbackRequest(
        method=visit.method,
        query=request.scope["query_string"],
        body=await request.body(),
        headers={name.decode("latin-1"): value.decode("latin-1") for name, value in request.scope["headers"]},
        client_ip=visit.ip,
    )
    watch = calls.Stopwatch()
    try:
        claim = await callbacks.read(HOOK, method, call, gives=(Claim, Answer), says=(Forged, GatewayUnavailable))
    except Forged as forged:
        if await limits.below("forged", visit.ip):
            await db.transaction(_alarm, key, source(forged), visit)
            said = calls.read(call)
            _note_call(visit, key, calls.names_in(said), f"forged: {source(forged)}", watch, said)
        return _answer(method.refused)
    except GatewayUnavailable as error:
        raise Unavailable() from error
    if claim is None or isinstance(claim, Answer):
        return _answer(claim or method.accepted)
    settled = await settle(method.key, claim, "callback", ip=visit.ip)
    _note_call(visit, key, [claim.attempt_ref], settled.outcome, watch, calls.read(call))
    if settled.outcome is Outcome.UNKNOWN_ATTEMPT:
        # A yes would end the gateway's retries over money that is written down nowhere.
        return _answer(method.refused)
    if settled.outcome is not Outcome.REPEAT:
        await ring(*settled.jobs)
        await bell.ring(f"order:{settled.order_ref}", settled.order_ref)
    crash_point("notify.before_answer")
    return _answer(claim.answer or method.accepted)


def _note_call(
    visit: Visit, key: str, names: list[str], said: str, watch: calls.Stopwatch, payload: dict[str, Any]
) -> None:
    calls.note(calls.Call(key, "callback", names, said, watch.ms, visit.ip, visit.id, calls.masked(payload)))


async def _alarm(tx: db.Tx, key: str, reason: str, visit: Visit) -> None:
    await audit.alarm(tx, "payment.forged", f"gateway:{key}", reason, {"request": visit.id}, ip=visit.ip)


def _answer(answer: Answer) -> Response[bytes]:
    # The framework adds the character set itself.
    kind = answer.content_type.partition(";")[0]
    return Response(answer.body, status_code=answer.status, media_type=kind)


@get("/pay/{key:str}/return", opt={"who": "anyone", "session": True})
async def come_back(request: AnyRequest, key: FromPath[str]) -> Response[Any]:
    """The buyer is back. What the address claims is not believed; the gateway is asked soon."""
    visit = visit_of(request)
    ref = request.query_params.get("order", "")
    if not ref.isalnum() or not ref.isascii() or len(ref) > 40:
        return see_other("/lookup")
    if visit.session is not None:
        await payments.ask_soon(ref, key, visit.session.id_hash)
    return see_other(f"/o/{ref}")


@post("/pay/{key:str}/return", opt={"who": "gateway", "max_body": MAX_CALLBACK})
async def come_back_by_form(request: AnyRequest, key: FromPath[str]) -> Response[Any]:
    return await come_back.fn(request, key)


routes = [notify, come_back, come_back_by_form]
