"""What a handler asks of its request."""

from __future__ import annotations

from typing import Any

from litestar import Request

from core.web.visit import Shop, Visit

AnyRequest = Request[Any, Any, Any]


def visit_of(request: AnyRequest) -> Visit:
    """Who asks for the page: from where, in which shop, in which language."""
    visit: Visit = request.scope["state"]["visit"]
    return visit


def shop_of(request: AnyRequest) -> Shop:
    return visit_of(request).shop
