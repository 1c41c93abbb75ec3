"""Who of the staff does something."""

from __future__ import annotations

from dataclasses import dataclass

from core.web.request import AnyRequest, visit_of


@dataclass(frozen=True, slots=True)
class Person:
    """A member of staff of a shop, and from where they act. ``actor`` is as in the audit log."""

    shop_id: int
    staff_id: int
    ip: str | None = None

    @property
    def actor(self) -> str:
        return f"staff:{self.staff_id}"


def person_of(request: AnyRequest) -> Person:
    """Who asks for a page of the console."""
    visit = visit_of(request)
    return Person(visit.shop.id, request.state.session.staff_id, visit.ip or None)
