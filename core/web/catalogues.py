"""The catalogues of texts: what code and templates say, collected, and what still lacks a translation."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from babel.messages.catalog import Catalog, Message
from babel.messages.extract import DEFAULT_KEYWORDS, extract
from babel.messages.pofile import read_po, write_po
from jinja2.ext import babel_extract

from core.terminal import _

LOCALES = ("zh_CN", "en")
KEYWORDS = {**DEFAULT_KEYWORDS, "ngettext_now": (1, 2), "pgettext_now": ((1, "c"), 2)}
JINJA = {"silent": "false", "extensions": "jinja2.ext.do", "trim_blocks": "true", "lstrip_blocks": "true"}
PLACE = re.compile(r"%\((\w+)\)[sd]")


@dataclass(frozen=True)
class Domain:
    """One catalogue and the folders whose texts stand in it."""

    locales: Path
    sources: tuple[Path, ...]
    comment: str

    def po(self, locale: str) -> Path:
        return self.locales / locale / "LC_MESSAGES" / "messages.po"


def collected(domain: Domain, root: Path) -> Catalog:
    found = Catalog(project=domain.comment)
    for path in files(domain):
        method = "python" if path.suffix == ".py" else babel_extract
        with path.open("rb") as file:
            texts = extract(method, file, KEYWORDS, options={} if method == "python" else JINJA)
            for _line, message, _comments, context in texts:
                found.add(message, locations=[(path.relative_to(root).as_posix(), None)], context=context)
    return found


def files(domain: Domain) -> Iterator[Path]:
    for source in domain.sources:
        if source.is_file():
            yield source
        for path in sorted(source.rglob("*")):
            parts = path.relative_to(source).parts
            if path.suffix in (".py", ".html", ".txt") and "tests" not in parts and "locales" not in parts:
                if path.suffix == ".py" or "templates" in parts:
                    yield path


def read(domain: Domain, locale: str) -> Catalog:
    path = domain.po(locale)
    return load(path, locale) if path.is_file() else Catalog(locale=locale, project=domain.comment)


def load(path: Path, locale: str) -> Catalog:
    with path.open("rb") as file:
        return read_po(file, locale=locale)


def merged(domain: Domain, locale: str, found: Catalog) -> Catalog:
    known = read(domain, locale)
    catalogue = Catalog(
        locale=locale, project=domain.comment, fuzzy=False, header_comment=f"# The words of {domain.comment}."
    )
    for message in found:
        if not message.id:
            continue
        old = known.get(message.id, message.context)
        text = message.id if locale == "en" else (old.string if old else "")
        if message.pluralizable and not isinstance(text, list | tuple):
            text = ("",) * catalogue.num_plurals
        if message.pluralizable:
            text = tuple(text)[: catalogue.num_plurals]
        catalogue.add(message.id, text, locations=message.locations, context=message.context)
    return catalogue


def write(domain: Domain, locale: str, catalogue: Catalog) -> None:
    path = domain.po(locale)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        write_po(file, catalogue, width=0, sort_output=True, omit_header=False)
    lines = [line for line in path.read_text("utf-8").splitlines() if not line.startswith(UNSTEADY)]
    path.write_text("\n".join(lines).strip() + "\n", "utf-8")


UNSTEADY = (
    '"Project-Id-Version',
    '"Language-Team',
    '"POT-Creation-Date',
    '"PO-Revision-Date',
    '"Generated-By',
    '"Last-Translator',
    '"Report-Msgid-Bugs-To',
)


def trouble(domain: Domain, root: Path) -> list[str]:
    """Everything that is wrong with a domain's catalogues, one line each."""
    found = collected(domain, root)
    wanted = {key(message): message for message in found if message.id}
    lines = []
    for locale in LOCALES:
        there = {key(message): message for message in read(domain, locale) if message.id}
        where = domain.po(locale).relative_to(root)
        lines += [
            _("%(file)s: missing: %(text)s", file=where, text=text) for text in sorted(wanted.keys() - there.keys())
        ]
        lines += [
            _("%(file)s: no longer used: %(text)s", file=where, text=text)
            for text in sorted(there.keys() - wanted.keys())
        ]
        lines += [f"{where}: {say}" for text in sorted(wanted.keys() & there.keys()) if (say := flaw(there[text]))]
    return lines


def key(message: Message) -> str:
    text = message.id if isinstance(message.id, str) else message.id[0]
    return f"{message.context}: {text}" if message.context else text


def flaw(message: Message) -> str:
    ids = [message.id] if isinstance(message.id, str) else list(message.id)
    strings = [message.string] if isinstance(message.string, str) else list(message.string)
    if not all(strings):
        return _("not translated: %(text)s", text=ids[0])
    places = {name for text in ids for name in PLACE.findall(text)}
    for text in strings:
        if not set(PLACE.findall(text)) <= places or set(PLACE.findall(ids[-1])) - set(PLACE.findall(text)) - {"num"}:
            return _("other placeholders than the original: %(text)s", text=ids[0])
    return ""


def update(domain: Domain, root: Path) -> None:
    """Bring new texts into the catalogues of a domain and take unused ones out; what is translated stays."""
    if trouble(domain, root):
        found = collected(domain, root)
        for locale in LOCALES:
            write(domain, locale, merged(domain, locale, found))
