from pathlib import Path

from core.payments import console
from core.web.feature import Feature, Nav
from core.web.i18n import _

feature = Feature(
    name="payments",
    folder=Path(__file__).parent,
    console_routes=console.ROUTES,
    nav=[
        Nav(_("Payments"), "/admin/payments", "credit-card", group="sales", right="payments.read", order=120),
        Nav(_("Refund or refill"), "/admin/refunds", "refresh", group="sales", right="payments.read", order=115),
        Nav(_("Reconciliation"), "/admin/statements", "scale", group="sales", right="finance.read", order=127),
    ],
)
