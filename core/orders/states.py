"""The two axes of an order, and what may follow what. The database holds the same names in its checks."""

from core.state_machine import StateMachine

PAYMENT = StateMachine(
    "payment of an order",
    {
        "unpaid": {"paid", "expired", "cancelled", "mismatch"},
        "expired": {"paid", "mismatch"},
        "cancelled": {"paid", "mismatch"},
        "mismatch": {"paid", "refunded"},
        "paid": {"refunded"},
        "refunded": set(),
    },
)

FULFILMENT = StateMachine(
    "fulfilment of an order",
    {
        "reserved": {"delivered", "preparing", "released", "review"},
        "released": {"delivered", "preparing", "review"},
        "preparing": {"delivered", "review"},
        "review": {"delivered", "preparing", "void"},
        "delivered": set(),
        "void": set(),
    },
)
