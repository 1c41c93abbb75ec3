"""The questions a product asks its buyer (game account, server, note), and the check of the answers."""

from __future__ import annotations

import re
from typing import Literal

import msgspec

from core.refused import Refused
from core.vault.code_text import storable
from core.web.i18n import _


class BuyerField(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One question. ``label`` and ``help`` are by locale; ``pattern`` must match the whole answer."""

    key: str
    label: dict[str, str]
    kind: Literal["text", "email", "phone", "number", "select"] = "text"
    required: bool = True
    help: dict[str, str] = {}
    pattern: str = ""
    options: list[str] = []
    option_titles: dict[str, dict[str, str]] = {}
    """What an option is called, by locale, where its value is no word for people."""
    max_length: int = 120


KINDS = {
    "email": re.compile(r"[^@\s]{1,64}@[^@\s]{1,189}\.[^@\s]{2,}"),
    "phone": re.compile(r"\+?[0-9 -]{5,20}"),
    "number": re.compile(r"-?[0-9]{1,18}"),
}


def read_fields(raw: object) -> list[BuyerField]:
    return msgspec.convert(raw, list[BuyerField])


def check_answers(
    fields: list[BuyerField], answers: dict[str, str], locale: str, prefix: str = "field_"
) -> dict[str, str]:
    """The answers as they are kept. Unknown keys, missing and ill-formed answers are refused at their field, whose
    name is the key after ``prefix``."""
    unknown = answers.keys() - {field.key for field in fields}
    if unknown:
        raise Refused(_("This form has changed. Reload the page and try again."))
    return {field.key: _checked(field, answers.get(field.key, "").strip(), locale, prefix) for field in fields}


def _checked(field: BuyerField, answer: str, locale: str, prefix: str) -> str:
    label = field.label.get(locale.replace("_", "-")) or next(iter(field.label.values()), field.key)
    name = f"{prefix}{field.key}"
    if not answer:
        if field.required:
            raise Refused(_("%(label)s is needed.", label=label), name)
        return ""
    if len(answer) > field.max_length:
        raise Refused(_("%(label)s is too long.", label=label), name)
    kind = KINDS.get(field.kind)
    fits = answer == storable(answer) and (kind is None or kind.fullmatch(answer))
    fits = fits and (field.kind != "select" or answer in field.options)
    if not fits or (field.pattern and not re.fullmatch(field.pattern, answer)):
        raise Refused(_("%(label)s does not look right. Please check it.", label=label), name)
    return answer
