"""What the shop answers when it calls itself by its own address."""

from __future__ import annotations

from typing import Any

from litestar import Response, get, post
from litestar.params import FromPath
from litestar.response import Stream

from core.admin import outside
from core.web.errors import NotFound

NEVER_KEPT = {"cache-control": "no-store"}


@post(f"{outside.PATH}/{{key:str}}", opt={"who": "gateway", "limit": "order-link", "max_body": 1024}, status_code=200)
async def called(key: FromPath[str]) -> Response[str]:
    answer = await outside.answer_to(key)
    if answer is None:
        raise NotFound()
    return Response(answer, media_type="text/plain", headers=NEVER_KEPT)


@get(f"{outside.PATH}/{{key:str}}/stream", opt={"who": "anyone", "limit": "order-link"})
async def stream(key: FromPath[str]) -> Response[Any] | Stream:
    if await outside.answer_to(key) is None:
        raise NotFound()
    return Stream(
        outside.held_open(), media_type="text/event-stream", headers={**NEVER_KEPT, "x-accel-buffering": "no"}
    )


ROUTES = (called, stream)
