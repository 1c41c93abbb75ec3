"""Two languages, both whole; chosen by the visitor, else the browser, else the shop."""

import ast
import sys
from pathlib import Path

import httpx
import pytest

from core import db
from core.web import i18n
from core.web.i18n import _, accepted, known, ngettext, speaking
from core.web.words import TEXTS

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))

import messages  # noqa: E402


@pytest.mark.parametrize("domain", messages.domains(), ids=lambda domain: domain.comment)
def test_every_text_stands_in_both_catalogues(domain: messages.Domain):
    assert messages.trouble(domain) == []


def test_a_missing_translation_is_noticed(tmp_path: Path):
    (tmp_path / "core" / "x" / "templates").mkdir(parents=True)
    (tmp_path / "core" / "x" / "a.py").write_text('_("One")\nngettext("%(num)s hat", "%(num)s hats", 2)\n')
    (tmp_path / "core" / "x" / "templates" / "b.html").write_text('{{ _("Two %(n)s", n=1) }}')
    domain = messages.domains(tmp_path)[0]
    missing = {"One", "Two %(n)s", "%(num)s hat"}
    assert {line.rpartition(": ")[2] for line in messages.trouble(domain, tmp_path)} == missing
    found = messages.collected(domain, tmp_path)
    for locale in messages.LOCALES:
        messages.write(domain, locale, messages.merged(domain, locale, found))
    assert len(messages.trouble(domain, tmp_path)) == 3
    chinese = messages.read(domain, "zh_CN")
    chinese.get("One").string = "一"
    chinese.get("Two %(n)s").string = "二 %(m)s"
    chinese.get("%(num)s hat").string = ("%(num)s 顶帽子",)
    messages.write(domain, "zh_CN", chinese)
    wrong = messages.trouble(domain, tmp_path)
    assert [line.rpartition(": ")[2] for line in wrong] == ["Two %(n)s"]
    assert "other placeholders" in wrong[0]


def test_no_text_stands_inside_an_f_string():
    """Python before 3.12 gives the inside of one to nobody: the text would be in no catalogue."""
    hidden = [
        f"{file.relative_to(ROOT)}:{call.lineno}"
        for folder in ("core", "plugins")
        for file in [ROOT / "server.py", *(ROOT / folder).rglob("*.py")]
        for joined in ast.walk(ast.parse(file.read_text("utf-8")))
        if isinstance(joined, ast.JoinedStr)
        for call in ast.walk(joined)
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id in TEXTS
    ]
    assert hidden == []


@pytest.mark.parametrize(
    ("header", "locale"),
    [
        ("zh-CN,zh;q=0.9,en;q=0.8", "zh_CN"),
        ("en-GB,en;q=0.9", "en"),
        ("fr,en;q=0.5,zh;q=0.7", "zh_CN"),
        ("zh;q=0,en", "en"),
        ("fr", None),
        ("", None),
        (";;;,,q=9", None),
        ("zh" * 5000, None),
    ],
)
def test_what_browsers_accept(header: str, locale: str | None):
    assert accepted(header) == locale


async def test_only_the_beginning_of_a_long_header_is_read_and_kept(client: httpx.AsyncClient):
    accepted.cache_clear()
    for sign in "abc":
        answer = await client.get("/sample", headers={"accept-language": "zh, " + "x" * 500 + sign * 50_000})
        assert '<html lang="zh-CN"' in answer.text
    assert accepted.cache_info().currsize == 1


def test_spellings_of_a_locale():
    assert [known(name) for name in ("zh-cn", "zh_Hans_CN", "ZH", "en-US", "de", "", None)] == [
        "zh_CN", "zh_CN", "zh_CN", "en", None, None, None,
    ]  # fmt: skip


def test_lazy_words_speak_when_they_are_shown():
    i18n.load([i18n.FOLDER])
    title = _("This page does not exist")
    with speaking("zh-CN"):
        assert f"{title}" == "没有这个页面"
        assert str(ngettext("%(num)s product", "%(num)s products", 2)) == "2 个商品"
    with speaking("en"):
        assert str(title) == "This page does not exist"
        assert str(ngettext("%(num)s product", "%(num)s products", 1)) == "1 product"


async def lang(client: httpx.AsyncClient, **headers: str) -> str:
    text = (await client.get("/sample/style", headers=headers)).text
    return text.partition('<html lang="')[2].partition('"')[0]


async def test_cookie_then_browser_then_shop(site: str):
    async with httpx.AsyncClient(base_url=site) as client:
        assert await lang(client) == "zh-CN"
        assert await lang(client, **{"accept-language": "fr"}) == "zh-CN"
        assert await lang(client, **{"accept-language": "en-US"}) == "en"
        answer = await client.post("/preferences", data={"language": "zh_CN", "next": "/sample/style?x=1"})
        assert (answer.status_code, answer.headers["location"]) == (303, "/sample/style?x=1")
        assert await lang(client, **{"accept-language": "en-US"}) == "zh-CN"


async def test_the_shop_decides_when_nobody_else_does(site: str, app):
    await db.execute("UPDATE shops_shop SET locale = 'en', host = 'english.test'")
    async with httpx.AsyncClient(base_url=site) as client:
        for _try in range(400):
            if await lang(client) == "en":
                break
        assert await lang(client) == "en"


@pytest.mark.parametrize(
    "target", ["https://evil.test/", "//evil.test", "/\\evil.test", "javascript:alert(1)", "/\r\nx: y", ""]
)
async def test_the_switch_never_leads_away(client: httpx.AsyncClient, target: str):
    answer = await client.post("/preferences", data={"language": "en", "next": target})
    assert answer.status_code in (303, 422)
    assert answer.headers.get("location", "/") == "/"


async def test_only_known_values_are_taken(client: httpx.AsyncClient):
    answer = await client.post("/preferences", data={"language": "xx"})
    assert answer.status_code == 422
    assert "set-cookie" not in answer.headers


async def test_the_switch_comes_back_to_the_same_address(client: httpx.AsyncClient):
    text = (await client.get("/sample/style?a=1&b=%22%3E")).text
    assert '<input type="hidden" name="next" value="/sample/style?a=1&amp;b=%22%3E">' in text
