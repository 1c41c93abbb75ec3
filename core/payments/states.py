"""The life of one payment attempt, and of one refund."""

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

REFUND = StateMachine(
    "refund",
    {
        "asked": {"approved", "declined"},
        "approved": {"sent", "done", "failed"},
        "sent": {"approved", "unknown", "done", "failed"},
        "unknown": {"done", "failed"},
        "done": set(),
        "failed": set(),
        "declined": set(),
    },
)
