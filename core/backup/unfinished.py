"""The sign that a restore has not come to its end; a shop does not start beside it."""

from __future__ import annotations

from core.config import Config, SetupProblem
from core.terminal import _

UNFINISHED = "restore-unfinished"


def check_finished(config: Config) -> None:
    """:raises SetupProblem: a restore into this data folder ended in the middle, or found something wrong."""
    sign = config.home / UNFINISHED
    if sign.exists():
        raise SetupProblem(
            _(
                "A restore into %(home)s did not finish or found a fault. Empty that folder and the database "
                "and restore again. To start in spite of it, remove %(sign)s.",
                home=config.home,
                sign=sign,
            )
        )
