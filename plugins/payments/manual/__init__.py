"""Bank transfer and the like: the buyer reads how to pay, a member of staff confirms that the money came."""

from typing import Self

from pydantic import ValidationError, model_validator
from pydantic_core import InitErrorDetails, PydanticCustomError

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
    title_zh: str = setting(_("Name on the button (Chinese)"), default="银行转账", min_length=1, max_length=60)
    title_en: str = setting(_("Name on the button (English)"), default="Bank transfer", min_length=1, max_length=60)
    instructions_zh: str = setting(_("How to pay (Chinese)"), help=PLACES, default="", long=True, max_length=4000)
    instructions_en: str = setting(_("How to pay (English)"), help=PLACES, default="", long=True, max_length=4000)

    @model_validator(mode="after")
    def _one_is_written(self) -> Self:
        if not self.instructions_zh.strip() and not self.instructions_en.strip():
            why = PydanticCustomError(
                "value_error", "{error}", {"error": str(_("Write how to pay in at least one language."))}
            )
            fields = ("instructions_zh", "instructions_en")
            raise ValidationError.from_exception_data(
                "settings", [InitErrorDetails(type=why, loc=(name,), input="") for name in fields]
            )
        return self


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
