"""Whatever is done to a shop, in whatever order: what must hold holds after every step.

``MACHINE_EXAMPLES=5000`` runs as many random examples instead of the seeded ones (``make soak``).
"""

import asyncio
import itertools
import os

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.errors import Flaky
from hypothesis.stateful import run_state_machine_as_test

from core import db
from tests.conftest import TEMPLATE
from tests.machine.machine import ShopMachine
from tests.machine.world import close_shop, open_shop

EXAMPLES = int(os.environ.get("MACHINE_EXAMPLES", "200"))
numbers = itertools.count(1)
SEEDED = "MACHINE_EXAMPLES" not in os.environ


@pytest.fixture
def machine(engines):
    """The machine on a shop of its own, in an event loop of its own."""
    name = f"machine_{os.getpid()}_{next(numbers)}"
    engines.sql(f"CREATE DATABASE {name} TEMPLATE {TEMPLATE}")
    with asyncio.Runner() as runner:
        plugins = runner.run(open_shop(engines.url_of(name)))
        yield type("Machine", (ShopMachine,), {"runner": runner, "damage": []})
        runner.run(close_shop(plugins))
    engines.sql(f"DROP DATABASE {name} WITH (FORCE)")


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
        "more went back than came",
    ),
    "a buyer has as many places as one likes": (
        "DROP INDEX orders_order_contact_slot",
        "one buyer holds more unpaid orders than one may",
    ),
}


@pytest.mark.parametrize("guard", WITHOUT)
def test_without_a_guard_it_finds_the_damage(machine, guard):
    """A guard of the database is taken away: the same machine must fail, and for that reason."""
    take_away, damage = WITHOUT[guard]
    machine.runner.run(db.execute(take_away))
    with pytest.raises((AssertionError, Flaky)):
        run(machine, 150)
    assert any(damage in found for found in machine.damage)
