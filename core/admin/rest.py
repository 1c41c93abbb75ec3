"""How the shop is doing, for programs that watch it: ``/api/v1/health``."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from litestar import Request, Response, get
from msgspec import Meta

from core.admin import health
from core.shops import service as shops
from core.web.errors import Forbidden
from core.web.i18n import _
from core.web.openapi import problems

STATE = Annotated[str, Meta(description="`ok`, `warn` or `fail`")]


class Point(msgspec.Struct):
    name: Annotated[str, Meta(description="Never changes")]
    state: STATE
    text: str
    advice: Annotated[str, Meta(description="What to do; empty when all is well")]


class Health(msgspec.Struct):
    state: Annotated[str, Meta(description="The worst of all checks")]
    checks: list[Point]


@get(
    "/health",
    opt={"who": "key:health.read", "limit": "outside-health"},
    summary="How the shop is doing",
    operation_id="getHealth",
    tags=["health"],
    responses=problems(403),
)
async def read_health(request: Request[Any, Any, Any]) -> Response[Health]:
    """The checks of the doctor and of the health page. 503 when one fails, so that a monitor need not read them."""
    if request.state.key.shop_id != (await shops.main_shop()).id:
        raise Forbidden(why=_("Only a key of the main shop sees how the whole server is doing."))
    checks = await health.every_check(request.app.state.config)
    worst = next((state for state in ("fail", "warn") if any(one.state == state for one in checks)), "ok")
    points = [Point(one.name, one.state, str(one.text), str(one.advice)) for one in checks]
    return Response(
        Health(worst, points), status_code=503 if worst == "fail" else 200, headers={"cache-control": "no-store"}
    )


ROUTES = (read_health,)
