"""Bank transfer and the like: the buyer reads how to pay, a member of staff confirms that the money came."""

from pydantic import ConfigDict, ValidationInfo, field_validator

from core.api import (
    Attempt,
    CallbackRequest,
    Forged,
    Instructions,
    PaymentMethod,
    Plugin,
    PluginContext,
    PluginSettings,
    Started,
    _,
    hookimpl,
    setting,
)

PLACES = _("{amount} and {order} are replaced by the sum and the order number.")


class ManualSettings(PluginSettings):
    model_config = ConfigDict(validate_default=True)

    title_zh: str = setting(_("Name on the button (Chinese)"), default="银行转账", min_length=1, max_length=60)
    title_en: str = setting(_("Name on the button (English)"), default="Bank transfer", min_length=1, max_length=60)
    instructions_zh: str = setting(_("How to pay (Chinese)"), help=PLACES, default="", long=True, max_length=4000)
    instructions_en: str = setting(_("How to pay (English)"), help=PLACES, default="", long=True, max_length=4000)

    @field_validator("instructions_en")
    @classmethod
    def _one_is_written(cls, text: str, info: ValidationInfo) -> str:
        if not text.strip() and not info.data.get("instructions_zh", "").strip():
            raise ValueError(str(_("Write how to pay in at least one language.")))
        return text


class Manual(PaymentMethod):
    key = "manual"
    icon = "receipt"
    starts_here = True

    def __init__(self, settings: ManualSettings) -> None:
        self.title = {"zh-CN": settings.title_zh, "en": settings.title_en}
        self._texts = {"zh-CN": settings.instructions_zh.strip(), "en": settings.instructions_en.strip()}

    async def start(self, attempt: Attempt) -> Started:
        texts = {locale: _filled(text, attempt, locale) for locale, text in self._texts.items() if text}
        return Started(Instructions(texts))

    async def parse_callback(self, request: CallbackRequest) -> None:
        raise Forged(_("nobody but staff confirms these payments"))


def _filled(text: str, attempt: Attempt, locale: str) -> str:
    return text.replace("{amount}", attempt.amount.text(locale)).replace("{order}", attempt.order_ref)


class ManualPlugin(Plugin):
    Settings = ManualSettings

    @hookimpl
    def register_payment_methods(self, ctx: PluginContext[ManualSettings]) -> list[Manual]:
        return [Manual(ctx.settings)]


plugin = ManualPlugin()
