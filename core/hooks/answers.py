"""What a plugin may answer: a refusal, and the outcome of the Test button."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from core.refused import Refused
from core.web.i18n import Text


class Refusal(Refused):
    """Raised by a ``check_*`` hook: the act must not happen.

    ``text`` is shown to the person who asked, so say what they can do. It must not tell a cheat which rule
    caught him. ``field`` may name the form field it is about (``contact``, ``quantity``).
    """


class Check(StrEnum):
    """What the Test button of the settings found out; :class:`CheckResult` makes each."""

    OK = "ok"
    """The settings work."""
    TRY_LATER = "try_later"
    """The other side could not be reached; the settings may be right."""
    CREDENTIALS_WRONG = "credentials_wrong"
    """The other side does not accept the number, name or key."""
    WILL_NOT_WORK = "will_not_work"
    """Something else in these settings can never work."""


@dataclass(frozen=True, slots=True)
class CheckResult:
    """The answer of :meth:`Plugin.check`; build one with the four functions below.

    ``note`` is a sentence for the merchant: what was tried and what came back. It must hold no secret.
    """

    answer: Check
    note: Text | str = ""

    @classmethod
    def ok(cls, note: Text | str = "") -> CheckResult:
        """The settings work."""
        return cls(Check.OK, note)

    @classmethod
    def try_later(cls, note: Text | str) -> CheckResult:
        """The other side could not be reached; the settings may be right."""
        return cls(Check.TRY_LATER, note)

    @classmethod
    def credentials_wrong(cls, note: Text | str) -> CheckResult:
        """The other side does not accept the number, name or key."""
        return cls(Check.CREDENTIALS_WRONG, note)

    @classmethod
    def will_not_work(cls, note: Text | str) -> CheckResult:
        """Something else in these settings can never work (wrong address, currency not offered)."""
        return cls(Check.WILL_NOT_WORK, note)
