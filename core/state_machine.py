"""A small checked table of states: what may follow what."""

from __future__ import annotations

from collections.abc import Mapping


class IllegalTransition(Exception):
    def __init__(self, machine: str, before: str, after: str) -> None:
        super().__init__(f"{machine}: {before} cannot become {after}")
        self.before, self.after = before, after


class StateMachine:
    """``table`` maps each state to the states that may follow it; the first is the start.

    Building one proves the table: every named state has its own row and can be reached.
    """

    def __init__(self, name: str, table: Mapping[str, frozenset[str] | set[str]]) -> None:
        self.name = name
        self.table = {state: frozenset(after) for state, after in table.items()}
        self.start = next(iter(self.table))
        unknown = frozenset().union(*self.table.values()) - self.table.keys()
        if unknown:
            raise ValueError(f"{name}: states without a row: {sorted(unknown)}")
        lost = self.table.keys() - self._reachable()
        if lost:
            raise ValueError(f"{name}: states that nothing leads to: {sorted(lost)}")

    def allows(self, before: str, after: str) -> bool:
        return after in self.table.get(before, frozenset())

    def check(self, before: str, after: str) -> None:
        if not self.allows(before, after):
            raise IllegalTransition(self.name, before, after)

    def before(self, after: str) -> list[str]:
        """The states from which ``after`` may be reached, for a guard in SQL."""
        return [state for state, follows in self.table.items() if after in follows]

    def _reachable(self) -> set[str]:
        seen, ahead = set(), [self.start]
        while ahead:
            state = ahead.pop()
            if state not in seen:
                seen.add(state)
                ahead.extend(self.table[state])
        return seen
