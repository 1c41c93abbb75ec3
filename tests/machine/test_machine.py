"""Whatever is done to a shop, in whatever order: what must hold holds after every step.

``MACHINE_EXAMPLES=5000`` runs as many random examples instead of the seeded ones (``make soak``).
"""

import asyncio
import itertools
import os

import pytest
import uvloop
from hypothesis import HealthCheck, Phase, settings
from hypothesis.errors import Flaky
from hypothesis.stateful import run_state_machine_as_test

from core import db
from tests.conftest import TEMPLATE
from tests.machine.machine import ShopMachine
from tests.machine.world import open_shop

EXAMPLES = int(os.environ.get("MACHINE_EXAMPLES", "200"))
numbers = itertools.count(1)
RULE = "hypothesis_stateful_rule"
SEEDED = "MACHINE_EXAMPLES" not in os.environ


@pytest.fixture
def machine(engines):
    """The machine on a shop of its own, in an event loop of its own."""
    name = f"machine_{os.getpid()}_{next(numbers)}"
    engines.sql(f"CREATE DATABASE {name} TEMPLATE {TEMPLATE}")
    engines.sql(f"ALTER DATABASE {name} SET synchronous_commit = off")  # nothing is killed here
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        shop = runner.run(open_shop(engines.url_of(name)))
        yield type("Machine", (ShopMachine,), {"runner": runner, "shop": shop, "damage": []})
        runner.run(shop.close())
    engines.sql(f"DROP DATABASE {name}")


def run(machine: type[ShopMachine], examples: int, seeded: bool = True) -> None:
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=8,
            derandomize=seeded,
            deadline=None,
            database=None,
            print_blob=True,
            phases=[Phase.generate],  # an example is short enough to read as it is
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_whatever_is_done_holds(machine):
    run(machine, EXAMPLES, SEEDED)


WITHOUT = {
    "refunds are not counted": (
        "ALTER TABLE payments_refund DISABLE TRIGGER payments_refund_guarded;"
        " ALTER TABLE orders_order DROP CONSTRAINT orders_order_refunded",
        {"pay", "refund"},
        "more went back than came",
    ),
    "a buyer has as many places as one likes": (
        "DROP INDEX orders_order_contact_slot",
        {"greedy", "place"},
        "one buyer holds more unpaid orders than one may",
    ),
    "a discount need not have a use": (
        "ALTER TABLE orders_use DROP CONSTRAINT orders_use_pkey; ALTER TABLE orders_use ALTER cap_id DROP NOT NULL",
        {"discounted", "cancel"},
        "an order has a discount without a use of it",
    ),
    "one click may move money twice": (
        "ALTER TABLE ledger_entry DROP CONSTRAINT ledger_entry_source_key",
        {"put_in", "place"},
        "a click moved money twice",
    ),
}


@pytest.mark.parametrize("guard", WITHOUT)
def test_without_a_guard_it_finds_the_damage(machine, guard):
    """A guard of the database is taken away: the same machine must fail, and for that reason.

    Only those acts are done that the guard is about, to find it soon.
    """
    take_away, acts, damage = WITHOUT[guard]
    others = {name for name in vars(ShopMachine) if hasattr(getattr(ShopMachine, name), RULE)} - acts
    machine.runner.run(db.execute(take_away))
    with pytest.raises((AssertionError, Flaky)):
        run(type("Machine", (machine,), dict.fromkeys(others)), 150)
    assert any(damage in found for found in machine.damage), machine.damage
