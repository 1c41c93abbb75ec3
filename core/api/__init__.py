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
from core.pricing.promotion import Adjustment, Basket, BasketLine, Cap, CodeRefused, Promotion
from core.review.risk import Action, Evidence, RiskRule
from core.supply.supplier import (
    AboveCap,
    AccountField,
    Delivers,
    Good,
    Offer,
    OfferNews,
    OfferPage,
    OutOfStock,
    Purchase,
    PurchaseAnswer,
    PurchaseNews,
    PurchaseState,
    Supplier,
    SupplierRefused,
    SupplierUnavailable,
)
from core.web.i18n import _

__all__ = [
    "AboveCap",
    "AccountField",
    "Action",
    "Adjustment",
    "Answer",
    "Attempt",
    "Basket",
    "BasketLine",
    "CallbackRequest",
    "Cap",
    "Check",
    "CheckResult",
    "Claim",
    "ClaimState",
    "CodeRefused",
    "Delivers",
    "Evidence",
    "Forged",
    "GatewayRefused",
    "GatewayUnavailable",
    "Good",
    "HttpAnswer",
    "HttpError",
    "Instructions",
    "LineToCheck",
    "Money",
    "NotSent",
    "Notifier",
    "NotifierRefused",
    "NotifierUnavailable",
    "Offer",
    "OfferNews",
    "OfferPage",
    "OrderHistory",
    "OrderToCheck",
    "OutOfStock",
    "OutgoingMessage",
    "PaymentMethod",
    "PaymentOption",
    "Plugin",
    "PluginContext",
    "PluginHttp",
    "PluginSettings",
    "PostForm",
    "Promotion",
    "Purchase",
    "PurchaseAnswer",
    "PurchaseNews",
    "PurchaseState",
    "Purse",
    "QrCode",
    "Receipt",
    "Redirect",
    "Refund",
    "RefundAnswer",
    "RefundState",
    "Refusal",
    "RiskRule",
    "Secret",
    "Started",
    "Step",
    "Supplier",
    "SupplierRefused",
    "SupplierUnavailable",
    "Unclear",
    "Url",
    "_",
    "hookimpl",
    "setting",
]
