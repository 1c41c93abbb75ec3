"""The till for programs: ``/api/v1/redemptions``."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated, Any

import msgspec
from litestar import Request, get, post
from litestar.params import FromPath, JSONBody
from msgspec import Meta

from core.redemption import redeem
from core.redemption.limits import guarded
from core.redemption.redeem import Answer, Outcome, RequestReused, Till
from core.redemption.words import SAYS
from core.web.errors import Conflict, NotFound, WebError
from core.web.i18n import _
from core.web.openapi import Problem, problems
from core.web.request import visit_of

STORABLE = "^[^\\u0000]*$"
CODE = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=100,
        pattern=STORABLE,
        description="As typed or scanned; case, blanks and hyphens do not matter",
    ),
]
REQUEST_ID = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=100,
        pattern="^[A-Za-z0-9._:-]+$",
        description="Yours, new for each act: the same id gets the same answer again",
    ),
]
PLACE = Annotated[
    str,
    Meta(max_length=100, pattern=STORABLE, description="Till, branch or web shop; shown as the place of the use"),
]
AMOUNT = Annotated[int, Meta(ge=1, le=10**12, description="Minor units, such as fen or cents")]
CURRENCY = Annotated[str, Meta(pattern="^[A-Z]{3}$")]

NO_SUCH = (Outcome.MISTYPED, Outcome.UNKNOWN)
"""Answered with 404; every other refusal is a 409."""


class Look(msgspec.Struct, forbid_unknown_fields=True):
    code: CODE
    place: PLACE = ""


class Redeem(msgspec.Struct, forbid_unknown_fields=True):
    """``amount`` and ``currency`` belong to value cards and only to them."""

    request_id: REQUEST_ID
    code: CODE
    amount: AMOUNT | None = None
    currency: CURRENCY | None = None
    place: PLACE = ""


class Void(msgspec.Struct, forbid_unknown_fields=True):
    request_id: REQUEST_ID
    code: CODE
    reason: Annotated[str, Meta(min_length=1, max_length=redeem.MOST_REASON, pattern=STORABLE)]
    place: PLACE = ""


class Verified(msgspec.Struct, kw_only=True):
    """``reason`` is null when the code can be redeemed, else the code of the refusal that redeeming would get."""

    redeemable: bool
    reason: Outcome | None
    card: redeem.Card | None


class Refusal(Problem, kw_only=True):
    """``redemption`` is what the till found, with the first use of a used code."""

    redemption: Answer | None = None


def till_of(request: Request[Any, Any, Any], place: str) -> Till:
    key, visit = request.state.key, visit_of(request)
    return Till(key.shop_id, visit.shop.timezone, f"key:{key.id}", place or key.name, visit.ip or None)


@post(
    "/redemptions/verify",
    opt={"who": "key:codes.verify", "limit": "redeem", "max_body": 20_000},
    status_code=200,
    summary="Look at a code",
    operation_id="verifyCode",
    tags=["redemptions"],
    responses=problems(413, 415, 422),
)
async def verify(request: Request[Any, Any, Any], data: JSONBody[Look]) -> Verified:
    """What a code is worth here and now. Changes nothing, answers 200 for bad codes too."""
    till = till_of(request, data.place)
    answer = await guarded(redeem.verify, till, data.code)
    return Verified(redeemable=answer.ok, reason=None if answer.ok else answer.outcome, card=answer.card)


@post(
    "/redemptions",
    opt={"who": "key:codes.redeem", "limit": "redeem", "max_body": 20_000},
    status_code=200,
    summary="Redeem a code",
    operation_id="redeemCode",
    tags=["redemptions"],
    responses=problems(404, 409, 413, 415, 422, kind=Refusal),
)
async def redeem_code(request: Request[Any, Any, Any], data: JSONBody[Redeem]) -> Answer:
    """Uses a code that works once, or takes an amount off a value card. Repeat it with the same ``request_id``
    until there is an answer: it is done once."""
    till = till_of(request, data.place)
    return _good(await _once(redeem.redeem, till, data.request_id, data.code, data.amount, data.currency))


@post(
    "/redemptions/void",
    opt={"who": "key:codes.void", "limit": "redeem", "max_body": 20_000},
    status_code=200,
    summary="Void a code",
    operation_id="voidCode",
    tags=["redemptions"],
    responses=problems(404, 409, 413, 415, 422, kind=Refusal),
)
async def void_code(request: Request[Any, Any, Any], data: JSONBody[Void]) -> Answer:
    """Makes a code worthless for ever, whatever is left on it."""
    till = till_of(request, data.place)
    return _good(await _once(redeem.void, till, data.request_id, data.code, data.reason))


@get(
    "/redemptions/{request_id:str}",
    opt={"who": "key:codes.verify", "limit": "redeem"},
    summary="What a request came to",
    operation_id="getRedemption",
    tags=["redemptions"],
    responses=problems(404),
)
async def one(request: Request[Any, Any, Any], request_id: FromPath[str]) -> Answer:
    """The answer that this key got, or should have got, to its request, refusals included."""
    answer = await redeem.answer_to(request.state.key.shop_id, f"key:{request.state.key.id}", request_id)
    if answer is None:
        raise NotFound()
    return answer


async def _once(act: Callable[..., Awaitable[Answer]], till: Till, *args: Any) -> Answer:
    try:
        return await guarded(act, till, *args)
    except RequestReused:
        raise Conflict(
            _("This request id was used for something else"),
            _("Nothing was done now."),
            _("Take a new id for each act."),
            context={"code": "request_id_reused"},
        ) from None


def _good(answer: Answer) -> Answer:
    if answer.ok:
        return answer
    raise WebError(
        SAYS[answer.outcome],
        _("Nothing was changed."),
        _("Asked again with this id, the answer stays the same."),
        status=404 if answer.outcome in NO_SUCH else 409,
        context={"code": answer.outcome.value, "more": {"redemption": msgspec.to_builtins(answer)}},
    )


ROUTES = (verify, redeem_code, void_code, one)
