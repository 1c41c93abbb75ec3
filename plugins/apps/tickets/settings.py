"""What a merchant may set."""

from core.api import PluginSettings, _, setting


class Settings(PluginSettings):
    answer_hours: int = setting(
        _("Answer within"),
        help=_("What waits longer for the shop is marked as late."),
        unit=_("hours"),
        default=24,
        ge=1,
        le=720,
    )
    mail_staff: bool = setting(_("Mail staff when a buyer writes"), default=True)
    close_days: int = setting(_("Close when the buyer is silent for"), unit=_("days"), default=7, ge=1, le=365)
    reopen_days: int = setting(_("A closed question can be opened again for"), unit=_("days"), default=30, ge=0, le=365)
    keep_days: int = setting(_("Closed questions are kept for"), unit=_("days"), default=365, ge=1, le=3650)
    image_days: int = setting(_("Their pictures are kept for"), unit=_("days"), default=90, ge=1, le=3650)
