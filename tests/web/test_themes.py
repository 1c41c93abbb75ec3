"""The theme chain: who wins, the next one up, and what cannot be reached."""

from pathlib import Path

import pytest
from jinja2 import TemplateNotFound, UndefinedError
from jinja2.exceptions import SecurityError

from core.web import words
from core.web.render import Slots
from core.web.themes import (
    BadTheme,
    StaticFiles,
    Themes,
    chain_of,
    groups_of,
    make_environment,
    read_theme,
    settings_of,
)

ROOT = Path(__file__).resolve().parents[2] / "themes"


def theme(root: Path, name: str, inherits: str | None = None, **files: str) -> Path:
    folder = root / name
    (folder / "templates").mkdir(parents=True)
    (folder / "static").mkdir()
    parent = f'inherits = "{inherits}"\n' if inherits else ""
    (folder / "theme.toml").write_text(f'id = "{name}"\nname = "{name}"\napi = "1"\n{parent}')
    for path, text in files.items():
        (folder / "templates" / path.replace("__", ".")).write_text(text)
    return folder


def render(root: Path, name: str, template: str, *more: Path) -> str:
    folders = [one.folder / "templates" for one in chain_of(root, name)] + list(more)
    return make_environment(folders, None, reload=False).get_template(template).render(x="<b>")


def test_three_levels_each_on_top_of_the_next(tmp_path: Path):
    theme(tmp_path, "a", "b", page__html='{% extends "!page.html" %}{% block x %}a {{ super() }}{% endblock %}')
    theme(tmp_path, "b", "c", page__html='{% extends "!page.html" %}{% block x %}b {{ super() }}{% endblock %}')
    theme(tmp_path, "c", page__html="[{% block x %}c{% endblock %}]")
    assert render(tmp_path, "a", "page.html") == "[a b c]"
    assert render(tmp_path, "b", "page.html") == "[b c]"


def test_the_next_one_up_counts_from_the_file_that_says_it(tmp_path: Path):
    theme(tmp_path, "a", "b", part__html="a's part")
    theme(tmp_path, "b", "c", page__html='{% include "part.html" %} {% include "!part.html" %}', part__html="b's part")
    theme(tmp_path, "c", part__html="c's part")
    assert render(tmp_path, "a", "page.html") == "a&#39;s part c&#39;s part".replace("&#39;", "'")


def test_theme_before_feature(tmp_path: Path):
    feature = tmp_path / "feature"
    (feature / "shop").mkdir(parents=True)
    (feature / "shop" / "x.html").write_text("feature {{ x }}")
    folder = theme(tmp_path, "a")
    assert render(tmp_path, "a", "shop/x.html", feature) == "feature &lt;b&gt;"
    (folder / "templates" / "shop").mkdir()
    (folder / "templates" / "shop" / "x.html").write_text('theme, {% include "!shop/x.html" %}')
    assert render(tmp_path, "a", "shop/x.html", feature) == "theme, feature &lt;b&gt;"


def test_nothing_above_the_last(tmp_path: Path):
    theme(tmp_path, "a", page__html='{% extends "!page.html" %}')
    with pytest.raises(TemplateNotFound):
        render(tmp_path, "a", "page.html")


def test_circles_and_towers_are_refused(tmp_path: Path):
    theme(tmp_path, "a", "b")
    theme(tmp_path, "b", "a")
    with pytest.raises(BadTheme, match="inherits itself"):
        chain_of(tmp_path, "a")
    for number in range(6):
        theme(tmp_path, f"t{number}", f"t{number + 1}")
    with pytest.raises(BadTheme, match="more than 5"):
        chain_of(tmp_path, "t0")


@pytest.mark.parametrize("manifest", ["", "id = 1", 'id = "x"\napi = "1"', 'id = "a"\napi = "9"', "]["])
def test_bad_manifests(tmp_path: Path, manifest: str):
    folder = theme(tmp_path, "a")
    (folder / "theme.toml").write_text(manifest)
    with pytest.raises(BadTheme):
        read_theme(folder)


def test_a_manifest_in_another_encoding_or_on_top_of_a_number(tmp_path: Path):
    folder = theme(tmp_path, "a")
    manifest = (folder / "theme.toml").read_text()
    (folder / "theme.toml").write_bytes(manifest.encode() + 'summary = "极光"'.encode("gbk"))
    with pytest.raises(BadTheme, match="cannot be read"):
        read_theme(folder)
    (folder / "theme.toml").write_text(manifest + "inherits = 5")
    with pytest.raises(BadTheme, match="inherits names one theme"):
        read_theme(folder)


def test_groups_have_the_names_of_the_theme_they_come_from(tmp_path: Path):
    for name, inherits, groups in (("a", "b", 'night = "Night"'), ("b", None, 'night = "Dusk"\ncolours = "Colours"')):
        folder = theme(tmp_path, name, inherits)
        manifest = (folder / "theme.toml").read_text()
        (folder / "theme.toml").write_text(f"{manifest}[groups]\n{groups}")
    assert groups_of(chain_of(tmp_path, "a")) == {"night": {"": "Night"}, "colours": {"": "Colours"}}


@pytest.mark.parametrize("groups", ["[groups]\nnight = 5", "[groups]\nnight = { en = 5 }", 'groups = "Night"'])
def test_groups_without_a_name_are_told(tmp_path: Path, groups: str):
    folder = theme(tmp_path, "a")
    manifest = (folder / "theme.toml").read_text()
    (folder / "theme.toml").write_text(f"{manifest}{groups}")
    with pytest.raises(BadTheme, match="group"):
        settings_of(chain_of(tmp_path, "a"))


@pytest.mark.parametrize(
    "name", ["../secret.html", "/etc/passwd", "a/../../secret.html", "..\\secret.html", "link.html"]
)
def test_no_way_out_of_the_folder(tmp_path: Path, name: str):
    (tmp_path / "secret.html").write_text("secret")
    folder = theme(tmp_path, "a")
    (folder / "templates" / "link.html").symlink_to(tmp_path / "secret.html")
    with pytest.raises(TemplateNotFound):
        render(tmp_path, "a", name)


@pytest.mark.parametrize(
    "text",
    [
        "{{ ''.__class__.__mro__ }}",
        "{{ x.__init__.__globals__ }}",
        "{% set l = [] %}{{ l.append(1) }}",
        "{{ self._TemplateReference__context }}",
        "{{ x.format.__globals__ }}",
        "{{ ('%s' ~ '')|attr('__class__') }}",
    ],
)
def test_the_sandbox_holds(tmp_path: Path, text: str):
    theme(tmp_path, "a", page__html=text)
    with pytest.raises((SecurityError, UndefinedError)):
        render(tmp_path, "a", "page.html")


def test_what_is_not_there_is_an_error(tmp_path: Path):
    theme(tmp_path, "a", page__html="{{ y }}")
    with pytest.raises(UndefinedError):
        render(tmp_path, "a", "page.html")


def test_an_unknown_theme_falls_back(tmp_path: Path):
    theme(tmp_path, "market", page__html="market")
    themes = Themes(tmp_path, template_folders=[], static_folders=[], prepare=lambda environment: None)
    assert themes.look("gone").theme.id == "market"
    assert themes.look("../etc").theme.id == "market"


def test_static_files_follow_the_chain(tmp_path: Path):
    parent, child = theme(tmp_path, "p"), theme(tmp_path, "c", "p")
    (parent / "static" / "a.css").write_text("parent a")
    (parent / "static" / "b.css").write_text("parent b")
    (child / "static" / "a.css").write_text("child a")
    (child / "static" / "out.css").symlink_to("/etc/passwd")
    files = StaticFiles("c", [("", child / "static"), ("", parent / "static")])
    assert sorted(files.files) == ["a.css", "b.css"]
    assert files.files["a.css"].read_text() == "child a"
    before = files.hash
    (parent / "static" / "b.css").write_text("parent b, changed")
    assert StaticFiles("c", [("", child / "static"), ("", parent / "static")]).hash != before
    with pytest.raises(BadTheme):
        files.url("nothing.css")


def test_our_themes_are_whole():
    assert [one.id for one in chain_of(ROOT, "market")] == ["market", "base"]
    assert [one.id for one in chain_of(ROOT, "console")] == ["console", "base"]


@pytest.mark.parametrize("theme_id", ["market", "console", "base"])
def test_every_template_compiles_in_every_theme(theme_id: str):
    features = sorted((ROOT.parent / "core").glob("*/templates"))
    plugins = sorted((ROOT.parent / "plugins").glob("*/*/templates"))
    themes = Themes(
        ROOT,
        template_folders=features + plugins,
        static_folders=[],
        prepare=lambda environment: words.prepare(environment, [], Slots([])),
    )
    environment = themes.look(theme_id).environment
    names = environment.list_templates()
    assert len(names) > 50
    for name in names:
        environment.get_template(name)
