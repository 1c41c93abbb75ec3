"""The shop's hooks and one fact more, to try out how facts travel."""

from typing import Any

import msgspec

from core.hooks.context import PluginContext
from core.hooks.specs import check_order, hookspec, register_notifiers, register_payment_methods
from core.money import Money

__all__ = ["check_order", "order_finished", "register_notifiers", "register_payment_methods"]


class FinishedOrder(msgspec.Struct, frozen=True):
    ref: str
    total: Money


@hookspec
async def order_finished(ctx: PluginContext[Any], order: FinishedOrder) -> None:
    """An order is finished."""
