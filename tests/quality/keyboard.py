"""A walk over a page by the Tab key alone: what is reached, in which order, how it is marked, and what hides it."""

from __future__ import annotations

import asyncio
from typing import Any

from playwright.async_api import CDPSession, Page

BEGIN = r"""known => {
    const STOPS = "a[href], button, input:not([type=hidden]), select, textarea, summary, iframe, [tabindex]";
    const SHOWS = ["outlineStyle", "outlineWidth", "outlineColor", "boxShadow", "borderTopColor", "borderBottomColor",
        "borderTopWidth", "backgroundColor", "color", "textDecorationLine", "clipPath", "opacity", "transform"];
    const still = new CSSStyleSheet();
    still.replaceSync("*, ::before, ::after { transition: none !important; scroll-behavior: auto !important }");
    document.adoptedStyleSheets = [...document.adoptedStyleSheets, still];

    const called = one => one.outerHTML.replace(/\s+/g, " ").slice(0, 160);
    const around = one => [one, one.parentElement, one.parentElement?.parentElement, one.nextElementSibling,
        ...(one.labels || [])].filter(Boolean);
    const marks = one => around(one).map(part => {
        const style = getComputedStyle(part);
        return SHOWS.map(name => style[name]).join();
    }).join("|");
    const seen = one => one.checkVisibility({ visibilityProperty: true }) && !one.closest("[inert]");
    const all = [...document.querySelectorAll(STOPS)].filter(
        one => one.tabIndex >= 0 && !one.matches(":disabled") && seen(one));
    /* one of a group of radio buttons stands for all of them */
    const group = one => one.type === "radio" ? `${one.form ? one.form.action : ""} ${one.name}` : one.id || one;
    const main = document.querySelector("#main");
    const outside = all.filter(one => !main || !main.contains(one));
    const shell = outside.map(one => one.tagName + (one.getAttribute("href") || one.name || "").split("?")[0]).join();
    const whole = !main || !known.includes(shell);
    const wanted = new Set((whole ? all : all.filter(one => main.contains(one))).map(group));

    const walk = window.walk = { wrong: [], reached: new Set(), last: null, before: null, over: false };
    const hidden = one => {
        const box = one.getBoundingClientRect();
        if (box.width < 2 || box.height < 2) return !one.labels?.length;
        const points = [[.5, .5], [.1, .5], [.9, .5], [.5, .1], [.5, .9]].map(
            ([x, y]) => [box.left + x * box.width, box.top + y * box.height]);
        return !points.some(([x, y]) => {
            const top = document.elementFromPoint(x, y);
            return top && (top.contains(one) || [one, ...(one.labels || [])].some(part => part.contains(top)));
        });
    };
    walk.note = () => {
        const now = document.activeElement;
        const { last, before } = walk;
        if (now === last) return;
        if (last && marks(last) === before) walk.wrong.push(`no mark of the focus: ${called(last)}`);
        walk.last = walk.before = null;
        if (now === document.body || now === main || walk.over) return;
        /* round again, from the top of the page */
        walk.over = !whole && now.compareDocumentPosition(main) === Node.DOCUMENT_POSITION_FOLLOWING;
        if (walk.over) return;
        walk.last = now;
        walk.before = marks(now);
        if (walk.reached.has(group(now))) return;
        if (last && !(last.compareDocumentPosition(now) & Node.DOCUMENT_POSITION_FOLLOWING))
            walk.wrong.push(`out of order: ${called(now)} after ${called(last)}`);
        walk.reached.add(group(now));
        if (!seen(now)) walk.wrong.push(`focus is on what nobody sees: ${called(now)}`);
        else if (hidden(now)) walk.wrong.push(`hidden behind something: ${called(now)}`);
    };
    walk.end = () => {
        walk.note();
        document.activeElement.blur();
        walk.note();
        const left = [...wanted].filter(one => !walk.reached.has(one));
        const first = all.filter(one => one.tabIndex > 0);
        walk.wrong.push(...first.map(one => `out of order: ${called(one)}`));
        walk.wrong.push(...left.map(one => `not reached: ${one.outerHTML ? called(one) : one}`));
        return { wrong: walk.wrong, reached: walk.reached.size };
    };
    document.addEventListener("keydown", event => { if (event.key === "Tab") walk.note(); }, true);

    const start = whole ? document.body : main;
    const tabIndex = start.getAttribute("tabindex");
    start.tabIndex = -1;
    start.focus();
    if (tabIndex === null) start.removeAttribute("tabindex");
    scrollTo(0, 0);
    /* the parts of a date are stops of their own */
    const parts = all.filter(one => /^(date|time|month)/.test(one.type)).length;
    return { presses: wanted.size + parts * 7 + 1, shell };
}"""
TAB = {"key": "Tab", "code": "Tab", "windowsVirtualKeyCode": 9}


class Walker:
    """What stands around the content is walked once: it is the same on page after page."""

    def __init__(self, page: Page, cdp: CDPSession) -> None:
        self._page = page
        self._cdp = cdp
        self._shells: list[str] = []
        self.reached = 0

    @classmethod
    async def on(cls, page: Page) -> Walker:
        return cls(page, await page.context.new_cdp_session(page))

    async def resize(self, width: int, height: int) -> None:
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        await self._cdp.send("Emulation.setDeviceMetricsOverride", metrics)

    async def walk(self) -> list[str]:
        """What is wrong with the page that is open."""
        begun: dict[str, Any] = await self._page.evaluate(BEGIN, self._shells)
        self._shells.append(begun["shell"])
        keys = (
            self._cdp.send("Input.dispatchKeyEvent", {"type": kind, **TAB})
            for _press in range(begun["presses"])
            for kind in ("rawKeyDown", "keyUp")
        )
        await asyncio.gather(*keys)
        done: dict[str, Any] = await self._page.evaluate("walk.end()")
        self.reached += done["reached"]
        wrong: list[str] = done["wrong"]
        return wrong
