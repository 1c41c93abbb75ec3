"""Every page of the shop, its console and its plugins: for everyone (WCAG 2.2 AA by axe and by keyboard, light and
dark, phone and desktop, both languages, both themes, 200 % zoom), with texts that try to be markup, and never a word
from the content policy."""

from __future__ import annotations

import pytest

from core import db
from core.shops import service as shops
from core.site import looks
from tests.quality.conftest import AXE, Eye, Sights, open_eye
from tests.quality.keyboard import Walker

LOOK = """async rules => {
    const asked = { resultTypes: ["violations"], selectors: false, preload: false };
    const found = await axe.run(document, rules ? { ...asked, runOnly: rules } : asked);
    return {
        violations: found.violations.map(one => [one.id, one.nodes.length,
            ...one.nodes.slice(0, 2).map(node => node.html.slice(0, 200) + " | " + (node.any[0] || {}).message)]),
        hacked: "hacked" in window,
        wide: document.documentElement.scrollWidth - document.documentElement.clientWidth,
        storage: localStorage.length + sessionStorage.length,
    };
}"""
WIDE = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
IN_THE_DARK = {"type": "rule", "values": ["color-contrast", "target-size"]}
"""What the colours and the width can change."""


class Look:
    """All that is looked for on one page after the other, and what was wrong with them."""

    def __init__(self, eye: Eye, walker: Walker, rules: dict | None) -> None:
        self.eye, self.walker, self.rules = eye, walker, rules
        self.wrong: dict[str, list[str]] = {}

    @classmethod
    async def through(cls, eye: Eye, rules: dict | None = None) -> Look:
        await eye.page.add_init_script(AXE)
        return cls(eye, await Walker.on(eye.page), rules)

    async def at(self, path: str) -> None:
        found = await self._seen(path) + await self.walker.walk()
        if self.rules is None:
            found += await self._zoomed()
        if found:
            self.wrong[path] = found

    async def _seen(self, path: str) -> list[str]:
        await self.eye.open(path)
        seen = await self.eye.page.evaluate(LOOK, self.rules)
        wrong = [str(one) for one in seen["violations"]] + self.eye.heard
        if seen["hacked"]:
            wrong.append("a text became a script")
        if seen["wide"] > 0:
            wrong.append(f"{seen['wide']} px too wide")
        if seen["storage"]:
            wrong.append("something lies in the browser's storage")
        return wrong

    async def _zoomed(self) -> list[str]:
        """At 200 % a window of 1280 pixels is one of 640."""
        await self.walker.resize(640, 450)
        wide = await self.eye.page.evaluate(WIDE)
        await self.walker.resize(1280, 900)
        return [f"{wide} px too wide at 200 %"] if wide > 0 else []

    async def told(self) -> str:
        await self.eye.context.close()
        return "\n".join(f"{path}\n    " + "\n    ".join(found) for path, found in self.wrong.items())


@pytest.mark.parametrize("who", ["buyer", "staff"])
async def test_in_the_light_on_a_desk(browser, sights: Sights, who: str) -> None:
    look = await Look.through(await open_eye(browser, sights, who))
    for path in getattr(sights, who):
        await look.at(path)
    assert await look.told() == ""


@pytest.mark.parametrize("who", ["buyer", "staff"])
async def test_in_the_dark_on_a_phone(browser, sights: Sights, who: str) -> None:
    eye = await open_eye(browser, sights, who, language="zh-CN", colours="dark", width=390)
    look = await Look.through(eye, IN_THE_DARK)
    for path in getattr(sights, who):
        await look.at(path)
    assert await look.told() == ""


@pytest.mark.parametrize(("colours", "width", "rules"), [("light", 1280, None), ("dark", 390, IN_THE_DARK)])
async def test_the_storefront_in_the_theme_plain(browser, sights: Sights, colours, width, rules) -> None:
    await db.execute("UPDATE shops_shop SET theme = 'plain', look_id = NULL")
    looks.forget()
    shops.forget()
    look = await Look.through(await open_eye(browser, sights, "buyer", colours=colours, width=width), rules)
    plain = 0
    for path in sights.buyer:
        await look.at(path)
        plain += await look.eye.page.locator('link[href*="/static/plain-"]').count()
    assert await look.told() == ""
    assert plain >= len(sights.buyer) - 2  # some answer with no page of the theme


FAULTS = """<main id="main"><style>
  .bare:focus { outline: none } body { margin: 0 }
  .bar { position: fixed; inset: auto 0 0; height: 60px; background: teal }
</style>
<a href="#1">good</a> <a href="#2" class="bare">no mark</a> <a href="#3" tabindex="2">too early</a>
<span onclick="1" tabindex="-1">no stop</span> <button id="trap">trap</button> <a href="#4">after the trap</a>
<p style="height: 2000px"></p> <a href="#5">covered</a> <span class="bar"></span></main>"""
TRAP = "() => { trap.onkeydown = (event) => { if (event.key === 'Tab') event.preventDefault() } }"


PALE = """<!doctype html><html lang="en"><title>Pale</title><main><h1>Pale</h1>
<p style="background: #fff"><b style="color: rgb(119, 119, 119)">pale</b> <b style="color: #767676">readable</b></p>
<p style="background: #000"><b style="color: rgb(119, 119, 119)">readable</b> <i style="color: #5c5c5c">too dark</i></p>
<div style="display: flex"><button style="width: 9px; padding: 0">a</button><button>b</button></div></main>"""


async def test_what_nobody_can_read_or_hit_is_found(browser) -> None:
    page = await browser.new_page()
    await page.add_init_script(AXE)
    await page.route("http://pale.test/", lambda route: route.fulfill(body=PALE, content_type="text/html"))
    await page.goto("http://pale.test/")
    found = {rule: nodes for rule, nodes, *_ in (await page.evaluate(LOOK, IN_THE_DARK))["violations"]}
    assert found == {"color-contrast": 2, "target-size": 2}
    assert [rule for rule, *_ in (await page.evaluate(LOOK))["violations"]] == ["color-contrast"]
    await page.close()


@pytest.mark.parametrize(
    ("trap", "wrong"),
    [
        ("", ["no mark of the focus", "hidden behind something", "out of order"]),
        (TRAP, ["no mark of the focus", "out of order", "not reached", "not reached", "not reached"]),
    ],
    ids=["as it is", "with a trap"],
)
async def test_the_walk_by_keyboard_finds_faults(browser, trap: str, wrong: list[str]) -> None:
    page = await browser.new_page()
    await page.set_content(FAULTS)
    await page.evaluate(trap or "0")
    found = await (await Walker.on(page)).walk()
    assert [one.partition(":")[0] for one in found] == wrong
    await page.close()
