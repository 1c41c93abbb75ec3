"""What a merchant tells us about an EPay gateway."""

from ipaddress import ip_address
from typing import Literal
from urllib.parse import urlsplit

from pydantic import ValidationInfo, field_validator

from core.api import PluginSettings, Secret, Url, _, setting

CHANNELS = {
    "alipay": {"en": "Alipay", "zh-CN": "支付宝"},
    "wxpay": {"en": "WeChat Pay", "zh-CN": "微信支付"},
    "qqpay": {"en": "QQ Wallet", "zh-CN": "QQ 钱包"},
    "bank": {"en": "UnionPay", "zh-CN": "云闪付"},
    "usdt": {"en": "USDT", "zh-CN": "USDT"},
}
PAGES = ("/submit.php", "/mapi.php", "/api.php")


class EpaySettings(PluginSettings):
    gateway: Url = setting(
        _("Gateway address"),
        help=_("Where submit.php and mapi.php are, such as https://pay.example.com"),
        max_length=300,
    )
    pid: str = setting(_("Merchant number (pid)"), pattern=r"^[1-9][0-9]{0,19}$")
    key: Secret = setting(
        _("Merchant key"), help=_("The MD5 key of the merchant account."), min_length=8, max_length=200
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
