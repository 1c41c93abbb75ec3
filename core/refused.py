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


class NotNow(Exception):
    """What was asked cannot be done at this moment, and nothing was changed: try again later.

    ``text`` is for the person who asked; ``detail`` says more to whoever runs the shop. A job that raises it is
    tried again until it works; a page answers 503.
    """

    def __init__(self, text: Text | str, detail: str = "") -> None:
        super().__init__(detail or str(text))
        self.text = text
