"""What a risk rule is: the object a risk plugin delivers, and what it answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

from core.hooks.views import OrderToCheck
from core.web.i18n import Text


class Action(StrEnum):
    """What one finding asks for, beside the score it adds."""

    SCORE = "score"
    """Only the score counts."""
    REVIEW = "review"
    """Whatever the score: a person decides before anything is delivered."""
    REFUSE = "refuse"
    """Whatever the score: the order is not placed."""
    ALLOW = "allow"
    """Nothing else counts: the merchant trusts this buyer."""
    NOTE = "note"
    """Only written down, not even its score counts: a rule that is being tried out."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """One finding about an order. ``score`` is from 0 to 100; core adds up the scores of all rules.

    ``reason`` is read by staff and says the fact (``6 orders from one network in an hour``), never shown to buyers.
    ``data`` are the figures behind it.
    """

    score: int
    reason: Text | str
    action: Action = Action.SCORE
    data: Mapping[str, str | int] = field(default_factory=dict)

    def only_noted(self) -> Evidence:
        """The same without any effect; what it would have done stays readable in ``data``."""
        return replace(self, action=Action.NOTE, data={**self.data, "would": self.action.value})


class RiskRule:
    """Who may not, and who must wait for a person. Derive, set ``key`` and ``title``, and write :meth:`assess`.

    ``key`` is stored with the evidence and never changes; ``title`` is by locale.
    Never called inside a database transaction.
    """

    key: str
    title: Mapping[str, str]

    async def assess(self, order: OrderToCheck) -> Sequence[Evidence]:
        """What this rule finds in an order that is about to be placed; nothing when all is well.

        All rules are asked side by side and have two seconds. The sum of the scores is held against the shop's
        thresholds: below, the order goes on; from the first on it is placed and paid but a person decides before
        delivery; from the second on it is refused. A rule that fails or takes too long counts as a finding that asks
        for a review.
        """
        raise NotImplementedError
