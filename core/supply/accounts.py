"""The account a top-up goes to: the offer's fields as questions to the buyer, and the answers back to the supplier."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from core.db import storable
from core.orders.view import ACCOUNT
from core.refused import Refused
from core.supply.supplier import AccountField
from core.web.i18n import _

KEY = re.compile(r"[A-Za-z0-9_-]{1,40}")
LONGEST_PATTERN = 200
MOST_CHOICES = 500

# A pattern comes from outside and is tried on what buyers type. One that repeats a repetition may take years, so only
# single signs and classes may be repeated or left out, and not more than a few times. There is one way to read each
# pattern, so that looking at it takes no years either: a class that begins with two ^ is not read.
ONE_SIGN = r"(?:\\[dDwWsS.+*?^$|()\[\]{}/@-]|\[\^?(?:\\.|[^\]\\^])(?:\\.|[^\]\\])*\]|[^\\()\[\]{}*+?|^$])"
PLAIN = re.compile(rf"\^?(?:{ONE_SIGN}(?:[*+?]|\{{\d{{1,3}}(?:,\d{{0,3}})?\}})?)*\$?")
CLASS_OR_ESCAPED = re.compile(r"\\.|\[(?:\\.|[^\]\\])*\]")
ENDLESS = re.compile(r"[*+]|,\d*\}")
MOST_ENDLESS = 3
MOST_OPTIONAL = 5


def is_harmless(pattern: str) -> bool:
    """Whether trying it on an answer takes no time worth speaking of."""
    if len(pattern) > LONGEST_PATTERN or not PLAIN.fullmatch(pattern):
        return False
    try:
        re.compile(pattern)
    except re.error:
        return False
    bare = CLASS_OR_ESCAPED.sub("x", pattern)
    return len(ENDLESS.findall(bare)) <= MOST_ENDLESS and bare.count("?") <= MOST_OPTIONAL


def stored(fields: Iterable[AccountField]) -> list[dict[str, Any]]:
    """As they lie in ``supply_offer.fields``."""
    return [
        {
            "key": storable(field.key),
            "title": _kept(field.title),
            "pattern": storable(field.pattern),
            "choices": {storable(value): _kept(title) for value, title in list(field.choices.items())[:MOST_CHOICES]},
        }
        for field in fields
    ]


def _kept(texts: Mapping[str, str]) -> dict[str, str]:
    return {storable(locale): storable(text) for locale, text in texts.items()}


def can_be_asked(fields: Iterable[AccountField]) -> bool:
    """Whether an order form can carry all of them; what asks for more is not sold."""
    return all(KEY.fullmatch(field.key) for field in fields)


def buyer_fields(fields: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Stored fields as questions of the order form. A pattern that could hold the shop up is left to the supplier.

    :raises Refused: a field has a key that no form can carry.
    """
    return [_question(field) for field in fields]


def _question(field: Mapping[str, Any]) -> dict[str, Any]:
    if not KEY.fullmatch(field["key"]):
        raise Refused(_("This offer asks for something under a name the order form cannot carry."), "offer")
    choices = field["choices"]
    return {
        "key": ACCOUNT + field["key"],
        "label": {locale: text[:100] for locale, text in field["title"].items()} or {"en": field["key"]},
        "kind": "select" if choices else "text",
        "pattern": field["pattern"] if is_harmless(field["pattern"]) else "",
        "options": list(choices),
        "option_titles": choices,
    }


def account_of(answers: Mapping[str, str]) -> dict[str, str]:
    """What the buyer answered to them, under the supplier's own names."""
    return {key.removeprefix(ACCOUNT): text for key, text in answers.items() if key.startswith(ACCOUNT)}
