"""The door: everything a plugin may use of the shop, and the only module of it a plugin may import.

Nothing is defined here. Each name is documented where it is written; ``docs/plugins.md`` is the guide.
Times are aware datetimes in UTC, amounts are :class:`Money` in whole minor units.
"""

from core.hooks.answers import Check, CheckResult, Refusal
from core.hooks.context import PluginContext
from core.hooks.http import HttpAnswer, HttpError, NotSent, PluginHttp, Unclear
from core.hooks.plugin import Plugin
from core.hooks.settings import PluginSettings, Secret, Url, setting
from core.hooks.specs import hookimpl
from core.hooks.views import LineToCheck, OrderHistory, OrderToCheck
from core.messages.notifier import Notifier, NotifierRefused, NotifierUnavailable, OutgoingMessage, Receipt
from core.money import Money
from core.payments.method import (
    Answer,
    Attempt,
    CallbackRequest,
    Claim,
    ClaimState,
    Forged,
    GatewayRefused,
    GatewayUnavailable,
    Instructions,
    PaymentMethod,
    PaymentOption,
    PostForm,
    Purse,
    QrCode,
    Redirect,
    Refund,
    RefundAnswer,
    RefundState,
    Started,
    Step,
)
from core.web.i18n import _

__all__ = [
    "Answer",
    "Attempt",
    "CallbackRequest",
    "Check",
    "CheckResult",
    "Claim",
    "ClaimState",
    "Forged",
    "GatewayRefused",
    "GatewayUnavailable",
    "HttpAnswer",
    "HttpError",
    "Instructions",
    "LineToCheck",
    "Money",
    "NotSent",
    "Notifier",
    "NotifierRefused",
    "NotifierUnavailable",
    "OrderHistory",
    "OrderToCheck",
    "OutgoingMessage",
    "PaymentMethod",
    "PaymentOption",
    "Plugin",
    "PluginContext",
    "PluginHttp",
    "PluginSettings",
    "PostForm",
    "Purse",
    "QrCode",
    "Receipt",
    "Redirect",
    "Refund",
    "RefundAnswer",
    "RefundState",
    "Refusal",
    "Secret",
    "Started",
    "Step",
    "Unclear",
    "Url",
    "_",
    "hookimpl",
    "setting",
]
