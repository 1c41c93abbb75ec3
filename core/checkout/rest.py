"""The door that programs of partners knock on: ``/channel/<key>/…``. What they say is the plugin's business."""

from __future__ import annotations

from urllib.parse import parse_qsl

from litestar import Response, route
from litestar.params import FromPath

from core import db
from core.audit import service as audit
from core.checkout.channel import Channel, ChannelCall, ForgedCall
from core.checkout.selling import Counter
from core.hooks import runtime
from core.payments.method import Answer
from core.web import limits
from core.web.errors import NotFound
from core.web.i18n import source
from core.web.request import AnyRequest, visit_of
from core.web.visit import Visit

MAX_CALL = 65_536


@route(
    "/channel/{key:str}/{path:path}",
    http_method=["GET", "POST"],
    opt={"who": "gateway", "limit": "channel", "max_body": MAX_CALL},
    status_code=200,
)
async def call(request: AnyRequest, key: FromPath[str], path: FromPath[str]) -> Response[bytes]:
    visit = visit_of(request)
    channel = runtime.current().channels_in(visit.shop.id).get(key)
    if not isinstance(channel, Channel):
        raise NotFound()
    asked = ChannelCall(
        method=visit.method,
        path=f"/{path.strip('/')}",
        query=_query(request.scope["query_string"]),
        headers={name.decode("latin-1"): value.decode("latin-1") for name, value in request.scope["headers"]},
        body=await request.body(),
        client_ip=visit.ip,
    )
    counter = Counter(visit.shop, key, request.app.state.config.base_url, visit.ip or None)
    try:
        return _answer(await channel.answer(asked, counter))
    except ForgedCall as forged:
        if await limits.below("forged", visit.ip):
            await db.transaction(_alarm, key, source(forged), visit)
        return _answer(forged.answer)


def _query(raw: bytes) -> dict[str, str]:
    return dict(reversed(parse_qsl(raw.decode("latin-1"), keep_blank_values=True)))


async def _alarm(tx: db.Tx, key: str, reason: str, visit: Visit) -> None:
    await audit.alarm(
        tx, "channel.forged", f"channel:{key}", reason, {"request": visit.id}, shop_id=visit.shop.id, ip=visit.ip
    )


def _answer(answer: Answer) -> Response[bytes]:
    # The framework adds the character set itself.
    kind = answer.content_type.partition(";")[0]
    return Response(answer.body, status_code=answer.status, media_type=kind)
