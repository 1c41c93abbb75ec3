"""`check-plugin`: every plugin that ships is safe; what is wrong with one is said in so many words."""

import json
import os
from pathlib import Path

import pytest

from core.hooks import check, scaffold
from core.hooks.check import Level, Tried
from core.hooks.manifest import discover
from core.refused import Refused
from tests import warm

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = [one.folder for one in discover(ROOT / "plugins")]


@pytest.fixture(scope="module")
def shipped():
    """Their tests are run by this very suite, so here they are only listed."""
    return {report.path: report for report in check.checked(SHIPPED, Tried.LISTED)}


@pytest.mark.parametrize("folder", SHIPPED, ids=lambda path: f"{path.parent.name}.{path.name}")
def test_every_plugin_that_ships_is_safe(shipped, folder):
    report = shipped[folder]
    assert report.level in (Level.SAFE, Level.POLISHED), str(report)


CODE, MANIFEST = "__init__.py", "plugin.toml"

MISTAKES = [
    (CODE, "from core.api import", "import core.db\nfrom core.api import", "safe", "__init__.py imports core.db"),
    (CODE, "from core.api import", "import requests\nfrom core.api import", "safe", "__init__.py imports requests"),
    (
        CODE,
        "from core.api import",
        "import no_such_library\nfrom core.api import",
        "safe",
        "__init__.py imports no_such_library, which nothing declares",
    ),
    (CODE, "from core.api import", "from core.api import get,", "safe", "its contracts can be tried once it is loaded"),
    (CODE, "return [Evidence", "time.sleep(1)\n        return [Evidence", "safe", "__init__.py calls time.sleep"),
    (
        CODE,
        "def register_risk_rules",
        "def register_risk_rule",
        "runs",
        "there is no hook called register_risk_rule",
    ),
    (
        CODE,
        "score: int",
        "score: complex",
        "runs",
        "the setting score has a type that no form field fits: <class 'complex'>",
    ),
    (
        CODE,
        "Throwaway mail domains",
        "Some domains",
        "polished",
        "locales/en/LC_MESSAGES/messages.po: missing: Some domains",
    ),
    (MANIFEST, 'kind = "risk"', 'kind = "risks"', "runs", "plugin.toml: here it must say id ="),
    (MANIFEST, "api = 1", "api = 2", "runs", "It needs plugin api 2; this shop has 1."),
    (MANIFEST, "zh-CN", "fr", "polished", "[title] has no line for zh-CN"),
    ("README.md", "## Set up", "## Setting up", "polished", "it needs a part: ## Set up"),
    (
        "tests/test_contract.py",
        "class TestContract",
        "class Contract",
        "safe",
        "there is no test of it: class TestContract(RiskRuleContract)",
    ),
]


@pytest.fixture(scope="module")
def mistaken(tmp_path_factory):
    """One plugin for each mistake, and one without."""
    folder = tmp_path_factory.mktemp("home") / "plugins"
    made = [scaffold.make("risk", f"throwaway{number}", folder).folder for number in range(len(MISTAKES) + 1)]
    for plugin, (file, there, instead, _level, _fault) in zip(made, MISTAKES, strict=False):
        path = plugin / file
        assert there in path.read_text()
        path.write_text(path.read_text().replace(there, instead))
    reports = check.checked(made, Tried.LISTED)
    return [{(point.level, fault) for point in one.points for fault in point.faults} for one in reports]


@pytest.mark.parametrize("number", range(len(MISTAKES)))
def test_what_is_wrong_is_said(mistaken, number):
    _file, _there, _instead, level, fault = MISTAKES[number]
    assert any(one == level and why.startswith(fault) for one, why in mistaken[number]), mistaken[number]


def test_a_new_plugin_has_no_faults(mistaken):
    assert mistaken[-1] == set()


def test_a_folder_without_a_plugin_is_refused(tmp_path):
    with pytest.raises(Refused, match="is no plugin"):
        check.checked([tmp_path])


@pytest.mark.parametrize(
    ("kind", "name", "why"),
    [("risks", "a", "is not a kind"), ("risk", "A b", "cannot be a name"), ("risk", "class", "cannot be a name")],
)
def test_a_name_that_cannot_be_is_refused_and_nothing_is_made(tmp_path, kind, name, why):
    for make in (scaffold.make, scaffold.make_repository):
        with pytest.raises(Refused, match=why):
            make(kind, name, tmp_path / "plugins")
    assert list(tmp_path.iterdir()) == []


def test_what_is_there_is_never_overwritten(tmp_path):
    made = scaffold.make("risk", "throwaway", tmp_path / "plugins").folder
    before = (made / CODE).read_bytes()
    with pytest.raises(Refused, match="is there already"):
        scaffold.make("risk", "throwaway", tmp_path / "plugins")
    with pytest.raises(Refused, match="is not empty"):
        scaffold.make_repository("risk", "throwaway", tmp_path / "plugins")
    assert (made / CODE).read_bytes() == before


def server(*arguments):
    return warm.run(*map(str, arguments), env=os.environ)


def test_the_commands_tell_facts_and_end_with_zero_only_on_success(tmp_path):
    into = tmp_path / "repository"
    made = server("new-plugin", "apps", "tickets", "--into", into, "--json")
    assert (made.returncode, made.stderr) == (0, "")
    assert json.loads(made.stdout) == {
        "id": "apps.tickets",
        "folder": str(into / "vouchsafe_apps_tickets"),
        "tests": str(into / "tests"),
        "repository": str(into),
    }
    again = server("new-plugin", "apps", "tickets", "--into", into)
    assert (again.returncode, again.stdout) == (1, "") and "is not empty" in again.stderr
    assert server("check-plugin", tmp_path).returncode == 1
    looked = server("check-plugin", into, "--contract-only", "--json")
    (report,) = json.loads(looked.stdout)["plugins"]
    wrong = {fault for point in report["points"] if point["level"] == "runs" for fault in point["faults"]}
    assert wrong == {"it is not installed: `pip install -e .`"}
    assert (report["id"], report["level"], looked.returncode) == ("apps.tickets", None, 1)
