"""Colours as ``#rrggbb``: how well one is read on another, and its neighbours."""

from __future__ import annotations

import re

HEX = re.compile(r"#[0-9a-f]{6}")
READABLE = 4.5
"""What WCAG 2.2 AA asks of text."""
LIGHT, DARK = "#ffffff", "#101010"

Rgb = tuple[int, int, int]


def rgb(colour: str) -> Rgb:
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)


def luminance(colour: str) -> float:
    red, green, blue = (_linear(part / 255) for part in rgb(colour))
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _linear(part: float) -> float:
    return part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4


def contrast(one: str, other: str) -> float:
    """From 1 (the same) to 21 (black on white)."""
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def mixed(colour: str, other: str, part: float) -> str:
    """``part`` of the other colour in this one."""
    return "#" + "".join(f"{round(a + (b - a) * part):02x}" for a, b in zip(rgb(colour), rgb(other), strict=True))


def text_on(colour: str) -> str:
    """White or nearly black, whichever is read better on the colour."""
    return max(LIGHT, DARK, key=lambda text: contrast(colour, text))


def readable(colour: str, ground: str) -> str:
    """The colour itself where it is read on the ground, else the nearest shade of it that is."""
    end = "#000000" if luminance(ground) > 0.18 else "#ffffff"
    shades = (mixed(colour, end, step / 50) for step in range(51))
    return next((shade for shade in shades if contrast(shade, ground) >= READABLE), end)
