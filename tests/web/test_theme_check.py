"""What the check of themes finds, a theme that means harm, and the settings of themes."""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from jinja2.exceptions import SecurityError, UndefinedError

from core import app
from core.config import Config, SetupProblem
from core.site import commands
from core.web import colours, theme_check, theme_settings
from core.web.theme_check import fingerprint, from_line
from core.web.theme_settings import BadSchema
from core.web.themes import Themes, make_environment

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def themes(tmp_path_factory: pytest.TempPathFactory) -> Themes:
    return app.themes_alone(Config.from_env({"VOUCHSAFE_HOME": str(tmp_path_factory.mktemp("home"))}))


def made(folder: Path, manifest: str = "", **files: str) -> Path:
    root = folder / "mine"
    (root / "templates").mkdir(parents=True)
    (root / "static").mkdir()
    (root / "theme.toml").write_text(f'id = "mine"\nname = "Mine"\napi = "1"\ninherits = "market"\n{manifest}')
    for name, text in files.items():
        path = root / name.replace("__", "/").replace("_DOT_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def found(themes: Themes, root: Path) -> set[tuple[str, str, str]]:
    report = theme_check.check(themes.beside(root.parent), "mine")
    return {(one.level, one.code, one.where.partition(":")[0]) for one in report.findings}


@pytest.mark.parametrize("name", ["base", "market", "plain"])
def test_our_own_themes_keep_every_rule(themes, name):
    report = theme_check.check(themes, name)
    assert [(one.level, one.where, str(one.text)) for one in report.findings] == []
    assert name == "plain" or report.drawn > 20


MISTAKES = [
    {
        ("fatal", "syntax", "_footer.html"): "{% if %}",
        ("fatal", "syntax", "_flash.html"): "{{ shop.name|nosuch }}",
        ("fatal", "template", "_header.html"): '{% include "nosuch.html" %}',
        ("fatal", "slot", "_announcement.html"): '{{ slot("no.such") }}',
        ("fatal", "static", "_test_mode.html"): '{{ static("no.css") }}',
        ("fatal", "setting", "_shop_name.html"): "{{ theme.nosuch }}",
    },
    {("fatal", "draw", "_footer.html"): '{% import "ui.html" as ui %}{{ ui.nosuch() }}'},
    {
        ("error", "variable", "_flash.html"): "{{ nobody_gives_this }}",
        ("error", "csrf", "_header.html"): '<form method="post" action="/x"></form>',
        ("error", "lost-slot", "_header.html"): "",
        ("error", "lost-slot", "_footer.html"): "<footer></footer>",
        ("error", "lost-id", "layout.html"): "<main></main>",
        ("error", "lost-block", "layout.html"): "",
        ("error", "inline-handler", "a.html"): '<p onclick="x()">',
        ("error", "hx-on", "b.html"): '<p hx-on:click="x()">',
        ("error", "js-value", "c.html"): '<a href="javascript:x()">',
        ("error", "trigger-filter", "d.html"): '<p hx-trigger="click[ctrlKey]">',
        ("error", "inline-style", "e.html"): '<p style="color:red">',
        ("error", "inline-script", "f.html"): "<script>x()</script>",
        ("error", "remote", "g.html"): '<img src="https://evil.example/x.png">',
        ("warning", "translation", "mine/templates/h.html"): "",
        ("warning", "unclosed", "_announcement.html"): "<section><div></section>",
        ("advice", "no-origin", "_footer.html"): "",
    },
]


@pytest.mark.parametrize("mistakes", MISTAKES)
def test_each_mistake_in_a_template_is_found(themes, tmp_path, mistakes):
    root = made(tmp_path)
    for (_level, _code, path), text in mistakes.items():
        if text:
            (root / "templates" / path).write_text(text)
    (root / "templates/h.html").write_text('{{ _("Nobody has said this yet") }}')
    assert mistakes.keys() <= found(themes, root)


@pytest.mark.parametrize(
    "setting",
    [
        'id = "x"\ntype = "nosuch"',
        'id = "items"\ntype = "text"',
        'id = "x"\ntype = "text"\ncss_var = "--x"',
        'id = "x"\ntype = "color"\ncss_var = "--x:red;}"',
        'id = "x"\ntype = "color"\ndefault = "red"',
        'id = "x"\ntype = "select"\ncss_var = "--x"\noptions = ["url(//x)"]',
        'id = "x"\ntype = "int"\nunit = "px;}"',
        'id = "x"\ntype = "text"\nshow_if = "nosuch"',
        'id = "x"\ntype = "text"\nnosuch = 1',
    ],
)
def test_settings_that_cannot_be_are_refused(themes, tmp_path, setting):
    root = made(tmp_path, f"[[settings]]\n{setting}")
    assert found(themes, root) == {("fatal", "manifest", "theme.toml")}


HARMLESS = """
[[settings]]
id = "x"
type = "text"
[[settings]]
id = "y"
type = "color"
css_var = "--nobody-reads"
[[settings]]
id = "accent"
default = "#ffee00"
label = { en = "Only English" }
"""


def test_each_mistake_in_settings_and_files_is_found(themes, tmp_path):
    root = made(tmp_path, HARMLESS)
    long = "".join(f".c{number * 7919 % 99991} {{ top: {number}px }}\n" for number in range(4000))
    files = {
        "a.css": "@import url(x.css);",
        "b.css": "a { background: url(https://evil.example/x) }",
        "c.js": 'eval("1")',
        "d.js": 'localStorage.setItem("a", 1)',
        "e.svg": '<svg onload="x()"></svg>',
        "f.css": long,
    }
    for name, text in files.items():
        (root / "static" / name).write_text(text)
    assert found(themes, root) == {
        *(("error", "static-code", name) for name in files if name != "f.css"),
        ("error", "budget", "css"),
        ("warning", "unused-setting", "x"),
        ("warning", "unused-variable", "y"),
        ("warning", "contrast", "accent"),
        ("warning", "label", "accent"),
    }


def test_a_copy_is_outdated_when_what_it_was_copied_from_changes(themes, tmp_path):
    source = (ROOT / "themes/base/templates/_announcement.html").read_text()
    copied = f"{from_line('_announcement.html', source)}\n{source}"
    root = made(tmp_path)
    (root / "templates/_announcement.html").write_text(copied)
    report = theme_check.check(themes.beside(tmp_path), "mine")
    assert report.overridden == ["_announcement.html"] and report.outdated == [] and report.findings == []
    (root / "templates/_announcement.html").write_text(copied.replace(fingerprint(source), "00000000"))
    report = theme_check.check(themes.beside(tmp_path), "mine")
    assert report.outdated == ["_announcement.html"]
    assert [(one.level, one.code) for one in report.findings] == [("warning", "outdated")]
    assert fingerprint("a {# one #}  b") == fingerprint("a b") != fingerprint("a c")


def test_a_new_theme_is_made_and_looked_over_from_the_command_line(themes, tmp_path):
    wanted = argparse.Namespace(id="aurora", inherits="market", into=str(tmp_path), copy=["_announcement.html"])
    assert commands.new_theme(themes, wanted) == 0
    with pytest.raises(SetupProblem, match="there already"):
        commands.new_theme(themes, wanted)
    (tmp_path / "aurora/templates/_flash.html").write_text("<p style='x'>")
    environ = {"PATH": "/usr/bin:/bin", "VOUCHSAFE_HOME": str(tmp_path / "home")}
    command = [sys.executable, str(ROOT / "server.py"), "check-theme", str(tmp_path / "aurora"), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, env=environ, timeout=120, check=False)
    facts = json.loads(done.stdout)
    assert (done.returncode, facts["good"]) == (1, False)
    assert facts["overridden"] == ["_announcement.html", "_flash.html"]
    assert [one["code"] for one in facts["findings"] if one["level"] == "error"] == ["inline-style"]


def test_the_example_of_the_document_keeps_every_rule(themes, tmp_path):
    blocks = re.findall(r"```\w+ (\S+)\n(.*?)```", (ROOT / "docs/themes.md").read_text(), re.DOTALL)
    assert [path for path, _text in blocks] == ["theme.toml", "static/css/aurora.css", "templates/_footer_links.html"]
    for path, text in blocks:
        file = tmp_path / "aurora" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    report = theme_check.check(themes.beside(tmp_path), "aurora")
    assert report.findings == [] and report.drawn > 20


@pytest.mark.parametrize(
    ("source", "error"),
    [
        ("{{ ''.__class__.__mro__[1].__subclasses__() }}", (SecurityError, UndefinedError)),
        ("{{ cycler.__init__.__globals__.os.environ }}", (SecurityError, UndefinedError)),
        ("{{ shop.__init__.__globals__ }}", (SecurityError, UndefinedError)),
        ("{{ x.append(1) }}", SecurityError),
        ("{% for i in range(10000000) %}x{% endfor %}", OverflowError),
        ("{{ self.__init__.__globals__ }}", (SecurityError, UndefinedError)),
    ],
)
def test_a_theme_that_means_harm_gets_nowhere(source, error, tmp_path):
    (tmp_path / "x.html").write_text(source)
    environment = make_environment([tmp_path], None, reload=False)
    with pytest.raises(error):
        environment.get_template("x.html").render(shop=Config.from_env({}), x=[])


def test_a_child_changes_what_it_inherits():
    parent = [{"id": "a", "type": "color", "default": "#000000", "css_var": "--a"}, {"id": "b", "type": "bool"}]
    child = [
        {"id": "a", "default": "#ffffff"},
        {"id": "b", "hidden": True, "default": True},
        {"id": "c", "type": "int"},
    ]
    a, b, c = theme_settings.merged([parent, child])
    assert (a.default, a.first, b.hidden, b.default, c.default) == ("#ffffff", "#000000", True, True, 0)
    assert theme_settings.stylesheet([a, b, c], {}) == ":root{--a:#ffffff}\n"
    assert theme_settings.stylesheet([a], {"a": "#000000"}) == ""
    assert theme_settings.fitting([a, b, c], {"a": "red", "b": False, "c": 5, "gone": 1}) == {"c": 5}
    with pytest.raises(BadSchema, match="no id"):
        theme_settings.merged([[{"type": "text"}]])


def test_contrast_is_that_of_wcag():
    assert round(colours.contrast("#ffffff", "#000000"), 2) == 21
    assert round(colours.contrast("#777777", "#ffffff"), 2) == 4.48
    better = colours.readable("#777777", "#ffffff")
    assert colours.contrast(better, "#ffffff") >= 4.5 and better != "#000000"
    assert colours.text_on("#ffd400") == "#101010" and colours.text_on("#0a6b4d") == "#ffffff"
