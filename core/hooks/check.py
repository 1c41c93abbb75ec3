"""How good a plugin is: it *runs*, it is *safe*, it is *polished*. Each level needs all of the one before."""

from __future__ import annotations

import ast
import functools
import json
import os
import re
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from importlib import metadata
from pathlib import Path
from typing import Any

from core import VERSION
from core.hooks import discovery
from core.hooks.folder import check_folder
from core.hooks.manager import Manager, State
from core.hooks.manifest import FILE, Installed, described
from core.hooks.plugin import Plugin
from core.hooks.plugin_jobs import check_jobs
from core.hooks.settings import Secret, fields_of
from core.refused import Refused
from core.terminal import _
from core.web import catalogues

ROOT = Path(__file__).resolve().parents[2]
OURS = frozenset({"core", "themes", "tests", "server", "tools"})
BLOCKING = frozenset({"requests", "urllib3", "psycopg", "psycopg2", "smtplib", "http.client", "urllib.request"})
SECONDS = 600
HEADINGS = ("Set up", "How it works")
MOST_LINES = 8

CONTRACTS = {
    "register_payment_methods": "PaymentMethodContract",
    "register_notifiers": "NotifierContract",
    "register_suppliers": "SupplierContract",
    "register_promotions": "PromotionContract",
    "register_risk_rules": "RiskRuleContract",
    "register_channels": "ChannelContract",
    "check_order": "RiskRuleContract",
}
"""The contract that a plugin with this hook must keep."""


class Level(StrEnum):
    RUNS = "runs"
    SAFE = "safe"
    POLISHED = "polished"


@dataclass(frozen=True, slots=True)
class Point:
    """One thing that was looked at. ``faults`` say what is wrong; none means that all is well."""

    level: Level
    what: str
    faults: tuple[str, ...] = ()


@dataclass(slots=True)
class Report:
    id: str
    path: Path
    points: list[Point] = field(default_factory=list)

    @property
    def level(self) -> Level | None:
        """The highest level of which nothing is missing, nor of those below."""
        reached = None
        for level in Level:
            if any(point.faults for point in self.points if point.level is level):
                return reached
            reached = level
        return reached

    def facts(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "path": str(self.path),
            "level": self.level,
            "points": [{"level": one.level, "what": one.what, "faults": list(one.faults)} for one in self.points],
        }

    def __str__(self) -> str:
        lines = [f"{self.id}: " + (self.level or _("does not run"))]
        for point in self.points:
            lines.append(f"  {'✗' if point.faults else '✓'} {point.level:8} {point.what}")
            lines += [f"             {line}" for fault in point.faults[:MOST_LINES] for line in fault.splitlines()]
            if len(point.faults) > MOST_LINES:
                lines.append("             " + _("and %(number)s more", number=len(point.faults) - MOST_LINES))
        missing = next((level for level in Level if any(p.faults for p in self.points if p.level is level)), None)
        if missing is not None:
            lines.append("  " + _("To reach %(level)s, mend what is marked ✗ there.", level=missing))
        return "\n".join(lines)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a plugin lies. ``repository`` is the folder with its pyproject, None for one in a folder of plugins."""

    id: str
    folder: Path
    module: str
    tests: Path
    repository: Path | None


class Tried(StrEnum):
    """Which of a plugin's tests are run; of those ``listed`` it is only seen that they are there."""

    ALL = "all"
    CONTRACT = "contract"
    LISTED = "listed"


def checked(
    paths: Sequence[Path], tests: Tried = Tried.ALL, words: bool = False, options: Sequence[str] = ()
) -> list[Report]:
    """Look at plugins, one report each. ``options`` are handed to pytest.

    :raises Refused: at a path there is no plugin.
    """
    places = [place_of(path) for path in paths]
    if words:
        for place in places:
            catalogues.update(_domain(place), place.folder)
    results = _results(places, tests, options)
    return [_report(place, results.get(place.id, []), tests) for place in places]


# -- where it lies ----------------------------------------------------------------------


def place_of(path: Path) -> Place:
    path = path.absolute()
    found = sorted(path.glob(f"*/{FILE}"))
    if (path / FILE).is_file() and path.parent.parent.name == "plugins":
        kind, name = path.parent.name, path.name
        return Place(f"{kind}.{name}", path, f"plugins.{kind}.{name}", path / "tests", None)
    if (path / "pyproject.toml").is_file() and len(found) == 1:
        folder = found[0].parent
        return Place(_id_in(found[0]), folder, folder.name, path / "tests", path)
    if (path / FILE).is_file() and (path.parent / "pyproject.toml").is_file():
        return place_of(path.parent)
    raise Refused(
        _(
            "%(path)s is no plugin: it must be plugins/KIND/NAME with a %(file)s in it, or a repository "
            "with pyproject.toml and one package with it.",
            path=path,
            file=FILE,
        )
    )


def _id_in(manifest: Path) -> str:
    try:
        return str(tomllib.loads(manifest.read_text("utf-8"))["id"])
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, KeyError, OSError):
        return manifest.parent.name


# -- what is looked at ------------------------------------------------------------------


def _report(place: Place, results: list[dict[str, Any]], tests: Tried) -> Report:
    report = Report(place.id, place.folder)

    def point(level: Level, what: str, faults: Iterator[str] | Sequence[str]) -> None:
        report.points.append(Point(level, what, tuple(faults)))

    installed = described(place.id, place.folder, place.module, "folder")
    point(Level.RUNS, _("%(file)s can be read", file=FILE), [str(installed.problem)] if installed.problem else [])
    if place.repository is not None:
        point(Level.RUNS, _("a shop finds it among the installed packages"), _found(place))
    if _found(place):
        results = [_not_run(place, _("they are run when a shop finds the plugin"))]
    plugin: Plugin | None = None
    if not installed.problem:
        plugin, faults = _loaded(place, installed)
        point(Level.RUNS, _("it is loaded: its hooks are known, its settings have a form"), faults)
    point(Level.SAFE, _("it imports only core.api, its own files and declared libraries"), imports(place))
    point(Level.SAFE, _("it never blocks the whole process"), blocking(place))
    point(Level.SAFE, _("it keeps its contracts"), _contracts(plugin, results))
    if tests is Tried.ALL:
        point(Level.POLISHED, _("its own tests pass"), [_told(one) for one in results if not one["passed"]])
    point(Level.POLISHED, _("its README says how to set it up and how it works"), readme(place))
    point(Level.POLISHED, _("title and summary are there in Chinese too"), _chinese(installed))
    point(Level.POLISHED, _("every text is translated"), catalogues.trouble(_domain(place), place.folder))
    point(Level.POLISHED, _("settings with a key have a Test button"), _test_button(plugin))
    return report


def _found(place: Place) -> list[str]:
    if place.repository is None:
        return []
    there = {one.id: one.folder for one in discovery.packages()}
    if place.id not in there:
        project = tomllib.loads((place.repository / "pyproject.toml").read_text("utf-8")).get("project", {})
        if place.id not in project.get("entry-points", {}).get(discovery.GROUP, {}):
            return [_('pyproject.toml needs the entry point "%(id)s" in %(group)s', id=place.id, group=discovery.GROUP)]
        return [_("it is not installed: `pip install -e .`")]
    if there[place.id].resolve() != place.folder.resolve():
        return [_("what is installed lies in %(folder)s; `pip install -e .` here", folder=there[place.id])]
    return []


def _loaded(place: Place, installed: Installed) -> tuple[Plugin | None, list[str]]:
    if place.repository is not None and str(place.repository) not in sys.path:
        sys.path.insert(0, str(place.repository))

    def look_at_settings(_id: str, _manifest: Any, plugin: Plugin) -> Any:
        if plugin.Settings is not None:
            fields_of(plugin.Settings)

    loaded = Manager().load(installed, VERSION, look_at_settings)
    if loaded.state is not State.ACTIVE or loaded.plugin is None:
        return loaded.plugin, [str(loaded.reason)]
    try:
        check_folder(loaded)
        check_jobs(loaded.plugin.jobs)
    except Exception as error:  # noqa: BLE001  whatever it is, the author must read it
        return loaded.plugin, [str(error)]
    return loaded.plugin, []


def _contracts(plugin: Plugin | None, results: list[dict[str, Any]]) -> list[str]:
    if plugin is None and not results:
        return [_("its contracts can be tried once it is loaded")]
    kept = [one for one in results if one["contracts"]]
    tried = {name for one in kept for name in one["contracts"]}
    wanted = {name for hook, name in CONTRACTS.items() if plugin is not None and hasattr(plugin, hook)} or {"Contract"}
    broken = [one for one in results if not one["test"]]
    missing = sorted(wanted - tried) if not broken else []
    faults = [_("there is no test of it: class TestContract(%(name)s)", name=name) for name in missing]
    return faults + [_told(one) for one in [*broken, *kept] if not one["passed"]]


def _told(result: dict[str, Any]) -> str:
    last = [line[1:].strip() for line in result["why"].splitlines() if line.startswith("E ")]
    return f"{result['test'] or result['file']}: {last[0] if last else result['why'].strip()[-300:]}"


def readme(place: Place) -> list[str]:
    path = (place.repository or place.folder) / "README.md"
    if not path.is_file():
        return [_("there is no README.md")]
    text = path.read_text("utf-8")
    faults = (
        [] if text.startswith(f"# {place.id}") else [_("its first line must be: # %(id)s: what it is", id=place.id)]
    )
    there = re.findall(r"^## (.+)$", text, re.MULTILINE)
    return faults + [
        _("it needs a part: ## %(heading)s", heading=heading) for heading in HEADINGS if heading not in there
    ]


def _chinese(installed: Installed) -> list[str]:
    if installed.manifest is None:
        return []
    parts = {"title": installed.manifest.title, "summary": installed.manifest.summary}
    return [_("[%(name)s] has no line for zh-CN", name=name) for name, texts in parts.items() if not texts.get("zh-CN")]


def _test_button(plugin: Plugin | None) -> list[str]:
    if plugin is None or plugin.Settings is None or plugin.can_check:
        return []
    secret = [name for name in plugin.Settings.model_fields if Secret in _types(plugin.Settings, name)]
    return [_("%(names)s: nothing tries it; write check()", names=", ".join(secret))] if secret else []


def _types(model: Any, name: str) -> tuple[Any, ...]:
    annotation = model.model_fields[name].annotation
    return (annotation, *getattr(annotation, "__args__", ()))


def _domain(place: Place) -> catalogues.Domain:
    return catalogues.Domain(place.folder / "locales", (place.folder,), place.folder.name)


# -- imports ----------------------------------------------------------------------------


def imported_names(source: str, package: str) -> Iterator[str]:
    """The modules a file imports, relative ones made absolute."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            up = package.split(".")
            base = ".".join(up[: len(up) - node.level + 1]) if node.level else ""
            module = ".".join(part for part in (base, node.module) if part)
            # from plugins.risk import caps: what is meant is the folder below
            inside = module.split(".")[0] == "plugins" and module.count(".") < 2
            yield from (f"{module}.{name.name}" for name in node.names) if inside else (module,)


def breaches(source: str, package: str, own: str) -> Iterator[str]:
    """What a file of the plugin imported as ``own`` must not import."""
    in_tests = "tests" in package.split(".")
    for name in imported_names(source, package):
        top = name.split(".")[0]
        allowed = name == "core.api" or (in_tests and name == "core.api.testing")
        if top in OURS and not allowed:
            yield name
        if top == "plugins" and name != own and not name.startswith(own + "."):
            yield name
        if name in BLOCKING or top in BLOCKING:
            yield name


def imports(place: Place) -> list[str]:
    declared = _declared(place)
    faults = []
    for path, package in _files(place):
        source = path.read_text("utf-8")
        try:
            wrong = list(breaches(source, package, place.module))
            libraries = [name.split(".")[0] for name in imported_names(source, package)]
        except SyntaxError as error:
            faults.append(f"{path.name}: {error}")
            continue
        faults += [_("%(file)s imports %(name)s", file=path.name, name=name) for name in wrong]
        if "tests" not in package.split("."):
            faults += [
                _("%(file)s imports %(name)s, which nothing declares", file=path.name, name=name)
                for name in libraries
                if name not in declared
            ]
    return faults


def _files(place: Place) -> Iterator[tuple[Path, str]]:
    for path in sorted(place.folder.rglob("*.py")):
        inner = path.relative_to(place.folder).parts[:-1]
        yield path, ".".join((place.module, *inner))
    if place.repository is not None:
        for path in sorted(place.tests.rglob("*.py")):
            yield path, "tests"


def _declared(place: Place) -> set[str]:
    """What may be imported from outside the shop: the standard library, and what is asked for by name."""
    if place.repository is not None:
        project = tomllib.loads((place.repository / "pyproject.toml").read_text("utf-8")).get("project", {})
        asked = list(project.get("dependencies", ()))
    else:
        asked = (ROOT / "requirements.in").read_text("utf-8").splitlines()
    names = {_normal(found[0]) for line in asked if (found := re.match(r"[A-Za-z0-9._-]+", line))}
    homes = _distributions(tuple(sys.path))
    libraries = {name for name, dists in homes.items() if any(_normal(dist) in names for dist in dists)}
    own = place.module.split(".")[0]
    return {*sys.stdlib_module_names, *libraries, "core", "plugins", own, *OURS}


@functools.cache
def _distributions(path: tuple[str, ...]) -> Mapping[str, list[str]]:
    """What is installed, by the names it is imported by; a quarter of a second of reading."""
    return metadata.packages_distributions()


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def blocking(place: Place) -> list[str]:
    return [
        _("%(file)s calls time.sleep", file=path.name)
        for path, _package in _files(place)
        if "time.sleep(" in path.read_text()
    ]


# -- tests ------------------------------------------------------------------------------


def _results(places: Sequence[Place], tests: Tried, options: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
    """How the tests of each plugin ended; those of plugins in one folder are run together."""
    groups: dict[Path, list[Place]] = {}
    for place in places:
        if place.tests.is_dir() and not _found(place):
            groups.setdefault(place.repository or place.folder.parents[2], []).append(place)
    found: dict[str, list[dict[str, Any]]] = {}
    for top, members in groups.items():
        lines = _run(top, members, tests, options)
        told = {file: [(base / file).resolve() for base in (top, ROOT)] for file in {one["file"] for one in lines}}
        for place in members:
            own = place.tests.resolve()
            inside = {file for file, places in told.items() if any(path.is_relative_to(own) for path in places)}
            found[place.id] = [one for one in lines if one["file"] in inside]
    return found


def _run(top: Path, members: Sequence[Place], tests: Tried, more: Sequence[str]) -> list[dict[str, Any]]:
    is_repository = members[0].repository is not None
    options = [*more, "-q", "-p", "no:cacheprovider", "-p", "core.api.testing.report"]
    if tests is not Tried.ALL:
        options += ["-m", "contract"]
    if tests is Tried.LISTED:
        options += ["--collect-only"]
    if not is_repository:
        options += ["-c", str(ROOT / "pyproject.toml"), "--rootdir", str(ROOT)]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, (str(ROOT), environment.get("PYTHONPATH"))))
    if not is_repository and top != ROOT:
        environment["VOUCHSAFE_HOME"] = str(top)
    with tempfile.NamedTemporaryFile("r", suffix=".jsonl") as report:
        command = [
            sys.executable,
            "-m",
            "pytest",
            *options,
            "--tell",
            report.name,
            *(str(one.tests) for one in members),
        ]
        done = subprocess.run(  # noqa: S603
            command,
            cwd=top if is_repository else ROOT,
            env=environment,
            capture_output=True,
            text=True,
            timeout=SECONDS,
        )
        lines = [json.loads(line) for line in report.readlines()]
    if not lines and done.returncode not in (0, 5):
        why = (done.stderr or done.stdout).strip()[-1000:]
        return [_not_run(one, why) for one in members]
    return lines


def _not_run(place: Place, why: str) -> dict[str, Any]:
    return {"file": str(place.tests / "test_*.py"), "test": "", "passed": False, "contracts": [], "why": why}


__all__ = ["CONTRACTS", "Level", "Place", "Point", "Report", "Tried", "breaches", "checked", "imports", "place_of"]
