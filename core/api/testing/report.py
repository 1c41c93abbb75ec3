"""Tells `check-plugin` what each test was and how it ended, one JSON line each, with these options of pytest:
``-p core.api.testing.report --tell FILE``.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from core.api.testing.contract import Contract

KEPT = 2000
_told = Path("/dev/null")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--tell", metavar="FILE", required=True, help="where to tell how each test ended")


def pytest_configure(config: pytest.Config) -> None:
    global _told
    _told = Path(config.getoption("--tell"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        kinds = [one.__name__ for one in getattr(getattr(item, "cls", None), "__mro__", ()) if _is_contract(one)]
        item.user_properties += [("contracts", kinds), ("file", str(item.path))]


def pytest_collection_finish(session: pytest.Session) -> None:
    """Tests that are only listed are told as if they had passed."""
    if session.config.option.collectonly:
        for item in session.items:
            _tell(**dict(item.user_properties), test=item.name, passed=True, why="")


def _is_contract(cls: type) -> bool:
    return issubclass(cls, Contract) and cls.__module__.startswith("core.api.testing")


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.when == "call" or report.outcome != "passed":
        found: dict[str, Any] = dict(report.user_properties)
        _tell(
            file=found.get("file", report.fspath),
            test=report.nodeid.rpartition("::")[2],
            passed=report.passed,
            contracts=found.get("contracts", []),
            why=report.longreprtext[-KEPT:],
        )


def pytest_collectreport(report: pytest.CollectReport) -> None:
    if report.failed:
        _tell(file=report.nodeid, test="", passed=False, contracts=[], why=report.longreprtext[-KEPT:])


def _tell(**facts: Any) -> None:
    with _told.open("a") as file:
        file.write(json.dumps(facts) + "\n")
