"""The calls to an EPay V2 gateway. Its answers are signed, and one that is not counts as none."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from core.api import Forged, GatewayRefused, GatewayUnavailable, HttpError, NotSent, PluginContext, _

from . import rsa
from .gateway import BadKey, read
from .settings import EpaySettings
from .signature import signed_text

OK = 0
BAD_KEY = -3
SKEW_SECONDS = 300
STEPS = {"jump": "payurl", "qrcode": "qrcode", "urlscheme": "urlscheme"}
"""What an answer calls the next step, and what V1 calls the same."""


class NotTheirs(GatewayUnavailable):
    """An answer without the signature of the platform whose key the merchant entered."""


class GatewayV2:
    sign_type = "RSA"

    def __init__(self, settings: EpaySettings, ctx: PluginContext[EpaySettings]) -> None:
        self._settings, self._http, self._clock = settings, ctx.http, ctx.clock
        self._ours = rsa.private_key(settings.private_key.reveal() if settings.private_key else "")
        self._theirs = rsa.public_key(settings.platform_key or "")

    def page(self, params: Mapping[str, str]) -> str:
        return f"{self._settings.gateway}/api/pay/submit?{urlencode(self._signed(params))}"

    async def create(self, params: Mapping[str, str], method: str = "web") -> dict[str, Any]:
        """Open a trade; the next step has its name of V1."""
        answer = self._good(await self._ask("pay/create", {**params, "method": method}))
        step = STEPS.get(str(answer.get("pay_type")), "html")
        return {"trade_no": answer.get("trade_no"), step: answer.get("pay_info")}

    async def order(self, ref: str) -> dict[str, Any] | None:
        answer = await self._ask("pay/query", {"out_trade_no": ref})
        if answer["code"] == BAD_KEY:
            raise BadKey(_words(answer))
        return answer if answer["code"] == OK else None

    async def refund(self, **params: str) -> dict[str, Any]:
        """Ask to give money back; gives the gateway's answer, which with a code of 0 only says that it was taken.

        :raises NotSent: it certainly did not arrive.
        :raises GatewayUnavailable: it may have happened, or not. A no is no better: it also stands for a channel
            behind the gateway that did not answer.
        """
        answer = await self._ask("pay/refund", params, may_raise_not_sent=True)
        if answer["code"] != OK:
            raise GatewayUnavailable(_words(answer))
        return answer

    async def refund_state(self, ref: str) -> dict[str, Any] | None:
        """What became of our refund of this number; None when the gateway knows none."""
        answer = await self._ask("pay/refundquery", {"out_refund_no": ref})
        return answer if answer["code"] == OK else None

    async def merchant(self) -> dict[str, Any]:
        return self._good(await self._ask("merchant/info", {}))

    def check_notice(self, params: Mapping[str, str]) -> None:
        if not rsa.fits(signed_text(params), params.get("sign", ""), self._theirs):
            raise Forged(_("the signature is missing or wrong"))
        if params.get("sign_type") != self.sign_type:
            raise Forged(_("the signature is of another kind"))

    def _signed(self, params: Mapping[str, str]) -> dict[str, str]:
        asked = {**params, "pid": self._settings.pid, "timestamp": str(int(self._clock.now().timestamp()))}
        return {**asked, "sign": rsa.sign(signed_text(asked), self._ours), "sign_type": self.sign_type}

    async def _ask(self, act: str, params: Mapping[str, str], *, may_raise_not_sent: bool = False) -> dict[str, Any]:
        try:
            found = await self._http.post(f"{self._settings.gateway}/api/{act}", form=self._signed(params))
        except HttpError as error:
            if may_raise_not_sent and isinstance(error, NotSent):
                raise
            raise GatewayUnavailable(str(error)) from None
        answer = read(found)
        # A gateway that cannot tell who asks signs nothing; its no is believed, for it moves nothing.
        if answer["code"] == OK:
            self._check(answer)
        return answer

    def _check(self, answer: Mapping[str, Any]) -> None:
        said = {name: str(value) for name, value in answer.items() if isinstance(value, str | int)}
        if not rsa.fits(signed_text(said), said.get("sign", ""), self._theirs):
            raise NotTheirs("the gateway's answer is not signed with the platform's key")
        age = self._clock.now().timestamp() - int(said["timestamp"]) if said.get("timestamp", "").isdigit() else None
        if age is None or abs(age) > SKEW_SECONDS:
            raise GatewayUnavailable(_("the gateway's answer is too old, or one of the two clocks is wrong"))

    def _good(self, answer: dict[str, Any]) -> dict[str, Any]:
        if answer["code"] == BAD_KEY:
            raise BadKey(_words(answer))
        if answer["code"] != OK:
            raise GatewayRefused(_words(answer))
        return answer


def _words(answer: Mapping[str, Any]) -> str:
    return str(answer.get("msg") or "")[:200] or f"code {answer['code']}"
