"""The built-in guard, with orders that are really in the database."""

from dataclasses import replace
from datetime import timedelta

import pytest

from core import clock, db
from core.hooks.answers import Refusal
from core.hooks.manager import State
from core.hooks.runtime import ROOT, Runtime
from core.orders.history import History

ORDER = """
INSERT INTO orders_order (shop_id, ref, key, contact, contact_kind, locale, currency, total, token_hash, token_sealed,
                          ip, contact_slot, expires_at, created_at)
SELECT 1, $1, $1, $2, 'email', 'en', 'CNY', 1990, sha256('x'), 'x', $3,
       1 + (SELECT count(*) FROM orders_order WHERE contact = $2), now(), $4
"""
TOLD = "too many orders in a short time"


@pytest.fixture
async def caps(operator):
    await db.execute("DELETE FROM orders_order")
    await operator.saves("risk.caps", {"per_contact": 2, "per_address": 3}, {})
    runtime = Runtime(folder=ROOT / "plugins", environ={})
    await runtime.start()
    assert runtime.plugin("risk.caps").state is State.ACTIVE
    yield runtime
    await runtime.close()


@pytest.fixture
def ordered(order):
    """An order about to be placed after some others."""

    async def make(contact="buyer@example.com", ip="203.0.113.7", minutes_ago=5, count=1):
        for number in range(count):
            ref = f"{contact}{ip}{minutes_ago}{number}"
            await db.execute(ORDER, ref, contact, ip, clock.now() - timedelta(minutes=minutes_ago))
        return replace(order, history=History(1, order.contact, order.ip, b"", "CNY"))

    return make


async def test_a_buyer_below_the_caps_may_order(caps, ordered):
    await caps.ask("check_order", order=await ordered(count=1))


async def test_the_cap_by_contact(caps, ordered):
    with pytest.raises(Refusal, match=TOLD):
        await caps.ask("check_order", order=await ordered(ip="203.0.113.99", count=2))


async def test_the_cap_by_address(caps, ordered):
    with pytest.raises(Refusal, match=TOLD):
        await caps.ask("check_order", order=await ordered(contact="other@example.com", count=3))


async def test_orders_of_others_and_of_the_past_do_not_count(caps, ordered):
    await ordered(contact="other@example.com", ip="203.0.113.99", count=9)
    await caps.ask("check_order", order=await ordered(minutes_ago=61, count=9))


async def test_loopback_says_nothing_about_a_buyer(caps, ordered):
    asked = replace(await ordered(contact="other@example.com", ip="127.0.0.1", count=9), ip="127.0.0.1")
    await caps.ask("check_order", order=replace(asked, history=History(1, asked.contact, "127.0.0.1", b"", "CNY")))
