"""The one way a service says no to a person."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from core.web.i18n import Text


class Refused(Exception):
    """What was asked cannot be done, and nothing was changed.

    ``text`` is for the person who asked, in their language; ``field`` names the form field it is about.
    """

    def __init__(self, text: Text | str, field: str = "") -> None:
        super().__init__(str(text))
        self.text, self.field = text, field
