"""The OpenAPI document of everything under ``/api/v1``: one file of JSON at ``/api/openapi.json``, no pages."""

from __future__ import annotations

from typing import Any

import msgspec
from litestar import Request, Router
from litestar.openapi import OpenAPIConfig, ResponseSpec
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.openapi.spec import Components, SecurityScheme

VERSION = "1"
BEARER = "key"


class Problem(msgspec.Struct, kw_only=True):
    """Why a request was refused, after RFC 9457. ``code`` never changes; the words are for people and may."""

    type: str
    title: str
    status: int
    code: str
    detail: str
    request_id: str
    errors: dict[str, str] = {}


REASONS = {
    400: "The body is no JSON, or a name stands twice in it or in the query",
    401: "There is no key, or it is unknown, withdrawn or over",
    403: "The key does not have the scope",
    404: "There is no such thing in this shop",
    409: "It cannot be done any more",
    413: "The body is too large",
    415: "The body is not application/json",
    422: "A field is missing, unknown or cannot be used",
    429: "Too many requests; Retry-After says for how long",
    503: "The shop cannot make sure of something right now and so refuses",
}
ALWAYS = (400, 401, 403, 429, 503)


def problems(*statuses: int, kind: type[Any] = Problem) -> dict[int, ResponseSpec]:
    """How an operation can be refused: as every one can, and with these statuses."""
    return {
        status: ResponseSpec(
            kind if status in statuses else Problem,
            description=REASONS[status],
            media_type="application/problem+json",
            generate_examples=False,
        )
        for status in sorted({*ALWAYS, *statuses})
    }


class Document(JsonRenderPlugin):
    """Says of bodies what Litestar leaves out: names that are not told are refused."""

    def render(self, request: Request[Any, Any, Any], openapi_schema: dict[str, Any]) -> bytes:
        for operations in openapi_schema["paths"].values():
            for operation in operations.values():
                for body in operation.get("requestBody", {}).get("content", {}).values():
                    name = body["schema"]["$ref"].rpartition("/")[2]
                    openapi_schema["components"]["schemas"][name]["additionalProperties"] = False
        return super().render(request, openapi_schema)


def described() -> OpenAPIConfig:
    return OpenAPIConfig(
        title="Vouchsafe",
        version=VERSION,
        openapi_router=Router("/api", route_handlers=[], opt={"who": "anyone"}, include_in_schema=False),
        render_plugins=[Document(path="/openapi.json")],
        components=Components(security_schemes={BEARER: SecurityScheme(type="http", scheme="bearer")}),
        security=[{BEARER: []}],
        use_handler_docstrings=True,
    )
