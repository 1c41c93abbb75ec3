"""Each plugin speaks with its own words: neither another plugin's nor the shop's take their place."""

import importlib.util
from pathlib import Path

import pytest
from jinja2.exceptions import SecurityError

from core.web import i18n, words
from core.web.i18n import _, in_language, kept, source, speaking, told
from core.web.render import Slots
from core.web.themes import Themes
from tests.web.test_themes import ROOT

CODE = """
from core.api import _

def shop(count):
    return _("Ajar"), _("%(num)s file taken"), _("Cancel"), _("Nobody knows"), _("Only %(left)s", left=count)
"""
PAGE = """{% extends "frame.html" %}{% import "bits.html" as bits %}{% block main %}
{{ _("Ajar") }}|{% trans %}Ajar{% endtrans %}|{{ _("%(num)s file taken", num=7) }}|{{ _("Cancel") }}
|{{ ngettext("%(num)s thing", "%(num)s things", 2) }}|{% trans count=1 %}{{ count }} box{% pluralize %}{{ count }} boxes
{%- endtrans %}|{{ pgettext("door", "Ajar") }}|{{ npgettext("door", "%(num)s key", "%(num)s keys", 3) }}
|{{ bits.word() }}|{{ _("Only %(left)s", left="<b>") }}{% endblock %}"""
SHOPS = {
    "frame.html": '{{ _("Ajar") }}:{% block main %}{% endblock %}',
    "bits.html": '{% macro word() %}{{ _("Ajar") }}{% endmacro %}',
}


def po(texts):
    head = 'msgid ""\nmsgstr ""\n"Language: zh_CN\\n"\n"Content-Type: text/plain; charset=utf-8\\n"\n'
    return head + '"Plural-Forms: nplurals=1; plural=0;\\n"\n\n' + texts


def one(id, said, context=""):
    return (f'msgctxt "{context}"\n' if context else "") + f'msgid "{id}"\nmsgstr "{said}"\n\n'


def many(id, plural, said, context=""):
    head = f'msgctxt "{context}"\n' if context else ""
    return f'{head}msgid "{id}"\nmsgid_plural "{plural}"\nmsgstr[0] "{said}"\n\n'


def texts(sign):
    return po(
        one("Ajar", f"{sign}开")
        + one("%(num)s file taken", f"{sign}档 %(num)s")
        + one("Only %(left)s", f"{sign}只 %(left)s")
        + many("%(num)s thing", "%(num)s things", f"{sign}%(num)s 件")
        + many("%(count)s box", "%(count)s boxes", f"{sign}%(count)s 箱")
        + one("Ajar", f"{sign}门", "door")
        + many("%(num)s key", "%(num)s keys", f"{sign}%(num)s 匙", "door")
    )


@pytest.fixture
def folders(tmp_path):
    """Two plugins with the same texts, one without any catalogue, and the shop's own templates."""
    plugins = {}
    for name, sign in (("first", "甲"), ("second", "乙"), ("silent", "")):
        folder = plugins[f"apps.{name}"] = tmp_path / name
        (folder / "templates" / f"apps.{name}").mkdir(parents=True)
        (folder / "templates" / f"apps.{name}" / "page.html").write_text(PAGE)
        (folder / "code.py").write_text(CODE)
        if sign:
            (folder / "locales" / "zh_CN" / "LC_MESSAGES").mkdir(parents=True)
            (folder / "locales" / "zh_CN" / "LC_MESSAGES" / "messages.po").write_text(texts(sign))
    (tmp_path / "shop").mkdir()
    for name, text in SHOPS.items():
        (tmp_path / "shop" / name).write_text(text)
    i18n.load([i18n.FOLDER], plugins)
    yield plugins
    i18n.load([i18n.FOLDER])


def code_of(folder):
    spec = importlib.util.spec_from_file_location(f"words_{folder.name}", folder / "code.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_same_text_of_two_plugins_is_said_as_each_says_it(folders):
    said = {}
    for name in ("first", "second", "silent"):
        with speaking("zh_CN"):
            said[name] = [str(text) for text in code_of(folders[f"apps.{name}"]).shop(3)]
    # what is a number of things in the shop is a word here, and with an empty catalogue nothing at all
    assert said == {
        "first": ["甲开", "甲档 %(num)s", "取消", "Nobody knows", "甲只 3"],
        "second": ["乙开", "乙档 %(num)s", "取消", "Nobody knows", "乙只 3"],
        "silent": ["Ajar", "%(num)s file taken", "取消", "Nobody knows", "Only 3"],
    }
    with speaking("zh_CN"):
        assert str(_("Ajar")) == "Ajar" == i18n.gettext("Ajar")
        assert i18n.ngettext_now("%(num)s file taken", "%(num)s files taken", 2) == "已取 %(num)s 个文件"
        assert str(i18n.text_of("apps.second", "Only %(left)s", left=1)) == "乙只 1"
    first = code_of(folders["apps.first"]).shop(3)
    assert [str(text) for text in first] == ["Ajar", "%(num)s file taken", "Cancel", "Nobody knows", "Only 3"]


def themes_of(templates: list[Path], **options) -> Themes:
    return Themes(
        ROOT,
        template_folders=templates,
        static_folders=[("", ROOT / "base" / "static")],
        prepare=lambda environment: words.prepare(environment, [], Slots([])),
        **options,
    )


def test_templates_of_a_plugin_say_their_own_words_and_those_of_the_shop_its_own(folders, tmp_path):
    templates = [tmp_path / "shop", *(folder / "templates" for folder in folders.values())]
    for _once_from_the_cache in range(2):
        themes = themes_of(templates, cache_folder=tmp_path / "cache")
        with speaking("zh_CN"):
            drawn = {
                name: "".join(themes.look("market").render(f"apps.{name}/page.html", {}).split("\n"))
                for name in ("first", "second", "silent")
            }
        for name, sign in (("first", "甲"), ("second", "乙")):
            assert drawn[name] == (
                f"Ajar:{sign}开|{sign}开|{sign}档 7|取消|{sign}2 件|{sign}1 箱|{sign}门|{sign}3 匙"
                f"|Ajar|{sign}只 &lt;b&gt;"
            )
        assert drawn["silent"] == "Ajar:Ajar|Ajar|7 file taken|取消|2 things|1 box|Ajar|3 keys|Ajar|Only &lt;b&gt;"


@pytest.mark.parametrize(
    ("template", "drawn"),
    [
        ('{{ _("Cancel") }}', "取消"),
        ('{% for one in "ab" %}{{ _("Cancel") }}{{ loop.index }}{% endfor %}', "取消1取消2"),
        ('{{ _("half%% <b>%(who)s</b>", who="<i>") }}', "half% <b>&lt;i&gt;</b>"),
        ('{{ _("half%%") }}', "half%"),
        ('{{ ngettext("%(num)s hat", "%(num)s hats", 2) }}', "2 hats"),
        ('{{ ngettext("%(num)s hat", "%(num)s hats", 10000) }}', "10,000 hats"),
        ('{{ pgettext("a verb", "Cancelling %(context)s") }}', "Cancelling a verb"),
        ('{{ npgettext("clothes", "%(num)s hat", "%(num)s hats", 1) }}', "1 hat"),
        ("{% trans who='<i>' %}Hello {{ who }}{% endtrans %}", "Hello &lt;i&gt;"),
        ("{% macro m(x) %}<b>{{ x }}{{ caller() }}{% endmacro %}{% for x in '<' %}{% call m(x) %}{{ x }}{% endcall %}"
         "{% endfor %}", "<b>&lt;&lt;"),
    ],
)  # fmt: skip
def test_texts_and_macros_in_a_template(folders, tmp_path, template: str, drawn: str):
    environment = themes_of([tmp_path]).look("market").environment
    with speaking("zh_CN"):
        assert environment.from_string(template).render({}) == drawn


def test_only_texts_and_macros_are_called_unseen(folders, tmp_path):
    environment = themes_of([tmp_path]).look("market").environment

    def burn(*_said: object) -> str:
        raise AssertionError("called")

    burn.unsafe_callable = True
    for template in ("{{ burn() }}", "{% for one in [1] %}{{ burn(one) }}{% endfor %}"):
        with pytest.raises(SecurityError):
            environment.from_string(template).render({"burn": burn})


def test_what_was_kept_remembers_whose_word_it_is(folders):
    only = code_of(folders["apps.second"]).shop(3)[4]
    stored = kept(_("Cancel %(what)s", what=only))
    assert stored["values"]["what"] == {"text": "Only %(left)s", "values": {"left": 3}, "plugin": "apps.second"}
    assert source(only) == "Only 3"
    with speaking("zh_CN"):
        assert told(stored) == "Cancel 乙只 3"
        assert in_language("Cancel") == "取消"
        assert in_language("Ajar") == "甲开"  # nobody knows whose it was, so whoever knows it
        i18n.load([i18n.FOLDER])  # the plugin is gone
        assert told(stored) == "Cancel Only 3"
