"""The sign that a restore has not come to its end; a shop does not start beside it."""

from __future__ import annotations

from core.config import Config, SetupProblem

UNFINISHED = "restore-unfinished"


def check_finished(config: Config) -> None:
    """:raises SetupProblem: a restore into this data folder ended in the middle, or found something wrong."""
    sign = config.home / UNFINISHED
    if sign.exists():
        raise SetupProblem(
            f"A restore into {config.home} did not finish or found a fault. Empty that folder and the database and "
            f"restore again. To start in spite of it, remove {sign}."
        )
