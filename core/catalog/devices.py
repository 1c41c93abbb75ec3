"""On what somebody redeems what they bought."""

from __future__ import annotations

import re

from core.web.i18n import Text, _

DEVICES: dict[str, Text] = {
    "ios": _("iPhone, iPad"),
    "android": _("Android"),
    "pc": _("Computer"),
    "tv": _("Console, TV"),
    "any": _("Any device"),
}

# The first that fits: a television says Android too, an iPad says Macintosh only when it wants to.
_SIGNS = (
    ("tv", re.compile(r"PlayStation|Xbox|Nintendo|SMART-TV|SmartTV|AppleTV|GoogleTV|BRAVIA|Android TV|AFT[A-Z]", re.I)),
    ("ios", re.compile(r"iPhone|iPad|iPod")),
    ("android", re.compile(r"Android|HarmonyOS")),
    ("pc", re.compile(r"Windows NT|Macintosh|X11|CrOS|Linux")),
)


def device_of(agent: str) -> str:
    """What a browser's ``User-Agent`` looks like; ``any`` when it says nothing we know."""
    return next((device for device, sign in _SIGNS if sign.search(agent)), "any")
