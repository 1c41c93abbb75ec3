"""The life of one payment attempt."""

from core.state_machine import StateMachine

ATTEMPT = StateMachine(
    "payment attempt",
    {
        "created": {"waiting", "paid", "failed", "expired"},
        "waiting": {"paid", "failed", "expired"},
        "failed": {"waiting", "paid"},
        "expired": {"paid"},
        "paid": set(),
    },
)
