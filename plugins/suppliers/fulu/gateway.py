"""The calls to Fulu's gateway, and what its answers mean."""

import json
from collections.abc import Mapping
from datetime import timedelta, timezone
from typing import Any

from core.api import HttpAnswer, HttpError, NotSent, OutOfStock, PluginContext, SupplierRefused, SupplierUnavailable

from .settings import FuluSettings
from .signature import compact, is_signed, sign

BEIJING = timezone(timedelta(hours=8))
OK = 0
NOT_AVAILABLE = frozenset({3001, 3002, 3003, 3004, 3005, 3008})
"""The goods cannot be bought now; nothing was ordered."""


class SaidNo(SupplierRefused):
    """An answer with a code of refusal."""

    def __init__(self, code: int, words: str) -> None:
        super().__init__(f"{code}: {words}" if words else str(code))
        self.code = code
        self.words = words


class Gateway:
    def __init__(self, ctx: PluginContext[FuluSettings]) -> None:
        self._settings, self._http, self._clock = ctx.settings, ctx.http, ctx.clock

    async def ask(self, method: str, **content: Any) -> Any:
        """Ask something that changes nothing.

        :raises SaidNo: Fulu refuses to answer.
        :raises SupplierUnavailable: nothing is known.
        """
        return self.read(await self.send(method, content))

    async def order(self, method: str, **content: Any) -> Any:
        """Place an order. Only codes that say so are a certain no: others may stand for an order it has already.

        :raises NotSent: it certainly did not arrive.
        :raises OutOfStock: nothing was ordered.
        :raises SupplierUnavailable: anything else.
        """
        answer = await self.send(method, content, sure_if_not_sent=True)
        try:
            return self.read(answer)
        except SaidNo as no:
            if no.code in NOT_AVAILABLE:
                raise OutOfStock(str(no)) from None
            raise SupplierUnavailable(str(no)) from None

    async def send(self, method: str, content: Mapping[str, Any], *, sure_if_not_sent: bool = False) -> HttpAnswer:
        request = {
            "app_key": self._settings.app_key,
            "method": method,
            "timestamp": self._clock.now().astimezone(BEIJING).strftime("%Y-%m-%d %H:%M:%S"),
            "version": "2.0",
            "format": "json",
            "charset": "utf-8",
            "sign_type": "md5",
            "app_auth_token": "",
            "biz_content": compact(content),
        }
        signature = sign(compact(request), self._settings.app_secret.reveal())
        body = compact({**request, "sign": signature}).encode()
        try:
            return await self._http.post(
                self._settings.gateway, content=body, headers={"Content-Type": "application/json"}
            )
        except NotSent as error:
            if sure_if_not_sent:
                raise
            raise SupplierUnavailable(str(error)) from None
        except HttpError as error:
            raise SupplierUnavailable(str(error)) from None

    def read(self, answer: HttpAnswer) -> Any:
        """What an answer holds.

        :raises SaidNo: a refusal.
        :raises SupplierUnavailable: it is no answer of Fulu.
        """
        if answer.status != 200:
            raise SupplierUnavailable(f"Fulu answered with status {answer.status}")
        try:
            found = json.loads(answer.content)
            code, result = int(found["code"]), found.get("result")
            if code != OK:
                raise SaidNo(code, str(found.get("message") or "")[:200])
            if not is_signed(result, str(found.get("sign") or ""), self._settings.app_secret.reveal()):
                raise SupplierUnavailable("an answer of Fulu is not signed with this AppSecret")
            # Amounts are numbers with a point: they stay text, so that none ever is a float.
            return json.loads(result, parse_float=str)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            raise SupplierUnavailable("Fulu's answer cannot be read") from None
