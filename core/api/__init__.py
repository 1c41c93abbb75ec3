"""The door: everything a plugin may use of the shop, and the only module of it a plugin may import.

Nothing is defined here. Each name is documented where it is written; ``docs/plugins.md`` is the guide.
Times are aware datetimes in UTC, amounts are :class:`Money` in whole minor units.
"""

from core.hooks.answers import Check, CheckResult, Refusal
from core.hooks.context import PluginContext
from core.hooks.http import HttpAnswer, HttpError, NotSent, PluginHttp, Unclear
from core.hooks.pages import plugin_context, visit_of
from core.hooks.plugin import Act, Pages, Plugin, PluginJob
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
    LineKind,
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
    StatementLine,
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
from core.web.errors import BadRequest, Conflict, Forbidden, FormError, NotFound, TooMany, Unavailable
from core.web.feature import Nav
from core.web.flash import flash
from core.web.forms import Upload, read_form, read_json
from core.web.hx import hx_response, toast, wants_fragment
from core.web.i18n import _
from core.web.render import fragment, fragment_text, page, see_other
from core.web.visit import Visit

__all__ = [
    "AboveCap",
    "AccountField",
    "Act",
    "Action",
    "Adjustment",
    "Answer",
    "Attempt",
    "BadRequest",
    "Basket",
    "BasketLine",
    "CallbackRequest",
    "Cap",
    "Check",
    "CheckResult",
    "Claim",
    "ClaimState",
    "CodeRefused",
    "Conflict",
    "Delivers",
    "Evidence",
    "Forbidden",
    "Forged",
    "FormError",
    "GatewayRefused",
    "GatewayUnavailable",
    "Good",
    "HttpAnswer",
    "HttpError",
    "Instructions",
    "LineKind",
    "LineToCheck",
    "Money",
    "Nav",
    "NotFound",
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
    "Pages",
    "PaymentMethod",
    "PaymentOption",
    "Plugin",
    "PluginContext",
    "PluginHttp",
    "PluginJob",
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
    "StatementLine",
    "Step",
    "Supplier",
    "SupplierRefused",
    "SupplierUnavailable",
    "TooMany",
    "Unavailable",
    "Unclear",
    "Upload",
    "Url",
    "Visit",
    "_",
    "flash",
    "fragment",
    "fragment_text",
    "hookimpl",
    "hx_response",
    "page",
    "plugin_context",
    "read_form",
    "read_json",
    "see_other",
    "setting",
    "toast",
    "visit_of",
    "wants_fragment",
]
