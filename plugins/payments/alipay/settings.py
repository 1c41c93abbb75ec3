"""What a merchant tells us about an application at Alipay."""

from typing import Any, Literal

from pydantic import ValidationInfo, field_validator, model_validator

from core.api import PluginSettings, Secret, Url, _, setting

from . import certificates, signature

SERVERS = {
    "live": "https://openapi.alipay.com/gateway.do",
    "sandbox": "https://openapi-sandbox.dl.alipaydev.com/gateway.do",
}
NEEDED = {
    "alipay_key": "keys",
    "app_certificate": "certificates",
    "alipay_certificate": "certificates",
    "root_certificate": "certificates",
}
"""Which mode needs which of these."""


class AlipaySettings(PluginSettings):
    server: Literal["live", "sandbox"] = setting(
        _("Server"),
        help=_("Payments in the sandbox are tests: they are offered only while the shop is in test mode."),
        default="live",
        choices={"live": _("Alipay"), "sandbox": _("Alipay's sandbox")},
    )
    gateway: Url | None = setting(
        _("Other gateway address"), help=_("Only for a proxy of your own."), default=None, max_length=300
    )
    app_id: str = setting(_("Application number (app_id)"), pattern=r"^[0-9]{16,32}$")
    seller_id: str = setting(
        _("Your Alipay user number (PID)"),
        help=_("16 digits that begin with 2088. Notices for anybody else are refused."),
        pattern=r"^2088[0-9]{12}$",
    )
    private_key: Secret = setting(
        _("Application private key"),
        help=_("The RSA2 key that signs what this shop sends. Line breaks do not matter."),
        max_length=8000,
    )
    mode: Literal["keys", "certificates"] = setting(
        _("How Alipay is recognised"),
        help=_("As the application is set up at Alipay."),
        default="keys",
        choices={"keys": _("By its public key"), "certificates": _("By certificates")},
    )
    alipay_key: str | None = setting(
        _("Alipay public key"),
        help=_("Not the public key of your application: the one Alipay shows after you saved yours."),
        default=None,
        long=True,
        max_length=4000,
    )
    app_certificate: str | None = setting(
        _("Application certificate"),
        help=_("The text of appCertPublicKey….crt"),
        default=None,
        long=True,
        max_length=20_000,
    )
    alipay_certificate: str | None = setting(
        _("Alipay certificate"),
        help=_("The text of alipayCertPublicKey_RSA2.crt"),
        default=None,
        long=True,
        max_length=20_000,
    )
    root_certificate: str | None = setting(
        _("Alipay root certificate"),
        help=_("The text of alipayRootCert.crt"),
        default=None,
        long=True,
        max_length=40_000,
    )
    desktop: Literal["qr", "page"] = setting(
        _("At a desktop"),
        help=_("Choose what your contract with Alipay has: 当面付 for the code, 电脑网站支付 for the page."),
        default="qr",
        choices={"qr": _("A QR code on the order page"), "page": _("Alipay's page")},
    )
    phone: Literal["wap", "qr"] = setting(
        _("On a phone"),
        help=_("手机网站支付 for the page; the code opens the app as well."),
        default="wap",
        choices={"wap": _("Alipay's page"), "qr": _("A QR code on the order page")},
    )
    bill: bool = setting(
        _("Fetch the daily bill"),
        help=_("Holds Alipay's books against yours every morning and books the fees."),
        default=True,
    )

    @property
    def address(self) -> str:
        return self.gateway or SERVERS[self.server]

    @model_validator(mode="before")
    @classmethod
    def _asked_for_each(cls, values: Any) -> Any:
        """What was left out is looked at too: which is needed depends on the mode."""
        return {**dict.fromkeys(NEEDED), **values} if isinstance(values, dict) else values

    @field_validator(*NEEDED)
    @classmethod
    def _is_there(cls, text: str | None, info: ValidationInfo) -> str | None:
        if not text and NEEDED[str(info.field_name)] == info.data.get("mode"):
            raise ValueError(str(_("Alipay cannot be recognised without it.")))
        return text or None

    @field_validator("private_key")
    @classmethod
    def _is_private(cls, key: Secret) -> Secret:
        try:
            signature.private_key(key.reveal())
        except signature.NotAKey:
            raise ValueError(str(_("This is no private RSA key."))) from None
        return key

    @field_validator("alipay_key")
    @classmethod
    def _is_public(cls, text: str | None) -> str | None:
        try:
            signature.public_key(text) if text else None
        except signature.NotAKey:
            raise ValueError(str(_("This is no public RSA key."))) from None
        return text

    @field_validator("app_certificate", "alipay_certificate", "root_certificate")
    @classmethod
    def _is_certificate(cls, text: str | None, info: ValidationInfo) -> str | None:
        use = certificates.root_serial if info.field_name == "root_certificate" else certificates.public_key
        try:
            use(text) if text else None
        except certificates.NotACertificate:
            raise ValueError(str(_("This holds no RSA certificate."))) from None
        return text
