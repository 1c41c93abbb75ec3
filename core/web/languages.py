"""Texts that a merchant writes in every language the shop offers: one field of a form for each."""

from __future__ import annotations

from collections.abc import Mapping

from core.refused import Refused
from core.web.forms import CONTROL
from core.web.i18n import LOCALES, _, babel, html_lang, locale

SHORT = {"zh_CN": "zh"}
"""How the fields of a language end, where it is not its name: ``title_zh``, ``title_en``, ``title_pt_BR``."""


def offered() -> list[tuple[str, str, str]]:
    """Of each language how its fields end, its tag for pages and its name for the reader."""
    return [(SHORT.get(name, name), html_lang(name), _name(name)) for name in LOCALES]


def _name(name: str) -> str:
    ours = {"zh_CN": _("Chinese"), "en": _("English")}
    return str(ours[name]) if name in ours else babel(name).get_display_name(babel(locale())) or name


def read(typed: Mapping[str, str], field: str, longest: int = 300) -> dict[str, str]:
    """What was written, by language: ``{"zh-CN": …, "en": …}``, without those left empty. ``typed`` has the ends of the
    fields as keys.

    :raises Refused: at the field that is too long, or is none.
    """
    tags = {end: tag for end, tag, _name in offered()}
    found = {}
    for end, text in typed.items():
        if end not in tags:
            raise Refused(_("This page has no such field."), f"{field}_{end}")
        if CONTROL.intersection(text):
            raise Refused(_("This contains signs that cannot be used."), f"{field}_{end}")
        if len(text.strip()) > longest:
            raise Refused(_("At most %(number)s signs, please.", number=longest), f"{field}_{end}")
        found[tags[end]] = text.strip()
    return {tag: text for tag, text in found.items() if text}


def shown(texts: Mapping[str, str]) -> dict[str, str]:
    """The same backwards: for the fields of a form, by their ends."""
    return {end: texts.get(tag, "") for end, tag, _name in offered()}
