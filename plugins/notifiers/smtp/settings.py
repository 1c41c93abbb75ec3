"""What a merchant tells us about a mail server."""

from ipaddress import ip_address
from typing import Literal

from pydantic import ValidationInfo, field_validator

from core.api import PluginSettings, Secret, _, setting


class Settings(PluginSettings):
    host: str = setting(
        _("Mail server"), help=_("Such as smtp.example.com"), pattern=r"^[A-Za-z0-9._:-]+$", max_length=253
    )
    security: Literal["starttls", "tls", "none"] = setting(
        _("Encryption"),
        default="starttls",
        choices={
            "starttls": _("STARTTLS (usually port 587)"),
            "tls": _("TLS from the start (usually port 465)"),
            "none": _("None (only for a server on this machine)"),
        },
    )
    port: int = setting(_("Port"), default=587, ge=1, le=65535)
    username: str = setting(_("User name"), default="", help=_("Empty if the server asks for none."), max_length=200)
    password: Secret | None = setting(_("Password"), default=None, max_length=500)
    from_address: str = setting(
        _("Sender address"),
        help=_("The address your mails come from, such as shop@example.com"),
        pattern=r"^[^@\s<>\"(),:;\\]+@[A-Za-z0-9.-]+$",
        max_length=254,
    )
    from_name: str = setting(
        _("Sender name"), default="", help=_("Empty: the shop's name."), pattern=r"^[^\r\n]*$", max_length=100
    )
    seconds: int = setting(_("Time limit"), default=20, ge=2, le=50, unit=_("seconds"))

    @field_validator("username")
    @classmethod
    def _password_is_safe(cls, username: str, info: ValidationInfo) -> str:
        if username and info.data.get("security") == "none" and not _is_here(info.data.get("host", "")):
            raise ValueError(str(_("Without encryption everyone on the way can read the password. Choose one.")))
        return username

    @property
    def domain(self) -> str:
        return self.from_address.rpartition("@")[2]


def _is_here(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
