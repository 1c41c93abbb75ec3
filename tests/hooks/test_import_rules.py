"""What a plugin imports: the door, its own folder, and libraries. Read from the code, so that nothing needs to run."""

import sys
from importlib.metadata import packages_distributions

import pytest

from core.hooks.check import breaches, imported_names
from core.hooks.manifest import discover
from core.hooks.runtime import ROOT

FOLDER = ROOT / "plugins"


def files(plugin):
    for path in sorted(plugin.folder.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        yield path, ".".join(parts[:-1])


@pytest.mark.parametrize("plugin", discover(FOLDER), ids=lambda one: one.id)
def test_a_plugin_goes_through_the_door(plugin):
    assert [
        (path.name, name)
        for path, package in files(plugin)
        for name in breaches(path.read_text(), package, plugin.module)
    ] == []


@pytest.mark.parametrize("plugin", discover(FOLDER), ids=lambda one: one.id)
def test_a_plugin_never_sleeps_the_whole_process(plugin):
    for path, _package in files(plugin):
        assert "time.sleep" not in path.read_text(), path


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("import core.db", ["core.db"]),
        ("from core import db", ["core"]),
        ("from core.hooks.runtime import current", ["core.hooks.runtime"]),
        ("from core.api import Money", []),
        ("from core.api.testing import shop", ["core.api.testing"]),
        ("import plugins.payments.manual", ["plugins.payments.manual"]),
        ("from ..manual import plugin", ["plugins.payments.manual"]),
        ("from plugins.payments import manual", ["plugins.payments.manual"]),
        ("from plugins.payments import epay", []),
        ("from .gateway import Gateway", []),
        ("from . import gateway", []),
        ("from plugins.payments.epay.gateway import Gateway", []),
        ("import requests", ["requests"]),
        ("def f():\n    import core.db", ["core.db"]),
        ("import hashlib, pydantic", []),
    ],
)
def test_the_rule_finds_a_planted_breach(line, found):
    assert list(breaches(line, "plugins.payments.epay", "plugins.payments.epay")) == found


def test_every_library_a_plugin_needs_is_in_the_lock_file():
    locked = (ROOT / "requirements.in").read_text().lower()
    for_tests = locked + (ROOT / "requirements-test.in").read_text().lower()
    known = packages_distributions()
    for plugin in discover(FOLDER):
        for path, package in files(plugin):
            for name in imported_names(path.read_text(), package):
                top = name.split(".")[0]
                if top not in sys.stdlib_module_names and top not in {"core", "plugins"}:
                    wanted = for_tests if "tests" in package.split(".") else locked
                    assert any(one.lower().replace("_", "-") in wanted for one in known.get(top, [top])), (
                        f"{path}: {top}"
                    )
