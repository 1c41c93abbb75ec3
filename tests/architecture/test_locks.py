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


@pytest.mark.parametrize(
    ("lists", "of_tests"),
    [(["requirements"], False), (["requirements", "requirements-test"], True)],
    ids=["shop", "kit"],
)
def test_every_library_that_is_imported_is_asked_for_by_name(lists, of_tests):
    """A library that came along with another may go with it one day. The kit stands beside the shop."""
    graph = grimp.build_graph("core", "plugins", include_external_packages=True)
    ours = {"core", "plugins", *sys.stdlib_module_names}
    kit = {name for name in graph.modules if name.startswith("core.api.testing") or ".tests" in name}
    outside = {
        imported
        for name in (kit if of_tests else graph.modules - kit)
        for imported in (graph.find_modules_directly_imported_by(name) if name.split(".")[0] in ours else ())
        if imported.split(".")[0] not in ours
    }
    assert outside
    homes = packages_distributions()
    used = {re.sub(r"[-_.]+", "-", homes[name.split(".")[0]][0]).lower() for name in outside}
    asked = set()
    for listed in lists:
        for line in (ROOT / f"{listed}.in").read_text().splitlines():
            if found := re.match(r"[A-Za-z0-9._-]+", line):
                asked.add(re.sub(r"[-_.]+", "-", found[0]).lower())
    assert used - asked == set()
