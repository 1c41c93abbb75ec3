"""One answer to: is this part of the installation well?"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from core.web.i18n import Text

State = Literal["ok", "warn", "fail"]


@dataclass(frozen=True)
class Check:
    """``at`` is when somebody looked, where that is not now."""

    name: str
    state: State
    text: Text | str
    advice: Text | str = ""
    at: datetime | None = None

    def line(self) -> str:
        when = f" ({self.at:%Y-%m-%d %H:%M} UTC)" if self.at else ""
        return f"{self.state:4}  {self.name:9} {self.text}{when}{f' → {self.advice}' if self.advice else ''}"

    def facts(self) -> dict[str, str]:
        said = {"name": self.name, "state": self.state, "text": str(self.text), "advice": str(self.advice)}
        return {**said, "at": self.at.isoformat()} if self.at else said
