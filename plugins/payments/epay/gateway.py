"""The calls to an EPay V1 gateway, and what its answers mean."""

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from core.api import Forged, GatewayRefused, GatewayUnavailable, HttpAnswer, HttpError, NotSent, PluginHttp, _

from .settings import EpaySettings
from .signature import is_signed, sign

OK = 1
NOT_FOUND = -1
BAD_KEY = -3
NO_REFUND = (-2, -3, -4, -5)
"""Refunds are not switched on, or the request was refused before the order was looked at."""


class BadKey(GatewayRefused):
    """The gateway does not know this merchant number or this key."""


class Gateway:
    def __init__(self, settings: EpaySettings, http: PluginHttp) -> None:
        self._settings, self._http = settings, http
        self._key = settings.key.reveal() if settings.key else ""

    def page(self, params: Mapping[str, str]) -> str:
        return f"{self._settings.gateway}/submit.php?{urlencode(self._signed(params))}"

    async def create(self, params: Mapping[str, str]) -> dict[str, Any]:
        return self._good(await self._ask("POST", "mapi.php", form=self._signed(params)))

    async def order(self, ref: str) -> dict[str, Any] | None:
        answer = await self._api("order", out_trade_no=ref)
        return None if answer["code"] == NOT_FOUND else self._good(answer)

    async def refund(self, **params: str) -> str:
        """Give money back; gives the gateway's words.

        :raises NotSent: it certainly did not arrive.
        :raises GatewayRefused: no money moved.
        :raises GatewayUnavailable: any other answer. A 0 means yes to some gateways and no to others, and -1 also
            stands for a channel behind the gateway that did not answer.
        """
        who = {"pid": self._settings.pid, "key": self._key}
        page = f"{self._settings.gateway}/api.php"
        try:
            answer = read(await self._http.request("POST", page, params={"act": "refund"}, form={**who, **params}))
        except NotSent:
            raise
        except HttpError as error:
            raise GatewayUnavailable(str(error)) from None
        if answer["code"] in NO_REFUND:
            raise GatewayRefused(self._words(answer))
        if answer["code"] != OK:
            raise GatewayUnavailable(self._words(answer))
        return self._words(answer)

    async def merchant(self) -> dict[str, Any]:
        return self._good(await self._api("query"))

    def check_notice(self, params: Mapping[str, str]) -> None:
        if not is_signed(params, self._key):
            raise Forged(_("the signature is missing or wrong"))
        if params.get("sign_type") != "MD5":
            raise Forged(_("the signature is not of the kind MD5"))

    def _signed(self, params: Mapping[str, str]) -> dict[str, str]:
        signature = sign(params, self._key)
        return {**params, "sign": signature, "sign_type": "MD5"}

    async def _api(self, act: str, **params: str) -> dict[str, Any]:
        who = {"pid": self._settings.pid, "key": self._key}
        return await self._ask("GET", "api.php", params={"act": act, **who, **params})

    async def _ask(self, method: str, page: str, **data: Mapping[str, str]) -> dict[str, Any]:
        try:
            answer = await self._http.request(method, f"{self._settings.gateway}/{page}", **data)  # type: ignore[arg-type]
        except HttpError as error:
            raise GatewayUnavailable(str(error)) from None
        return read(answer)

    def _good(self, answer: dict[str, Any]) -> dict[str, Any]:
        if answer["code"] == BAD_KEY:
            raise BadKey(self._words(answer))
        if answer["code"] != OK:
            raise GatewayRefused(self._words(answer))
        return answer

    def _words(self, answer: dict[str, Any]) -> str:
        said = str(answer.get("msg") or "").replace(self._key, "…")
        return said[:200] or f"code {answer['code']}"


def read(answer: HttpAnswer) -> dict[str, Any]:
    if answer.status != 200:
        raise GatewayUnavailable(_("the gateway answered with status %(status)s", status=answer.status))
    try:
        # Numbers with a point stay text, so that no amount ever is a float.
        found = json.loads(answer.content, parse_float=str)
        return {**found, "code": int(found["code"])}
    except (ValueError, TypeError, KeyError, RecursionError):
        raise GatewayUnavailable(_("the gateway's answer cannot be read")) from None
