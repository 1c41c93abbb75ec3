"""Every page of the shop, its console and its plugins: for everyone (WCAG 2.2 AA by axe, light and dark, phone and
desktop, both languages, 200 % zoom), with texts that try to be markup, and never a word from the content policy."""

from __future__ import annotations

import pytest

from tests.quality.conftest import AXE, Eye, Sights, open_eye

LOOK = """async rules => {
    const found = await axe.run(document, {resultTypes: ["violations"], ...(rules ? {runOnly: rules} : {})});
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


async def look(eye: Eye, path: str, rules: dict | None) -> list[str]:
    await eye.open(path)
    await eye.page.evaluate(AXE)
    seen = await eye.page.evaluate(LOOK, rules)
    wrong = [str(one) for one in seen["violations"]] + eye.heard
    if seen["hacked"]:
        wrong.append("a text became a script")
    if seen["wide"] > 0:
        wrong.append(f"{seen['wide']} px too wide")
    if seen["storage"]:
        wrong.append("something lies in the browser's storage")
    return wrong


def told(wrong: dict[str, list[str]]) -> str:
    return "\n".join(f"{path}\n    " + "\n    ".join(found) for path, found in wrong.items())


async def zoomed(eye: Eye) -> list[str]:
    """At 200 % a window of 1280 pixels is one of 640."""
    await eye.page.set_viewport_size({"width": 640, "height": 450})
    wide = await eye.page.evaluate(WIDE)
    await eye.page.set_viewport_size({"width": 1280, "height": 900})
    return [f"{wide} px too wide at 200 %"] if wide > 0 else []


@pytest.mark.parametrize("who", ["buyer", "staff"])
async def test_in_the_light_on_a_desk(browser, sights: Sights, who: str) -> None:
    eye = await open_eye(browser, sights, who)
    wrong = {}
    for path in getattr(sights, who):
        found = await look(eye, path, None) + await zoomed(eye)
        if found:
            wrong[path] = found
    await eye.context.close()
    assert not wrong, told(wrong)


@pytest.mark.parametrize("who", ["buyer", "staff"])
async def test_in_the_dark_on_a_phone(browser, sights: Sights, who: str) -> None:
    eye = await open_eye(browser, sights, who, language="zh-CN", colours="dark", width=390)
    wrong = {}
    for path in getattr(sights, who):
        found = await look(eye, path, IN_THE_DARK)
        if found:
            wrong[path] = found
    await eye.context.close()
    assert not wrong, told(wrong)
