"""The two axes of an order, and what may follow what. The database holds the same names in its checks."""

from core.state_machine import StateMachine

PAYMENT = StateMachine(
    "payment of an order",
    {
        "unpaid": {"paid", "expired", "cancelled", "mismatch"},
        "expired": {"paid", "mismatch"},
        "cancelled": {"paid", "mismatch"},
        "mismatch": {"paid", "refunded", "charged_back"},
        "paid": {"refunded", "charged_back"},
        "refunded": {"charged_back"},
        "charged_back": set(),
    },
)

FULFILMENT = StateMachine(
    "fulfilment of an order",
    {
        "reserved": {"delivered", "preparing", "released", "review"},
        "released": {"delivered", "preparing", "review"},
        "preparing": {"delivered", "review"},
        "review": {"delivered", "preparing", "void"},
        "delivered": {"void"},
        "void": {"review"},
    },
)
