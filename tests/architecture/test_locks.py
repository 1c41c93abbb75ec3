import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import grimp
import pytest

ROOT = Path(__file__).resolve().parents[2]


def entries(name: str) -> dict[str, str]:
    """Package name to its whole entry in a lock file."""
    text = (ROOT / name).read_text().replace("\\\n", " ")
    return {re.match(r"[A-Za-z0-9._-]+", line)[0].lower(): line for line in text.splitlines() if line.strip()}


@pytest.mark.parametrize("name", ["requirements.lock", "requirements-test.lock"])
def test_every_entry_is_one_version_with_hashes_and_no_address(name):
    for line in entries(name).values():
        assert re.match(r"[A-Za-z0-9._-]+==[^ ;]+( ; [^\\]+?)?( +--hash=sha256:[0-9a-f]{64})+ *$", line), line
    assert "://" not in (ROOT / name).read_text()


@pytest.mark.parametrize("name", ["requirements", "requirements-test"])
def test_the_lock_holds_what_is_asked_for(name):
    lines = (ROOT / f"{name}.in").read_text().splitlines()
    asked = {re.match(r"[A-Za-z0-9._-]+", line)[0].lower() for line in lines if line[:1].isalpha()}
    assert asked <= entries(f"{name}.lock").keys()


def test_the_tests_run_on_the_versions_that_are_shipped():
    shipped, tested = entries("requirements.lock"), entries("requirements-test.lock")
    assert {name: tested.get(name) for name in shipped} == shipped


def test_the_version_is_the_same_everywhere():
    from core import VERSION

    assert tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"] == VERSION
    assert f"## {VERSION}" in (ROOT / "CHANGELOG.md").read_text()


def test_every_library_that_is_imported_is_asked_for_by_name():
    """A library that came along with another may go with it one day."""
    graph = grimp.build_graph("core", "plugins", include_external_packages=True)
    outside = {
        name for name in graph.modules if name.split(".")[0] not in {"core", "plugins", *sys.stdlib_module_names}
    }
    homes = packages_distributions()
    used = {re.sub(r"[-_.]+", "-", homes[name][0]).lower() for name in outside}
    asked = set()
    for line in (ROOT / "requirements.in").read_text().splitlines():
        if found := re.match(r"[A-Za-z0-9._-]+", line):
            asked.add(re.sub(r"[-_.]+", "-", found[0]).lower())
    assert used - asked == set()
