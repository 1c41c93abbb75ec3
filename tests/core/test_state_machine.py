import pytest

from core.orders.states import FULFILMENT, PAYMENT
from core.payments.states import ATTEMPT, REFUND
from core.state_machine import IllegalTransition, StateMachine

LEGAL = {
    "payment": (
        PAYMENT,
        {
            ("unpaid", "paid"),
            ("unpaid", "expired"),
            ("unpaid", "cancelled"),
            ("unpaid", "mismatch"),
            ("expired", "paid"),
            ("expired", "mismatch"),
            ("cancelled", "paid"),
            ("cancelled", "mismatch"),
            ("mismatch", "paid"),
            ("mismatch", "refunded"),
            ("mismatch", "charged_back"),
            ("paid", "refunded"),
            ("paid", "charged_back"),
            ("refunded", "charged_back"),
        },
    ),
    "fulfilment": (
        FULFILMENT,
        {
            ("reserved", "delivered"),
            ("reserved", "preparing"),
            ("reserved", "released"),
            ("reserved", "review"),
            ("released", "delivered"),
            ("released", "preparing"),
            ("released", "review"),
            ("preparing", "delivered"),
            ("preparing", "review"),
            ("review", "delivered"),
            ("review", "preparing"),
            ("review", "void"),
            ("delivered", "void"),
            ("void", "review"),
        },
    ),
    "attempt": (
        ATTEMPT,
        {
            ("created", "waiting"),
            ("created", "paid"),
            ("created", "failed"),
            ("created", "expired"),
            ("waiting", "paid"),
            ("waiting", "failed"),
            ("waiting", "expired"),
            ("failed", "waiting"),
            ("failed", "paid"),
            ("expired", "paid"),
        },
    ),
    "refund": (
        REFUND,
        {
            ("asked", "approved"),
            ("asked", "declined"),
            ("approved", "sent"),
            ("approved", "done"),
            ("approved", "failed"),
            ("sent", "approved"),
            ("sent", "unknown"),
            ("sent", "done"),
            ("sent", "failed"),
            ("unknown", "done"),
            ("unknown", "failed"),
        },
    ),
}


@pytest.mark.parametrize("name", LEGAL)
def test_just_these_transitions_are_legal(name):
    machine, legal = LEGAL[name]
    found = {(a, b) for a in machine.table for b in machine.table if machine.allows(a, b)}
    assert found == legal


@pytest.mark.parametrize("name", LEGAL)
async def test_the_database_knows_the_same_states(name, pool):
    from core import db

    constraint = {
        "payment": "orders_order_payment_state_check",
        "fulfilment": "orders_order_fulfilment_state_check",
        "attempt": "payments_attempt_state_check",
        "refund": "payments_refund_state_check",
    }[name]
    check = await db.fetchval("SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conname = $1", constraint)
    machine, _ = LEGAL[name]
    assert set(check.split("'")[1::2]) == set(machine.table)


def test_an_illegal_step_is_named():
    with pytest.raises(IllegalTransition, match="delivered cannot become reserved"):
        FULFILMENT.check("delivered", "reserved")


def test_a_state_nothing_leads_to_is_refused():
    with pytest.raises(ValueError, match="nothing leads to"):
        StateMachine("broken", {"a": {"b"}, "b": set(), "c": set()})


def test_a_state_without_a_row_is_refused():
    with pytest.raises(ValueError, match="without a row"):
        StateMachine("broken", {"a": {"b"}})
