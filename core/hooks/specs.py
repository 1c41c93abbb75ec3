"""Every hook a plugin can implement, in the order of a shop's life. Nothing else is called by the shop.

The name of a hook tells how it is called:

``register_*``  collect: once when plugins are loaded, and again when settings were saved. Gives objects into a
                registry under their ``key``. A key with two owners stops the start; a plugin that fails here
                is set aside with its reason and delivers nothing.
``check_*``     ask: a guard, before the change and before its transaction opens. Says nothing, or raises
                ``Refusal``. A guard that breaks or takes too long refuses too.
past tense      notify: a fact, after it was committed, once for each plugin from a durable job, tried again
                until it succeeds. Hearing it twice must do no harm.

An implementation is a method marked ``@hookimpl``, ``def`` or ``async def``, and names only the arguments it
needs. All plugins are called in the order of their ids. Blocking calls cannot be timed out: wait with
``await``, never with ``time.sleep`` or a blocking client.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pluggy

from core.hooks.context import PluginContext
from core.hooks.views import Keyed, OrderToCheck, OrderView, RefundView, RemovedView, ReviewView, StockView

API = 1
"""Rises when a plugin written for the number before would no longer work."""

PROJECT = "vouchsafe"
hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)
"""Stands above a method of a :class:`Plugin` that implements a hook; the method has the hook's name."""


# -- the start --------------------------------------------------------------------------


@hookspec
def register_payment_methods(ctx: PluginContext[Any]) -> Sequence[Keyed]:  # type: ignore[empty-body]
    """Deliver the ways to be paid that this plugin offers.

    Called when plugins are loaded and whenever the settings of any plugin were saved: build the objects anew
    from ``ctx`` each time, and keep nothing in module variables. Make no network call here.

    :param ctx: this plugin's settings, its HTTP client and the facts of the shop.
    :returns: a list of ``PaymentMethod`` objects; each ``key`` is unique among all plugins and never changes,
        because it is part of the address gateways call and of stored payments. None or an empty list offers
        nothing.

    If it fails: the plugin is set aside and shown as failed on the plugins page; the shop goes on.
    Added in api 1. Used by: payments.alipay, payments.balance, payments.epay, payments.manual,
    payments.sandbox, payments.stripe.
    """


@hookspec
def register_notifiers(ctx: PluginContext[Any]) -> Sequence[Keyed]:  # type: ignore[empty-body]
    """Deliver the ways to reach people that this plugin offers.

    Called when plugins are loaded and whenever the settings of any plugin were saved: build the objects anew
    from ``ctx`` each time. Make no network call here.

    :param ctx: this plugin's settings, its HTTP client and the facts of the shop.
    :returns: a list of ``Notifier`` objects with a ``key`` unique among all plugins. None or an empty list
        offers nothing.

    If it fails: the plugin is set aside and shown as failed on the plugins page; the shop goes on.
    Added in api 1. Used by: notifiers.smtp.
    """


@hookspec
def register_suppliers(ctx: PluginContext[Any]) -> Sequence[Keyed]:  # type: ignore[empty-body]
    """Deliver the places this plugin can buy goods from.

    Called when plugins are loaded and whenever the settings of any plugin were saved: build the objects anew
    from ``ctx`` each time, one for each account with a supplier. Make no network call here.

    :param ctx: this plugin's settings, its HTTP client and the facts of the shop.
    :returns: a list of ``Supplier`` objects; each ``key`` is unique among all plugins and never changes, because
        it is part of the address suppliers call and of stored offers and purchases. None or an empty list
        offers nothing.

    If it fails: the plugin is set aside and shown as failed on the plugins page; the shop goes on, and purchases
    that wait for this supplier wait on. Added in api 1. Used by: bridges.dujiao_next, suppliers.fulu.
    """


@hookspec
def register_promotions(ctx: PluginContext[Any]) -> Sequence[Keyed]:  # type: ignore[empty-body]
    """Deliver what changes the price of a basket.

    Called when plugins are loaded and whenever the settings of any plugin were saved: build the objects anew
    from ``ctx`` each time. Make no network call here.

    :param ctx: this plugin's settings, its database, and the facts of the shop.
    :returns: a list of ``Promotion`` objects with a ``key`` unique among all plugins; it is stored with orders
        and never changes. None or an empty list offers nothing.

    If it fails: the plugin is set aside and shown as failed on the plugins page; the shop sells at catalogue
    prices. Added in api 1. Used by: promotions.coupon, promotions.spend_and_save.
    """


@hookspec
def register_risk_rules(ctx: PluginContext[Any]) -> Sequence[Keyed]:  # type: ignore[empty-body]
    """Deliver the rules that look for trouble in an order that is about to be placed.

    Called when plugins are loaded and whenever the settings of any plugin were saved: build the objects anew
    from ``ctx`` each time. Make no network call here.

    :param ctx: this plugin's settings, its database, and the facts of the shop.
    :returns: a list of ``RiskRule`` objects with a ``key`` unique among all plugins; it is stored with the
        evidence and never changes. None or an empty list adds no rule.

    If it fails: the plugin is set aside and shown as failed on the plugins page; the shop sells without its rules.
    Added in api 1. Used by: risk.burst, risk.network, risk.velocity.
    """


@hookspec
def register_channels(ctx: PluginContext[Any]) -> Sequence[Keyed]:  # type: ignore[empty-body]
    """Deliver the languages in which other programs can buy from this shop.

    Called when plugins are loaded and whenever the settings of any plugin were saved: build the objects anew
    from ``ctx`` each time. Make no network call here.

    :param ctx: this plugin's settings, its HTTP client, its database and the facts of the shop.
    :returns: a list of ``Channel`` objects; each ``key`` is unique among all plugins and never changes, because it
        is part of the address programs call (``/channel/<key>/``) and of stored orders. None or an empty list
        opens no door.

    If it fails: the plugin is set aside and shown as failed on the plugins page; the door is closed, and partners
    who wait for news get it when the plugin is back. Added in api 1. Used by: bridges.dujiao_next.
    """


# -- an order ---------------------------------------------------------------------------


@hookspec
async def check_order(ctx: PluginContext[Any], order: OrderToCheck) -> None:
    """Look at an order that is about to be placed, and refuse it by raising ``Refusal``.

    Called after the price was worked out and before anything is stored or reserved, outside any transaction.
    It has five seconds. It may be called again for the same order when the buyer clicks twice.

    :param ctx: this plugin's settings, its HTTP client and the facts of the shop.
    :param order: what would be placed, and the buyer's history; read only.
    :raises Refusal: the order must not be placed. Its text is shown to the buyer.

    Answer: ignored. If it fails: the order is refused, the failure is counted on the plugins page.
    Added in api 1. Used by: risk.caps.
    """


@hookspec
async def order_paid(ctx: PluginContext[Any], order: OrderView) -> None:
    """Hear that an order is paid in full.

    Called after the commit of the payment, from a durable job, within two seconds when all is well. The goods may be
    handed over already (then ``order_delivered`` follows at once), still on their way, or waiting for a person.

    :param ctx: this plugin's settings, its HTTP client and the facts of the shop.
    :param order: the order as it is now; see :class:`OrderView` about ``contact``.

    Answer: ignored. It has thirty seconds. If it fails: the failure is counted on the plugins page and this plugin
    alone is told again, later and later, for more than two hours. It may be told twice: look at ``order.ref``.
    Added in api 1. Used by: notifiers.inbox, notifiers.telegram, notifiers.webhook.
    """


@hookspec
async def order_delivered(ctx: PluginContext[Any], order: OrderView) -> None:
    """Hear that all goods of an order were handed over to its buyer.

    Called after the commit of the delivery, from a durable job, within two seconds when all is well. It usually
    follows ``order_paid``, but one may overtake the other. There are no codes in what it is shown.

    :param ctx: this plugin's settings, its HTTP client and the facts of the shop.
    :param order: the order as it is now; see :class:`OrderView` about ``contact``.

    Answer: ignored. It has thirty seconds. If it fails: the failure is counted on the plugins page and this plugin
    alone is told again, later and later, for more than two hours. It may be told twice: look at ``order.ref``.
    Added in api 1. Used by: notifiers.inbox, notifiers.telegram, notifiers.webhook.
    """


@hookspec
async def order_refunded(ctx: PluginContext[Any], order: OrderView, refund: RefundView) -> None:
    """Hear that money of an order was given back, all of it or a part.

    Called after the commit that wrote down that the money went, once for each refund, from a durable job. When
    nothing is left of the payment, ``order.payment_state`` is ``refunded``.

    :param ctx: this plugin's settings, its HTTP client and the facts of the shop.
    :param order: the order as it is now; see :class:`OrderView` about ``contact``.
    :param refund: how much went back, and how.

    Answer: ignored. It has thirty seconds. If it fails: the failure is counted on the plugins page and this plugin
    alone is told again, later and later, for more than two hours. It may be told twice: look at ``refund.ref``.
    Added in api 1. Used by: notifiers.inbox, notifiers.telegram, notifiers.webhook.
    """


@hookspec
async def order_closed(ctx: PluginContext[Any], order: OrderView) -> None:
    """Hear that an unpaid order has ended: its time was over, or it was given up.

    Called after the commit that put its goods back on sale, from a durable job. ``order.payment_state`` is
    ``expired`` or ``cancelled``; it can be ``paid`` when money came after all before this is told.

    :param ctx: this plugin's settings, its HTTP client and the facts of the shop.
    :param order: the order as it is now; see :class:`OrderView` about ``contact``.

    Answer: ignored. It has thirty seconds. If it fails: the failure is counted on the plugins page and this plugin
    alone is told again, later and later, for more than two hours. It may be told twice: look at ``order.ref``.
    Added in api 1. Used by: notifiers.webhook.
    """


@hookspec
async def buyer_forgotten(ctx: PluginContext[Any], order: OrderView) -> None:
    """Forget who bought this order: what the plugin keeps that a buyer wrote, or that says who it was.

    Called after the commit in which the shop forgot a buyer who wanted it, once for each of their orders, from a
    durable job. Amounts, times and what the books need may stay.

    :param ctx: this plugin's settings, its HTTP client and the facts of the shop.
    :param order: the order as it is now, without its buyer: ``contact_kind`` is ``erased``.

    Answer: ignored. It has thirty seconds. If it fails: the failure is counted on the plugins page and this plugin
    alone is told again, later and later, for more than two hours. It may be told twice: look at ``order.ref``.
    Added in api 1. Used by: apps.tickets.
    """


@hookspec
async def order_removed(ctx: PluginContext[Any], removed: RemovedView) -> None:
    """Remove what the plugin keeps about this order: it was a test, and the shop took it out.

    Called after the commit in which it went, once for each order, from a durable job. Rows of the plugin's own tables
    that point at the order went with it.

    :param ctx: this plugin's settings, its HTTP client and the facts of the shop.
    :param removed: the order's number and its shop.

    Answer: ignored. It has thirty seconds. If it fails: the failure is counted on the plugins page and this plugin
    alone is told again, later and later, for more than two hours. It may be told twice: look at ``removed.ref``.
    Added in api 1. Used by: apps.tickets.
    """


# -- what staff should know -------------------------------------------------------------


@hookspec
async def review_opened(ctx: PluginContext[Any], review: ReviewView) -> None:
    """Hear that something waits for a person in the review queue.

    Called after the commit of what raised the question, once for each question, from a durable job.

    :param ctx: this plugin's settings, its HTTP client and the facts of the shop.
    :param review: what is asked, and about which order.

    Answer: ignored. It has thirty seconds. If it fails: the failure is counted on the plugins page and this plugin
    alone is told again, later and later, for more than two hours. It may be told twice: look at ``review.number``.
    Added in api 1. Used by: notifiers.inbox, notifiers.telegram, notifiers.webhook.
    """


@hookspec
async def stock_low(ctx: PluginContext[Any], stock: StockView) -> None:
    """Hear that a SKU on sale has no more codes than its threshold.

    Called after the commit of the look that found it (one a minute), from a durable job; once until it is refilled.

    :param ctx: this plugin's settings, its HTTP client and the facts of the shop.
    :param stock: the SKU and what is left of it now.

    Answer: ignored. It has thirty seconds. If it fails: the failure is counted on the plugins page and this plugin
    alone is told again, later and later, for more than two hours. It may be told twice.
    Added in api 1. Used by: notifiers.inbox, notifiers.telegram, notifiers.webhook.
    """
