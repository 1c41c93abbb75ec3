"""What is away for a while is told once, then once a minute, and once more when it is back."""

from __future__ import annotations

import logging
import time

TELL_SECONDS = 60.0


class Outage:
    """One thing that a loop tries again and again. ``away`` is told with the kind of the error, ``back`` as it is."""

    def __init__(self, log: logging.Logger, away: str, back: str, every: float = TELL_SECONDS) -> None:
        self._log, self._away, self._back = log, away, back
        self._every = every
        self._quiet_until = float("-inf")
        self._is_told = False

    def goes_on(self, error: BaseException) -> None:
        now = time.monotonic()
        if now >= self._quiet_until:
            self._quiet_until, self._is_told = now + self._every, True
            self._log.warning("%s: %s", self._away, type(error).__name__)

    def is_over(self) -> None:
        """To be called after every try that went well."""
        if self._is_told:
            self._is_told = False
            self._log.warning("%s", self._back)
