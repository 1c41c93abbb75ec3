"""docs/architecture.md draws the house; these tests walk through it with the drawing in hand."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
KINDS = {"suppliers", "payments", "risk", "promotions", "notifiers", "channels", "bridges", "apps"}
FOLDERS_IN_A_FEATURE = {
    "piccolo_migrations",
    "templates",
    "static",
    "locales",
    "tests",
    "scaffold",
    "testing",
    "demo_pictures",
}
NAMES_THAT_SAY_NOTHING = {"utils", "util", "helpers", "helper", "common", "misc", "tools", "lib", "stuff", "manager2"}


def drawn() -> set[str]:
    text = (ROOT / "docs/architecture.md").read_text()
    tree = re.search(r"```tree\n(.*?)```", text, re.DOTALL)
    assert tree
    paths, parents = set(), [""]
    for line in tree[1].splitlines():
        name = line.split()[0]
        depth = (len(line) - len(line.lstrip())) // 2
        parents[depth + 1 :] = [parents[depth] + name]
        paths.add(parents[depth + 1])
    return paths


def tracked() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True)
    return [Path(name) for name in listed.stdout.split("\0") if name and (ROOT / name).exists()]


def standing(*, inside: str = "") -> set[str]:
    """What git keeps directly in a folder, folders with a slash behind them."""
    inner = [path.relative_to(inside) for path in tracked() if path.is_relative_to(inside)]
    return {f"{path.parts[0]}/" if len(path.parts) > 1 else path.name for path in inner}


def features() -> list[Path]:
    core = [ROOT / "core" / name for name in standing(inside="core") if name.endswith("/")]
    plugins = [ROOT / path.parent for path in tracked() if path.name == "plugin.toml" and path.parts[0] == "plugins"]
    return sorted(core + plugins)


@pytest.mark.parametrize("folder", ["core", "themes", "plugins"])
def test_everything_that_stands_is_drawn_and_the_other_way_round(folder):
    shown = {path.removeprefix(f"{folder}/") for path in drawn() if path.startswith(f"{folder}/")} - {""}
    assert shown == standing(inside=folder) - {"__init__.py"}


def test_every_folder_of_the_project_is_drawn():
    shown = {path for path in drawn() if path.count("/") <= 1 and path.endswith("/")}
    assert shown == {name for name in standing() if name.endswith("/") and not name.startswith(".")}
    assert all((ROOT / path).exists() for path in drawn())


def test_plugins_stand_under_a_known_kind():
    assert {name.rstrip("/") for name in standing(inside="plugins")} - {"__init__.py"} <= KINDS


@pytest.mark.parametrize("feature", features(), ids=lambda path: str(path.relative_to(ROOT)))
def test_inner_names(feature):
    inside = [
        path.relative_to(feature.relative_to(ROOT)) for path in tracked() if (ROOT / path).is_relative_to(feature)
    ]
    assert {path.parts[0] for path in inside if len(path.parts) > 1} <= FOLDERS_IN_A_FEATURE
    files = {path.name for path in inside if len(path.parts) == 1}
    assert {Path(name).suffix for name in files} <= {".py", ".md", ".toml"}
    assert not {Path(name).stem for name in files} & NAMES_THAT_SAY_NOTHING


@pytest.mark.parametrize("feature", features(), ids=lambda path: str(path.relative_to(ROOT)))
def test_templates_carry_their_owners_name(feature):
    owner = ".".join(feature.relative_to(ROOT).parts[1:])
    templates = feature / "templates"
    assert {path.name for path in templates.iterdir()} == {owner} if templates.exists() else True


def test_no_two_migrations_share_an_id():
    """Piccolo keeps what it has run by this id, and would silently leave the second one out."""
    found: dict[tuple[str, str], list[str]] = {}
    for path in ROOT.glob("**/piccolo_migrations/*.py"):
        if ".venv" in path.parts or path.name == "__init__.py":
            continue
        (id,) = re.findall(r'^ID = "([^"]+)"$', path.read_text(), re.MULTILINE)
        found.setdefault((str(path.parent), id), []).append(path.name)
    assert found
    assert {key: names for key, names in found.items() if len(names) > 1} == {}
