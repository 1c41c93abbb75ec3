"""What merchants write themselves: Markdown with ``{{ variables }}``, ``{% if %}`` and ``{% for %}``, filled in.

Values are escaped before they meet Markdown, so that neither a code nor a product's name can become markup. A text
must not be able to use up the server: few words, little fuel, a bounded result.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import minijinja

from core.web.i18n import Text, _

FUEL = 50_000
LONGEST_RESULT = 200_000
MOST_MEMORY = 50_000_000
"""Signs that all rounds of a loop together could write before the length of the result is looked at."""
FILTERS = frozenset("upper lower title capitalize trim default d first last length count".split())
STATEMENTS = frozenset({"if", "elif", "else", "endif", "for", "endfor"})
MARKDOWN_SIGNS = re.compile(r"([!-/:-@\[-`{-~])")
STATEMENT = re.compile(r"\{%[-+]?\s*(\w*)")
BRACES = re.compile(r"\{[{%#]")
WITH_WORDS = r"((?:[^'\"{{]|'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\")*?)"
INSIDE = {
    "{{": re.compile(rf"\{{\{{{WITH_WORDS}\}}\}}", re.DOTALL),
    "{%": re.compile(rf"\{{%{WITH_WORDS}%\}}", re.DOTALL),
    "{#": re.compile(r"\{#()[^#]*(?:#(?!\})[^#]*)*#\}"),
}
"""Braces end where the engine sees their end: not within a quoted text, and no braces stand within braces."""
NAME_BACKWARDS = re.compile(r"\w[\w.]*")
BEFORE_BRACKETS = frozenset("if elif else and or not in is".split())
QUOTED = re.compile(r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"", re.DOTALL)
NAMED = re.compile(r"`([^`]*)`|filter (\S+)")


class BadTemplate(ValueError):
    """The text cannot be used; the words say why and in which line, for the one who wrote it."""

    def __init__(self, why: Text, line: int | None = None) -> None:
        super().__init__(str(_("Line %(line)s: %(why)s", line=line, why=why) if line else why))


def has_braces(source: str) -> bool:
    """Whether there may be something to fill in: any other text stays as it is."""
    return BRACES.search(source) is not None


def escaped(value: Any) -> str:
    """A value whose signs mean nothing to Markdown."""
    return MARKDOWN_SIGNS.sub(r"\\\1", "" if value is None else str(value)).replace("\n", "\\\n")


def filled(source: str, context: Mapping[str, Any], finish: Callable[[Any], str] = escaped) -> str:
    """Markdown with its variables filled in, whose values cannot become markup.

    :raises BadTemplate: with the reason, for the merchant.
    """
    _check(source)
    environment = _environment()
    environment.fuel = min(FUEL, MOST_MEMORY // max(len(source), 1))
    environment.finalizer = _counted(finish)
    try:
        result = environment.render_str(source, **context)
    except minijinja.TemplateError as error:
        raise BadTemplate(_why(error), error.line) from None
    if len(result) > LONGEST_RESULT:
        raise BadTemplate(TOO_LONG)
    return result


TOO_LONG = _("The text becomes too long.")


def _check(source: str) -> None:
    for found in STATEMENT.finditer(source):
        if found[1] not in STATEMENTS:
            word = found[1] or "{%"
            raise BadTemplate(_("Only if and for can be used, not %(word)s.", word=word), _line(source, found.start()))
    for place, inner in _expressions(source):
        bare = QUOTED.sub("''", inner)
        if "*" in bare:
            raise BadTemplate(_("The sign * cannot be used inside braces."), _line(source, place))
        # the engine would also call what Python's own lists and texts can do
        if any(not name.startswith("loop.") for name in set(_called(bare)) - BEFORE_BRACKETS):
            why = _("Nothing can be called inside braces; filters stand behind a bar: | upper.")
            raise BadTemplate(why, _line(source, place))


def _called(bare: str) -> Iterator[str]:
    """The names before brackets, but filters; read from the bracket back, so that each sign is looked at once."""
    for before in bare.split("(")[:-1]:
        before = before.rstrip()
        found = NAME_BACKWARDS.match(before[::-1])
        if found and not before[: -len(found[0])].rstrip().endswith("|"):
            yield found[0][::-1]


def _line(source: str, place: int) -> int:
    return source.count("\n", 0, place) + 1


def _expressions(source: str) -> Iterator[tuple[int, str]]:
    """Where braces begin and what stands in them, cut as the engine itself cuts it."""
    begin = BRACES.search(source)
    while begin:
        whole = INSIDE[begin[0]].match(source, begin.start())
        if whole is None:
            raise BadTemplate(_("Braces are not closed, or stand within others."), _line(source, begin.start()))
        yield begin.start(), whole[1]
        begin = BRACES.search(source, whole.end())


def _why(error: minijinja.TemplateError) -> Text:
    """In words for people, as far as the engine's own are known."""
    detail = str(error.detail or error).splitlines()[0]
    named = NAMED.search(detail)
    name = (named[1] or named[2]) if named else ""
    match error.kind:
        case "UndefinedError" if name:
            return _("There is nothing called %(name)s.", name=name)
        case "UnknownFilter" if name:
            return _("There is no filter called %(name)s.", name=name)
        case "OutOfFuel":
            return _("This is too much work: loops within loops, or over too much.")
        case _:
            return TOO_LONG if detail == LONG else _("The text does not work: %(why)s", why=detail)


LONG = "the text becomes too long"


def _counted(finish: Callable[[Any], str]) -> Callable[[Any], str]:
    """Values are counted while they are written: a loop over a long one ends before it fills the memory."""
    written = 0

    def one(value: Any) -> str:
        nonlocal written
        text = finish(value)
        written += len(text)
        if written > LONGEST_RESULT:
            raise minijinja.TemplateError(LONG)
        return text

    return one


def _environment() -> minijinja.Environment:
    environment = minijinja.Environment(
        pycompat=False,
        undefined_behavior="strict",
        auto_escape_callback=lambda _: False,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    for name in _ALL_FILTERS - FILTERS:
        environment.remove_filter(name)
    for name in ("range", "dict", "namespace", "debug", "cycler", "joiner"):
        environment.remove_global(name)
    return environment


_ALL_FILTERS = frozenset(
    "abs attr batch bool capitalize chain count d default dictsort e escape filesizeformat first float format groupby"
    " indent int items join last length lines list lower map max min pluralize pprint reject rejectattr replace"
    " reverse round safe select selectattr slice sort split string striptags sum title tojson trim truncate unique"
    " upper urlencode wordwrap zip".split()
)
