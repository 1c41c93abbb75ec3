"""The worker needs to know what facts about orders show."""

from core.orders import facts

__all__ = ["facts"]
