"""What a merchant tells us about an account at Fulu."""

from typing import Literal

from core.api import PluginSettings, Secret, Url, _, setting

GATEWAYS = {
    "live": "https://openapi.fulu.com/api/getway",
    "sandbox": "https://pre-openapi.fulu.com/api/getway",
}


class FuluSettings(PluginSettings):
    app_key: str = setting(_("AppKey"), max_length=200, pattern=r"^\S+$")
    app_secret: Secret = setting(
        _("AppSecret"), help=_("32 signs; they also open the cards."), min_length=32, max_length=32
    )
    platform: Literal["live", "sandbox", "other"] = setting(
        _("Platform"),
        help=_("Fulu answers only addresses it knows: give it the address of this server first."),
        default="live",
        choices={"live": _("Live"), "sandbox": _("Sandbox"), "other": _("Another address")},
    )
    address: Url | None = setting(_("Another address"), help=_("Only when chosen above."), default=None, max_length=300)

    @property
    def gateway(self) -> str:
        return GATEWAYS.get(self.platform) or self.address or GATEWAYS["live"]
