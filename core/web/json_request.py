"""Requests of programs: the body is read strictly, and its mistakes are named field by field."""

from __future__ import annotations

from typing import Any

from litestar import Request

from core.web.forms import read_json


class JsonRequest(Request[Any, Any, Any]):
    """What a handler declares as ``data`` comes through ``read_json``: Litestar alone would take ``"5"`` for 5,
    keep the last of two equal keys, and read JSON out of any content type."""

    async def json(self) -> Any:
        field = self.route_handler.parsed_data_field
        if field is None:
            return await super().json()
        return await read_json(self, field.annotation)
