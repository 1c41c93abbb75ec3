"""What is told to the authors of plugins is so: the reference, the cookbook, the kit."""

import inspect
import re
import sys
from enum import Enum
from pathlib import Path

import pytest

from core import api
from core.api import testing
from core.hooks.manifest import discover
from core.hooks.settings import Kind
from core.web.slots import PLACES

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))

import reference  # noqa: E402

DOCS = ROOT / "docs" / "plugins"
GUIDE = (ROOT / "docs" / "plugins.md").read_text()
COOKBOOK = (DOCS / "cookbook.md").read_text()
TESTS = "\n".join(path.read_text() for path in (ROOT / "tests").rglob("*.py"))
PLUGIN_TESTS = "\n".join(path.read_text() for path in (ROOT / "plugins").rglob("tests/*.py"))
SCAFFOLD = "\n".join(path.read_text() for path in (ROOT / "core" / "hooks" / "scaffold").rglob("test_*.tmpl"))


def test_the_reference_is_up_to_date():
    assert (DOCS / "reference.md").read_text() == reference.written(), "run: python tools/reference.py"


def test_the_reference_names_every_hook_object_and_slot():
    text = (DOCS / "reference.md").read_text()
    for name in (*api.__all__, *testing.__all__, *PLACES):
        assert re.search(rf"`{re.escape(name)}\b", text), name


RECIPES = re.findall(r"^\| (.+?) \| (.+?) \| (`plugins/.+?`) \|$", COOKBOOK, re.MULTILINE)


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe[0])
def test_a_recipe_is_cooked_where_the_book_says(recipe):
    _what, how, where = recipe
    words = [word for word in re.findall(r"`([A-Za-z_]+)", how) if hasattr(api, word) or word.startswith("check_")]
    for folder in re.findall(r"`([^`]+)`", where):
        assert (ROOT / folder / "plugin.toml").is_file(), folder
    code = "".join(path.read_text() for one in re.findall(r"`([^`]+)`", where) for path in (ROOT / one).rglob("*.py"))
    assert [word for word in words if word not in code] == []


def test_there_are_recipes():
    assert len(RECIPES) >= 12


@pytest.mark.parametrize("door", [api, testing], ids=["api", "testing"])
def test_every_name_of_the_door_and_all_it_holds_is_documented(door):
    assert [missing for name in door.__all__ for missing in not_said(door, name)] == []


def not_said(door, name):
    """What of it has no words of its own."""
    thing = getattr(door, name)
    if not inspect.isclass(thing):
        return [] if (inspect.isfunction(thing) and thing.__doc__) or reference.said_below(door, name) else [name]
    asked = (*reference.functions(thing), *reference.properties(thing))
    missing = [f"{name}.{each}" for each, value in asked if not inspect.getdoc(value)]
    if issubclass(thing, Enum):
        missing += [f"{name}.{one.name}" for one in thing if one.name not in reference.said_inside(thing)]
    own = vars(thing).get("__doc__")
    return missing if own and not own.startswith(f"{name}(") else [name, *missing]


def test_every_name_of_the_kit_is_used():
    for name in testing.__all__:
        assert re.search(rf"\b{name}\b", TESTS + PLUGIN_TESTS + SCAFFOLD), f"nobody uses {name}"


@pytest.mark.parametrize("kind", Kind)
def test_every_kind_of_setting_is_tested(kind):
    assert re.search(rf"Kind\.{kind.name}\b", TESTS) or f'"{kind}"' in TESTS


@pytest.mark.parametrize("slot", PLACES)
def test_every_slot_is_in_the_guide(slot):
    assert f"`{slot}`" in GUIDE


def test_every_plugin_that_ships_keeps_a_contract():
    for one in discover(ROOT / "plugins"):
        assert list((one.folder / "tests").glob("test_*.py")), one.id
