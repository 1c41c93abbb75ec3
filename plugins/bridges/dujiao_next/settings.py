"""What a merchant sets: the shop to buy from, and whether to sell."""

from typing import Any
from urllib.parse import urlsplit

from pydantic import ValidationInfo, field_validator, model_validator

from core.api import PluginSettings, Secret, Url, _, setting

from . import wire

ACCOUNT = ("api_key", "api_secret")


class BridgeSettings(PluginSettings):
    address: Url | None = setting(
        _("Address of the shop to buy from"),
        help=_("Such as https://shop.example.com. Leave it empty to sell only."),
        default=None,
        max_length=300,
    )
    api_key: str | None = setting(_("API key"), help=_("The other shop gives it to you."), default=None, max_length=200)
    api_secret: Secret | None = setting(_("API secret"), default=None, max_length=400)
    sync_seconds: int = setting(_("Look at prices and stock every"), default=60, ge=10, le=86_400, unit=_("seconds"))
    selling: bool = setting(
        _("Sell to other shops"),
        help=_("Those you make partners under Sales → Partners."),
        default=True,
    )

    @model_validator(mode="before")
    @classmethod
    def _look_at_the_account_too(cls, values: Any) -> Any:
        return {**dict.fromkeys(ACCOUNT), **values} if isinstance(values, dict) else values

    @field_validator("address")
    @classmethod
    def _without_the_interface(cls, address: str | None) -> str | None:
        if address is None:
            return None
        parts = urlsplit(address)
        if parts.query or parts.fragment:
            raise ValueError(str(_("Write the address without anything after ? or #.")))
        return address.rstrip("/").removesuffix(wire.PREFIX).rstrip("/")

    @field_validator(*ACCOUNT)
    @classmethod
    def _needed_to_buy(cls, value: Secret | str | None, info: ValidationInfo) -> Secret | str | None:
        if not value and info.data.get("address"):
            raise ValueError(str(_("Buying needs it.")))
        return value
