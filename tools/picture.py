"""The picture in README.md, put together from screenshots the tests left in build/screenshots."""

from pathlib import Path

from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
SHOTS = (
    ("phone-02-product", 390),
    ("phone-04-unpaid", 390),
    ("phone-07-revealed", 390),
    ("admin-02-dashboard", 1125),
)
HEIGHT, GAP, GROUND = 844, 20, (233, 236, 240)


def main() -> None:
    width = sum(shot_width + GAP for _, shot_width in SHOTS) + GAP
    picture = Image.new("RGB", (width, HEIGHT + 2 * GAP), GROUND)
    left = GAP
    for name, shot_width in SHOTS:
        shot = Image.open(ROOT / "build" / "screenshots" / f"{name}.png").convert("RGB")
        shot = shot.resize((shot_width, shot.height * shot_width // shot.width))
        picture.paste(shot.crop((0, 0, shot_width, min(HEIGHT, shot.height))), (left, GAP))
        left += shot_width + GAP
    picture.resize((width // 2, (HEIGHT + 2 * GAP) // 2)).save(ROOT / "docs" / "shop.webp", quality=80)


if __name__ == "__main__":
    main()
