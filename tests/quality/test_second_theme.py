"""The theme plain shows every page of the storefront, and everyone can use it."""

from __future__ import annotations

import pytest

from core import db
from core.shops import service as shops
from core.site import looks
from tests.quality.conftest import Sights, address, browser, objects, open_eye, routes, sights
from tests.quality.test_every_page import IN_THE_DARK, look, told

__all__ = ["address", "browser", "objects", "routes", "sights"]


@pytest.mark.parametrize(("colours", "width", "rules"), [("light", 1280, None), ("dark", 390, IN_THE_DARK)])
async def test_every_page_of_the_storefront_in_plain(browser, sights: Sights, colours, width, rules):
    await db.execute("UPDATE shops_shop SET theme = 'plain', look_id = NULL")
    looks.forget()
    shops.forget()
    eye = await open_eye(browser, sights, "buyer", colours=colours, width=width)
    wrong, plain = {}, 0
    for path in sights.buyer:
        found = await look(eye, path, rules)
        plain += await eye.page.locator('link[href*="/static/plain-"]').count()
        if found:
            wrong[path] = found
    await eye.context.close()
    assert told(wrong) == ""
    assert plain >= len(sights.buyer) - 2  # some answer with no page of the theme
