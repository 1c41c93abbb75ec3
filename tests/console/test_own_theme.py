"""A theme of the merchant's own that fails while it draws: it is not published, and buyers never meet it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from core import db
from core.shops import service as shops
from core.site import looks
from tests import console, stocked
from tests.console import Staff, words

CARD = '{% include "!catalog/_card.html" %}\n{{ nope.what }}\n'
ENGLISH_ONLY = """{% extends "!orders/lookup.html" %}
{% block title %}{% if visit.locale == "en" %}{{ nope }}{% endif %}{% endblock %}
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("home")
    for name, template, text in [("mine", "catalog/_card.html", CARD), ("english", "orders/lookup.html", ENGLISH_ONLY)]:
        file = home / "themes" / name / "templates" / template
        file.parent.mkdir(parents=True)
        file.write_text(text)
        (home / "themes" / name / "theme.toml").write_text(f'id = "{name}"\napi = "1"\ninherits = "market"\n')
    return home


@pytest.fixture(scope="module")
async def address(database: str, redis_url: str, home: Path) -> AsyncIterator[str]:
    async with console.running(database, redis_url, home) as address:
        yield address


async def test_a_theme_that_cannot_draw_a_first_page_is_not_published(address: str, staff: Staff) -> None:
    await stocked.sku(2)
    for theme, said in [
        ("mine", "/ (zh-CN): catalog/_card.html:2: 'nope' is undefined"),
        ("english", "/lookup (en): orders/lookup.html:2: 'nope' is undefined"),
    ]:
        await staff.post("/admin/themes/draft", theme=theme)
        edits = await db.fetchval("SELECT edits FROM site_look WHERE published_at IS NULL")
        page = words(await staff.post("/admin/themes/publish", status=409, seen=str(edits)))
        assert "Nothing was published" in page and said in page
        assert await db.fetchval("SELECT theme FROM shops_shop WHERE id = 1") == "market"
        assert (await looks.draft(1)).theme == theme
    await staff.post("/admin/themes/draft", theme="mine")
    await staff.post("/admin/themes/preview")
    assert "catalog/_card.html:2" in await staff.get("/", status=500)


async def test_buyers_of_a_theme_that_fails_get_the_page_as_the_shop_comes(address: str) -> None:
    await stocked.sku(2)
    await db.execute("UPDATE shops_shop SET theme = 'mine', look_id = NULL")
    looks.forget()
    shops.forget()
    async with httpx.AsyncClient(base_url=address) as http:
        failing, fine = await http.get("/"), await http.get("/lookup")
    assert failing.status_code == 200 and "/static/market-" in failing.text
    assert fine.status_code == 200 and "/static/mine-" in fine.text
