"""How the shop looks: a draft, its preview in one browser, publishing, going back; and the merchant's own pages."""

from __future__ import annotations

import re

import httpx
import pytest

from core import db
from core.shops import service as shops
from core.site import looks
from core.web import csrf
from tests import stocked
from tests.console import Staff, words

ACCENT = "--shop-accent:#7a1fa2"
GOOD = {
    "set_accent": "#7a1fa2",
    "set_accent_dark": "#5fcfa2",
    "set_radius": "4",
    "set_font": "serif",
    "set_hero": "on",
    "set_hero_title.zh-CN": "欢迎",
    "set_hero_title.en": "Hello </style><script>",
    "set_cards": "12rem",
    "set_link_title.en": "About us",
    "set_link_url": "/i/about",
    "set_act": "save",
}


@pytest.fixture
async def fresh(address: str) -> None:
    await db.execute("UPDATE shops_shop SET theme = 'market', look_id = NULL")
    await db.execute("DELETE FROM site_look")
    looks.forget()
    shops.forget()


async def stranger(address: str, path: str = "/") -> str:
    async with httpx.AsyncClient(base_url=address, headers={"accept-language": "en"}) as http:
        answer = await http.get(path, params={"q": ""} if path == "/" else None)
        assert answer.status_code == 200, answer.text
        return answer.text


async def stylesheet(page: str, http: httpx.AsyncClient) -> str:
    found = re.search(r'href="(/look/[^"]+)"', page)
    if not found:
        return ""
    answer = await http.get(found[1])
    assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
    return answer.text


async def saved(staff: Staff, **changes: str) -> str:
    edits = await db.fetchval("SELECT edits FROM site_look WHERE published_at IS NULL")
    return await staff.post("/admin/themes/settings", **{**GOOD, "set_seen": str(edits), **changes})


async def publish(staff: Staff) -> str:
    edits = await db.fetchval("SELECT edits FROM site_look WHERE published_at IS NULL")
    page = await staff.post("/admin/themes/publish", seen=str(edits))
    looks.forget()
    return page


async def test_a_draft_is_seen_in_one_browser_until_it_is_published_and_can_be_taken_back(address, staff, fresh):
    await staff.post("/admin/themes/draft", theme="market")
    assert "The draft is saved" in words(await saved(staff))
    assert "/look/" not in await stranger(address) and "/look/" not in await staff.get("/")

    page = await staff.post("/admin/themes/preview")
    assert "Only this browser sees it" in words(page)
    own = await staff.http.get("/")
    assert "only this browser sees the draft" in own.text
    assert own.headers["cache-control"] == "no-store" and own.headers["x-robots-tag"] == "noindex"
    assert "frame-ancestors 'self'" in own.headers["content-security-policy"]
    assert own.headers["x-frame-options"] == "SAMEORIGIN"
    assert ACCENT in await stylesheet(own.text, staff.http)
    assert "Hello &lt;/style&gt;&lt;script&gt;" in own.text
    live = await staff.http.get("/?live=1")
    assert "/look/" not in live.text and "the draft" not in live.text
    frames = await staff.http.get("/admin/themes/preview?size=desktop&beside=on")
    assert "frame-src 'self'" in frames.headers["content-security-policy"]
    assert "frame-ancestors 'none'" in frames.headers["content-security-policy"]
    other = await stranger(address)
    assert "/look/" not in other

    assert "buyers see it from now on" in words(await publish(staff))
    public = await stranger(address)
    assert "only this browser" not in public and "Hello &lt;/style&gt;" in public and 'href="/i/about"' in public
    css = await stylesheet(public, staff.http)
    assert ACCENT in css and "--shop-radius:4px" in css and "--shop-card:12rem" in css and "</style>" not in css
    assert "--shop-font:Georgia" in css and "--shop-on-accent:#ffffff" in css

    await staff.post("/admin/themes/draft", theme="plain")
    assert "accent" in (await looks.draft(1)).settings
    await db.execute("UPDATE site_look SET settings = '{}' WHERE published_at IS NULL")
    await publish(staff)
    assert "/static/plain-" in await stranger(address, "/lookup")
    first = await db.fetchval("SELECT min(id) FROM site_look")
    await staff.post(f"/admin/themes/looks/{first}/use")
    looks.forget()
    back = await stranger(address, "/lookup")
    assert "/static/market-" in back and "/look/" in back
    acts = [row["act"] for row in await db.fetch("SELECT act FROM audit_entry WHERE act LIKE 'look.%' ORDER BY id")]
    assert acts == ["look.begun", "look.published", "look.begun", "look.published", "look.went_back"]


async def test_a_preview_is_worth_nothing_in_other_hands(address, staff, sign_in, fresh):
    await staff.post("/admin/themes/draft", theme="market")
    await saved(staff)
    await staff.post("/admin/themes/preview")
    cookie = staff.http.cookies["preview"]
    for session in (None, (await sign_in("manager")).http.cookies["vs"], (await sign_in("support")).http.cookies["vs"]):
        jar = {"preview": cookie, **({"vs": session} if session else {})}
        async with httpx.AsyncClient(base_url=address, cookies=jar) as http:
            page = await http.get("/lookup")
            assert page.status_code == 200 and "/look/" not in page.text
            assert "frame-ancestors 'none'" in page.headers["content-security-policy"]
    number, _dot, seal = cookie.partition(".")
    for forged in (
        f"{int(number) + 1}.{seal}",
        f"{number}.{'A' * len(seal)}",
        "x",
        f"{'9' * 30}.{seal}",
        f"{number}.é",
        f"².{seal}",
    ):
        jar = {"vs": staff.http.cookies["vs"]}
        headers = {"cookie": f"vs={jar['vs']}; preview={forged}".encode("latin-1")}
        async with httpx.AsyncClient(base_url=address, headers=headers) as http:
            assert "/look/" not in (await http.get("/lookup")).text
    await db.execute("DELETE FROM people_session WHERE id_hash = sha256($1)", staff.http.cookies["vs"].encode())
    assert "/look/" not in (await staff.http.get("/lookup")).text


async def test_what_does_not_fit_is_said_at_its_field_and_nothing_is_kept(staff, fresh):
    await staff.post("/admin/themes/draft", theme="market")
    for field, value in [
        ("accent", "red;}body{display:none"),
        ("accent", "#12345"),
        ("accent", "url(//evil.example)"),
        ("radius", "99"),
        ("radius", "4px"),
        ("font", "Comic Sans; } *{"),
        ("cards", "expression(1)"),
        ("link_url", "javascript:alert(1)"),
        ("link_url", "//evil.example"),
        ("hero_title.en", "x" * 61),
        ("hero_title.en", "two\nlines"),
    ]:
        edits = await db.fetchval("SELECT edits FROM site_look")
        form = {**GOOD, "set_seen": str(edits), f"set_{field}": value}
        page = await staff.post("/admin/themes/settings", status=422, **form)
        assert re.search(rf'href="#f-set_{re.escape(field.partition(".")[0])}', page), (field, value)
        assert await db.fetchval("SELECT settings FROM site_look") == {}
    await staff.post("/admin/themes/draft", theme="nosuch", status=404)


async def test_only_themes_that_are_there_have_a_stylesheet(address, staff, fresh):
    async with httpx.AsyncClient(base_url=address) as http:
        answers = [await http.get(f"/look/0-{name}-0123456789abcdef.css") for name in ("market", "nobody-made-this")]
    assert [answer.status_code for answer in answers] == [200, 404]


async def test_a_colour_that_is_hard_to_read_is_told_with_a_better_one(staff, fresh):
    await staff.post("/admin/themes/draft", theme="market")
    page = words(await saved(staff, set_accent="#ffd400"))
    assert "Your colour #ffd400 is hard to read" in page and "would be readable" in page
    assert "hard to read" not in words(await saved(staff))


async def test_two_at_once_do_not_save_over_each_other(staff, fresh):
    await staff.post("/admin/themes/draft", theme="market")
    await saved(staff)
    before = await looks.draft(1)
    await staff.post("/admin/themes/settings", status=409, **{**GOOD, "set_seen": "1", "set_accent": "#000000"})
    await staff.post("/admin/themes/publish", status=409, seen="1")
    assert await looks.draft(1) == before
    assert await db.fetchval("SELECT look_id FROM shops_shop WHERE id = 1") is None


async def test_the_last_ten_are_kept(staff, fresh):
    for number in range(12):
        await staff.post("/admin/themes/draft", theme="market")
        await saved(staff, set_radius=str(number))
        await publish(staff)
    rows = await db.fetch("SELECT settings FROM site_look ORDER BY id")
    assert [row["settings"]["radius"] for row in rows] == list(range(2, 12))


PAGE = {"slug": "terms", "text_title.en": "Terms", "text_title.zh-CN": "条款", "in_footer": "on", "act": "save"}


async def test_a_page_of_the_merchants_own(address, staff, fresh):
    text = "## Who\n\n{{ shop.name }} <script>alert(1)</script> [bad](javascript:alert(1)) [good](https://example.com)"
    preview = await staff.post("/admin/pages", status=200, **{**PAGE, "text_body.en": text, "act": "preview"})
    assert "<h2>Who</h2>" in preview and await db.fetchval("SELECT count(*) FROM site_page") == 0
    await staff.post("/admin/pages", **{**PAGE, "text_body.en": text})
    page = await stranger(address, "/i/terms")
    assert "<h1>Terms</h1>" in page and "<h2>Who</h2>" in page and 'href="https://example.com"' in page
    assert "<script>alert" not in page and 'href="javascript' not in page
    looks.forget()
    assert 'href="/i/terms">Terms' in await stranger(address, "/lookup")
    await stocked.sku(1)
    assert f"<loc>{address}/i/terms</loc>" in await stranger(address, "/sitemap/1")

    await staff.post("/admin/pages", status=422, **{**PAGE, "text_body.en": "x"})
    number = await db.fetchval("SELECT id FROM site_page")
    for wrong in (
        "{{ 'a' * 9 }}",
        "{% for a in shop %}{% endfor %}{{ nosuch }}",
        "{{ shop.name.encode() }}",
        "{% set x = 1 %}",
    ):
        await staff.post(f"/admin/pages/{number}", status=422, **{**PAGE, "seen": "1", "text_body.en": wrong})
    await staff.post(f"/admin/pages/{number}", status=422, **{**PAGE, "seen": "7", "text_body.en": "stale"})
    assert await db.fetchval("SELECT body ->> 'en' FROM site_page") == text
    await staff.post(f"/admin/pages/{number}/delete")
    async with httpx.AsyncClient(base_url=address, headers={"accept": "text/html"}) as http:
        assert (await http.get("/i/terms?x=1")).status_code == 404


async def test_the_gallery_and_the_report(staff, fresh):
    page = words(await staff.get("/admin/themes"))
    assert "Market" in page and "Plain" in page and "Buyers see this" in page
    assert "Nothing. The theme keeps every rule." in words(await staff.get("/admin/themes/check/plain"))
    assert csrf.token_for(staff.http.cookies["vs"]) == staff.csrf
