"""What a merchant tells us about an account at Stripe."""

import re

from pydantic import ValidationInfo, field_validator

from core.api import PluginSettings, Secret, Url, _, setting

SHAPES = {
    "key": re.compile(r"(sk|rk)_(live|test)_[A-Za-z0-9_]{8,}"),
    "webhook_secret": re.compile(r"whsec_[A-Za-z0-9+/=_-]{4,}"),
}


class StripeSettings(PluginSettings):
    key: Secret = setting(
        _("Secret key"),
        help=_("sk_live_… or a restricted rk_live_…. With a test key payments are tests, and need the test mode."),
        max_length=255,
    )
    webhook_secret: Secret = setting(
        _("Webhook signing secret"),
        help=_("whsec_…, shown by Stripe where you add the webhook endpoint of this shop."),
        max_length=255,
    )
    statements: bool = setting(
        _("Fetch the daily balance"),
        help=_("Holds Stripe's books against yours every day and books the fees."),
        default=True,
    )
    server: Url = setting(
        _("Server"),
        help=_("Only for a proxy of your own."),
        default="https://api.stripe.com",
        max_length=300,
    )

    @field_validator(*SHAPES)
    @classmethod
    def _has_its_shape(cls, secret: Secret, info: ValidationInfo) -> Secret:
        if not SHAPES[str(info.field_name)].fullmatch(secret.reveal()):
            raise ValueError(str(_("This is not what Stripe calls so; look how it begins.")))
        return secret

    @property
    def is_test(self) -> bool:
        return "_test_" in self.key.reveal()[:10]
