"""The calls to Alipay's gateway. A yes counts only with Alipay's signature over the very text it came in."""

import json
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

from core.api import Forged, GatewayRefused, GatewayUnavailable, HttpError, NotSent, PluginContext, _

from . import certificates
from .settings import AlipaySettings
from .signature import fits, notice_fits, private_key, public_key, request_text, sign

BEIJING = ZoneInfo("Asia/Shanghai")
TIME = "%Y-%m-%d %H:%M:%S"
OK = "10000"
NOT_CARRIED_OUT = ("20001", "40001", "40002", "40006")
"""Alipay looked at who asks and for what, and did nothing."""
PERMISSION = "40006"
FAILED = "40004"
UNCLEAR = ("SYSTEM_ERROR", "DISCORDANT_REPEAT_REQUEST")
"""Failures after which something may have happened all the same."""


class NotTheirs(GatewayUnavailable):
    """An answer without the signature of the Alipay whose key the merchant entered."""


class Refused(GatewayRefused):
    """Alipay said no. ``code`` and ``sub_code`` are its own."""

    def __init__(self, said: Mapping[str, Any]) -> None:
        self.code, self.sub_code = str(said.get("code", "")), str(said.get("sub_code", ""))
        super().__init__(str(said.get("sub_msg") or said.get("msg") or f"code {self.code}")[:200])

    @property
    def is_certain(self) -> bool:
        """Nothing happened at Alipay, and nothing will."""
        if self.code in NOT_CARRIED_OUT:
            return True
        return self.code == FAILED and not self.sub_code.endswith(UNCLEAR)


class Gateway:
    def __init__(self, settings: AlipaySettings, ctx: PluginContext[AlipaySettings]) -> None:
        self._settings, self._http, self._clock = settings, ctx.http, ctx.clock
        self._ours = private_key(settings.private_key.reveal())
        self._by_certificates = settings.mode == "certificates"
        self._named: dict[str, str] = {}
        self._their_serial = ""
        if self._by_certificates:
            self._theirs = certificates.public_key(settings.alipay_certificate or "")
            self._their_serial = certificates.serial(settings.alipay_certificate or "")
            self._named = {
                "app_cert_sn": certificates.serial(settings.app_certificate or ""),
                "alipay_root_cert_sn": certificates.root_serial(settings.root_certificate or ""),
            }
        else:
            self._theirs = public_key(settings.alipay_key or "")

    def link(self, method: str, content: Mapping[str, Any], **addresses: str) -> str:
        """The address of a page of Alipay's, signed."""
        return f"{self._settings.address}?{urlencode(self._signed(method, content, addresses))}"

    async def call(self, method: str, content: Mapping[str, Any], **addresses: str) -> dict[str, Any]:
        """Ask Alipay for something and give the answer's content.

        :raises NotSent: it certainly did not get there.
        :raises Refused: Alipay said no; see :attr:`Refused.is_certain`.
        :raises GatewayUnavailable: nothing is known.
        """
        params = self._signed(method, content, addresses)
        # Alipay reads a body only in the character set that the address names.
        body = {"biz_content": params.pop("biz_content")}
        try:
            answer = await self._http.request("POST", self._settings.address, params=params, form=body)
        except NotSent:
            raise
        except HttpError as error:
            raise GatewayUnavailable(str(error)) from None
        if answer.status != 200:
            raise GatewayUnavailable(_("Alipay answered with status %(status)s", status=answer.status))
        return self._read(method.replace(".", "_") + "_response", answer.content)

    async def download(self, address: str) -> bytes:
        try:
            answer = await self._http.get(address, seconds=60)
        except HttpError as error:
            raise GatewayUnavailable(str(error)) from None
        if answer.status != 200:
            raise GatewayUnavailable(_("Alipay answered with status %(status)s", status=answer.status))
        return answer.content

    def check_notice(self, params: Mapping[str, str]) -> None:
        if not notice_fits(params, self._theirs):
            raise Forged(_("the signature is missing or wrong"))
        if params.get("sign_type") != "RSA2":
            raise Forged(_("the signature is not of the kind RSA2"))

    def _signed(self, method: str, content: Mapping[str, Any], addresses: Mapping[str, str]) -> dict[str, str]:
        params = {
            "app_id": self._settings.app_id,
            "method": method,
            "format": "JSON",
            "charset": "utf-8",
            "sign_type": "RSA2",
            "timestamp": self._clock.now().astimezone(BEIJING).strftime(TIME),
            "version": "1.0",
            **self._named,
            **addresses,
            "biz_content": json.dumps(content, ensure_ascii=False, separators=(",", ":")),
        }
        return {**params, "sign": sign(request_text(params), self._ours)}

    def _read(self, node: str, raw: bytes) -> dict[str, Any]:
        try:
            text = raw.decode()
            answer, content = json.loads(text, parse_float=str), _as_it_came(text, node)
            # What is read is the very text the signature covers, whatever else the answer holds.
            said = json.loads(content, parse_float=str) if content else answer.get("error_response")
            code = said["code"]
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            raise GatewayUnavailable(_("Alipay's answer cannot be read")) from None
        is_theirs = bool(content) and fits(content, str(answer.get("sign", "")), self._theirs)
        if str(code) in (OK, FAILED):
            self._check(answer, is_theirs)
        if str(code) != OK:
            raise Refused(said)
        return dict(said)

    def _check(self, answer: Mapping[str, Any], is_theirs: bool) -> None:
        named = str(answer.get("alipay_cert_sn", ""))
        if self._by_certificates and named and named != self._their_serial:
            raise NotTheirs("Alipay has another certificate now; enter the new one in the settings")
        if not is_theirs:
            raise NotTheirs("the answer is not signed with Alipay's key")


def _as_it_came(text: str, node: str) -> str:
    """The content of an answer, sign by sign as it was sent: that is what the signature covers."""
    found = re.search(rf'"{node}"\s*:\s*', text)
    if found is None:
        return ""
    _content, end = json.JSONDecoder().raw_decode(text, found.end())
    return text[found.end() : end]
