"""A picture of every page in every look, by ``make pictures``; no test of the suite."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.quality.conftest import Sights, open_eye

PICTURES = os.environ.get("PICTURES", "build/pages")


@pytest.mark.parametrize("who", ["buyer", "staff"])
@pytest.mark.parametrize("language", ["zh-CN", "en"])
@pytest.mark.parametrize("colours", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
async def test_pictures(browser, sights: Sights, who: str, language: str, colours: str, width: int) -> None:
    folder = Path(PICTURES) / f"{who}-{language}-{colours}-{width}"
    folder.mkdir(parents=True, exist_ok=True)
    eye = await open_eye(browser, sights, who, language=language, colours=colours, width=width)
    for path in getattr(sights, who):
        await eye.open(path)
        name = path.strip("/").replace("/", "_").replace("?", "_") or "home"
        await eye.page.screenshot(path=folder / f"{name}.png", full_page=True, caret="initial")
    await eye.context.close()
