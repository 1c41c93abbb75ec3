"""The calls to Stripe, and what its answers mean."""

import json
from collections.abc import Mapping
from typing import Any

from core.api import GatewayRefused, GatewayUnavailable, HttpAnswer, HttpError, NotSent, PluginHttp, _

from .settings import StripeSettings

VERSION = "2026-10-28.endive"
NOT_FOUND = 404
BUSY = (409, 429)
PAGE = 100


class BadKey(GatewayRefused):
    """Stripe does not know this key."""


class Gateway:
    def __init__(self, settings: StripeSettings, http: PluginHttp) -> None:
        self._server, self._http = settings.server.rstrip("/"), http
        self._key = settings.key.reveal()

    async def get(self, path: str, **params: str) -> dict[str, Any]:
        try:
            return await self._ask("GET", path, params=params)
        except NotSent as error:
            raise GatewayUnavailable(str(error)) from None

    async def post(self, path: str, form: Mapping[str, str], idempotency_key: str) -> dict[str, Any]:
        """:raises NotSent: it certainly did not get there."""
        return await self._ask("POST", path, form=form, headers={"Idempotency-Key": idempotency_key})

    async def all_of(self, path: str, **params: str) -> list[dict[str, Any]]:
        """Every row of a list, page after page."""
        found: list[dict[str, Any]] = []
        more = True
        while more:
            after = {"starting_after": str(found[-1]["id"])} if found else {}
            said = await self.get(path, **params, **after, limit=str(PAGE))
            try:
                rows, more = list(said["data"]), bool(said["has_more"]) and bool(said["data"])
            except (KeyError, TypeError):
                raise GatewayUnavailable("Stripe's list cannot be read") from None
            found += rows
        return found

    async def _ask(
        self, method: str, path: str, *, headers: Mapping[str, str] | None = None, **data: Any
    ) -> dict[str, Any]:
        known = {"Authorization": f"Bearer {self._key}", "Stripe-Version": VERSION, **(headers or {})}
        try:
            answer = await self._http.request(method, f"{self._server}/v1/{path}", headers=known, **data)
        except NotSent:
            raise
        except HttpError as error:
            raise GatewayUnavailable(str(error)) from None
        return self._read(answer)

    def _read(self, answer: HttpAnswer) -> dict[str, Any]:
        try:
            said = json.loads(answer.content, parse_float=str)
            words = said["error"] if answer.status != 200 else {}
        except (ValueError, TypeError, KeyError, RecursionError):
            raise GatewayUnavailable(
                _("Stripe's answer cannot be read (status %(status)s)", status=answer.status)
            ) from None
        if answer.status == 200 and isinstance(said, dict):
            return said
        text = str(words.get("message") or f"status {answer.status}").replace(self._key, "…")[:200]
        if answer.status == 401:
            raise BadKey(text)
        if answer.status >= 500 or answer.status in BUSY or words.get("type") == "idempotency_error":
            raise GatewayUnavailable(text)
        raise Refused(text, answer.status)


class Refused(GatewayRefused):
    """Stripe said no, and did nothing."""

    def __init__(self, text: str, status: int) -> None:
        super().__init__(text)
        self.status = status
