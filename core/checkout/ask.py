"""Ask a gateway about one attempt, and let what it says have its effect."""

from __future__ import annotations

from core.checkout.settle import settle
from core.hooks import runtime
from core.jobs import bell, ring
from core.payments import service as payments
from core.payments.method import PaymentMethod


async def ask_about(attempt: payments.StoredAttempt) -> None:
    method = runtime.current().payment_methods.get(attempt.method)
    if not isinstance(method, PaymentMethod):
        await payments.ask_later(attempt)
        return
    claim = await payments.ask(method, attempt)
    if claim is not None:
        settled = await settle(attempt.method, claim, "query")
        await ring(*settled.jobs)
        await bell.ring(f"order:{attempt.view.order_ref}", settled.outcome)
