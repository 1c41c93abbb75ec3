"""The picture that chats and feeds show beside a link to the shop: 1200 by 630, as JPEG, which all of them read."""

from __future__ import annotations

import asyncio
import io
from functools import lru_cache

from PIL import Image, ImageColor, ImageDraw, ImageFilter

from core.catalog.cover import TONES

WIDTH, HEIGHT = 1200, 630
INSIDE = (1000, 530)
QUALITY = 84


async def of_picture(body: bytes) -> bytes:
    return await asyncio.to_thread(_of_picture, body)


async def of_tone(tone: int) -> bytes:
    return await asyncio.to_thread(_of_tone, tone)


@lru_cache(maxsize=64)
def _of_picture(body: bytes) -> bytes:
    """The whole picture on a blurred and darker one that fills the rest."""
    picture = Image.open(io.BytesIO(body)).convert("RGB")
    ground = picture.resize((WIDTH // 8, HEIGHT // 8))
    ground = ground.filter(ImageFilter.GaussianBlur(6)).point(lambda light: light * 3 // 5).resize((WIDTH, HEIGHT))
    fit = min(INSIDE[0] / picture.width, INSIDE[1] / picture.height)
    size = (max(1, round(picture.width * fit)), max(1, round(picture.height * fit)))
    picture = picture.resize(size, Image.Resampling.LANCZOS)
    ground.paste(picture, ((WIDTH - picture.width) // 2, (HEIGHT - picture.height) // 2))
    return _jpeg(ground)


@lru_cache(maxsize=len(TONES))
def _of_tone(tone: int) -> bytes:
    start, end = (ImageColor.getrgb(colour) for colour in TONES[tone])
    slope = Image.linear_gradient("L").rotate(90).resize((WIDTH, HEIGHT))
    ground = Image.composite(Image.new("RGB", slope.size, end), Image.new("RGB", slope.size, start), slope)
    veil = Image.new("L", slope.size, 0)
    draw = ImageDraw.Draw(veil)
    for x, y, radius, light in ((980, 120, 300, 26), (180, 560, 240, 20), (600, 315, 150, 34)):
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=light)
    return _jpeg(Image.composite(Image.new("RGB", slope.size, "white"), ground, veil))


def _jpeg(picture: Image.Image) -> bytes:
    body = io.BytesIO()
    picture.save(body, "JPEG", quality=QUALITY, optimize=True)
    return body.getvalue()
