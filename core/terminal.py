"""What the command line says, in the language of the terminal (``LC_ALL``, ``LC_MESSAGES``, ``LANG``).

The supervisor must start at once: this reads one catalogue by hand, and only when the terminal is not in English.
"""

import ast
import functools
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

LOCALES = Path(__file__).parent / "web" / "locales"


def language(environ: Mapping[str, str] = os.environ) -> str:
    """``zh_CN`` for a terminal in Chinese; empty where the text is said as it is written."""
    named = next((environ[name] for name in ("LC_ALL", "LC_MESSAGES", "LANG") if environ.get(name)), "")
    wanted = named.partition(".")[0].partition("@")[0]
    if not wanted.replace("_", "").isalpha():
        return ""
    exact = LOCALES / wanted / "LC_MESSAGES" / "messages.po"
    near = sorted(LOCALES.glob(f"{wanted.partition('_')[0]}_*"))
    return wanted if exact.is_file() else near[0].name if near else ""


def _(text: str, /, **values: Any) -> str:
    said = _words(language()).get(text) or text
    return said % values if values else said


@functools.cache
def _words(locale: str) -> dict[str, str]:
    file = LOCALES / locale / "LC_MESSAGES" / "messages.po"
    if not locale or not file.is_file():
        return {}
    found: dict[str, str] = {}
    for entry in file.read_text("utf-8").split("\n\n"):
        parts = {"msgctxt": "", "msgid": "", "msgstr": ""}
        now = ""
        for line in entry.splitlines():
            word, _blank, quoted = line.partition(" ")
            if not line.startswith(('"', "#")):
                now = word
            if now in parts and not line.startswith("#"):
                parts[now] += ast.literal_eval(quoted if line.startswith(now) else line)
        if parts["msgid"] and not parts["msgctxt"]:
            found[parts["msgid"]] = parts["msgstr"]
    return found
