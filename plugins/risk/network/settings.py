from core.api import PluginSettings, _, setting


class Settings(PluginSettings):
    only_note: bool = setting(
        _("Only note"),
        help=_("Write down what it finds, without any effect. Watch it so for some days before it bites."),
        default=False,
    )
    hosting_points: int = setting(
        _("Points for a hosting network"),
        help=_("Servers seldom buy for themselves; company networks and VPNs are there too."),
        default=30,
        ge=0,
        le=100,
    )
    proxy_points: int = setting(_("Points for a proxy"), default=50, ge=0, le=100)
    bad_points: int = setting(
        _("Points for an address of bad repute"), help=_("100 refuses, as the shop comes."), default=100, ge=0, le=100
    )
    hours: int = setting(_("Fetch the lists again after"), unit=_("hours"), default=24, ge=1, le=720)
