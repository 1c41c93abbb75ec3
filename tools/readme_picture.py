"""The picture in the README, made of the phone pages that the browser tests leave in build/screenshots.

python tools/readme_picture.py     writes docs/images/first-sale.webp
"""

from __future__ import annotations

import sys
from pathlib import Path

from PIL import Image, ImageDraw, ImageFilter

ROOT = Path(__file__).resolve().parent.parent
SCREENSHOTS = ROOT / "build" / "screenshots"
PICTURE = ROOT / "docs" / "images" / "first-sale.webp"
PAGES = ("phone-01-home", "phone-03-counter", "phone-04-unpaid", "phone-07-revealed")

PHONE = (390, 844)
GAP = 40
CORNER = 28
GROUND = (232, 237, 235)
SHADOW = (30, 50, 45)


def phone(path: Path) -> Image.Image:
    """What a visitor sees first: the top of the page, as high as the screen."""
    with Image.open(path) as shot:
        height = round(shot.width * PHONE[1] / PHONE[0])
        screen = Image.new("RGB", (shot.width, height), shot.convert("RGB").getpixel((2, shot.height - 2)))
        screen.paste(shot.convert("RGB").crop((0, 0, shot.width, min(height, shot.height))))
    return screen.resize(PHONE, Image.Resampling.LANCZOS)


def composed(phones: list[Image.Image]) -> Image.Image:
    width = len(phones) * (PHONE[0] + GAP) + GAP
    ground = Image.new("RGB", (width, PHONE[1] + 2 * GAP), GROUND)
    edge = Image.new("L", PHONE)
    ImageDraw.Draw(edge).rounded_rectangle((0, 0, PHONE[0] - 1, PHONE[1] - 1), CORNER, fill=255)
    shade = Image.new("L", ground.size)
    places = [(GAP + number * (PHONE[0] + GAP), GAP) for number in range(len(phones))]
    for x, y in places:
        shade.paste(90, (x, y + 8), edge)
    ground.paste(SHADOW, (0, 0), shade.filter(ImageFilter.GaussianBlur(14)))
    for place, screen in zip(places, phones, strict=True):
        ground.paste(screen, place, edge)
    return ground


def main() -> int:
    missing = [name for name in PAGES if not (SCREENSHOTS / f"{name}.png").is_file()]
    if missing:
        print(f"{', '.join(missing)} not in {SCREENSHOTS}: run pytest tests/journeys first", file=sys.stderr)
        return 1
    PICTURE.parent.mkdir(parents=True, exist_ok=True)
    composed([phone(SCREENSHOTS / f"{name}.png") for name in PAGES]).save(PICTURE, quality=82, method=6)
    print(f"{PICTURE} has {PICTURE.stat().st_size // 1024} KB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
