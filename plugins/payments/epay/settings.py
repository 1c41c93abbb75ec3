"""What a merchant tells us about an EPay gateway."""

from ipaddress import ip_address
from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import ValidationInfo, field_validator, model_validator

from core.api import PluginSettings, Secret, Url, _, setting

from . import rsa

CHANNELS = {
    "alipay": {"en": "Alipay", "zh-CN": "支付宝"},
    "wxpay": {"en": "WeChat Pay", "zh-CN": "微信支付"},
    "qqpay": {"en": "QQ Wallet", "zh-CN": "QQ 钱包"},
    "bank": {"en": "UnionPay", "zh-CN": "云闪付"},
    "usdt": {"en": "USDT", "zh-CN": "USDT"},
}
PAGES = ("/submit.php", "/mapi.php", "/api.php", "/api/pay/submit", "/api/pay/create")
KEYS = {"key": "v1", "private_key": "v2", "platform_key": "v2"}
"""Which version needs which key."""


class EpaySettings(PluginSettings):
    gateway: Url = setting(
        _("Gateway address"),
        help=_("Where submit.php and mapi.php are, such as https://pay.example.com"),
        max_length=300,
    )
    version: Literal["v1", "v2"] = setting(
        _("Version of the protocol"),
        help=_("V2 tells partial refunds apart and signs its answers. Choose it where the gateway offers it."),
        default="v1",
        choices={"v1": _("V1 (MD5 key)"), "v2": _("V2 (RSA keys)")},
    )
    pid: str = setting(_("Merchant number (pid)"), pattern=r"^[1-9][0-9]{0,19}$")
    key: Secret | None = setting(
        _("Merchant key"),
        help=_("For V1: the MD5 key of the merchant account."),
        depends=True,
        default=None,
        min_length=8,
        max_length=200,
    )
    private_key: Secret | None = setting(
        _("Merchant private key"),
        help=_("For V2: the RSA key that signs what this shop sends. Line breaks do not matter."),
        depends=True,
        default=None,
        max_length=8000,
    )
    platform_key: str | None = setting(
        _("Platform public key"),
        help=_("For V2: the key that the gateway shows to check its answers with."),
        depends=True,
        default=None,
        long=True,
        max_length=4000,
    )
    alipay: bool = setting(_("Offer Alipay"), default=True)
    wxpay: bool = setting(_("Offer WeChat Pay"), default=True)
    qqpay: bool = setting(_("Offer QQ Wallet"), default=False)
    bank: bool = setting(_("Offer UnionPay"), default=False)
    usdt: bool = setting(_("Offer USDT"), default=False)
    mode: Literal["page", "mapi"] = setting(
        _("How the buyer pays"),
        help=_("Show the QR code here only if the gateway has opened its API (mapi.php) to you."),
        default="page",
        choices={"page": _("On the gateway's page"), "mapi": _("With a QR code on the order page")},
    )
    query: bool = setting(
        _("Ask the gateway about silent payments"),
        help=_("Finds payments whose notice was lost. Switch off only if the gateway has no api.php."),
        default=True,
    )

    @model_validator(mode="before")
    @classmethod
    def _asked_for_each_key(cls, values: Any) -> Any:
        """A key that was left out is looked at too: which are needed depends on the version."""
        return {**dict.fromkeys(KEYS), **values} if isinstance(values, dict) else values

    @field_validator(*KEYS)
    @classmethod
    def _is_the_key_of_the_version(cls, key: Secret | str | None, info: ValidationInfo) -> Secret | str | None:
        if not key and KEYS[str(info.field_name)] == info.data.get("version"):
            raise ValueError(
                str(_("%(version)s does not work without this key.", version=KEYS[str(info.field_name)].upper()))
            )
        return key

    @field_validator("private_key")
    @classmethod
    def _is_private(cls, key: Secret | None) -> Secret | None:
        try:
            rsa.private_key(key.reveal()) if key else None
        except rsa.NotAKey:
            raise ValueError(str(_("This is no private RSA key."))) from None
        return key

    @field_validator("platform_key")
    @classmethod
    def _is_public(cls, key: str | None) -> str | None:
        try:
            rsa.public_key(key) if key else None
        except rsa.NotAKey:
            raise ValueError(str(_("This is no public RSA key."))) from None
        return key

    @field_validator("gateway")
    @classmethod
    def _folder(cls, address: str) -> str:
        parts = urlsplit(address)
        # The merchant key travels in the address of a query.
        if parts.scheme != "https" and not _is_here(parts.hostname or ""):
            raise ValueError(str(_("The address must begin with https://, because the merchant key is sent there.")))
        if parts.query or parts.fragment:
            raise ValueError(str(_("Write the address without anything after ? or #.")))
        path = parts.path.rstrip("/")
        for page in PAGES:
            path = path.removesuffix(page)
        return f"{parts.scheme}://{parts.netloc}{path}"

    @field_validator("mode")
    @classmethod
    def _names_a_channel(cls, mode: str, info: ValidationInfo) -> str:
        if mode == "mapi" and not any(info.data.get(channel) for channel in CHANNELS):
            raise ValueError(str(_("For QR codes on the order page, offer at least one way to pay.")))
        return mode

    def channels(self) -> list[str]:
        return [channel for channel in CHANNELS if getattr(self, channel)]


def _is_here(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
