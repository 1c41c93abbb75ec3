"""The text of a message: a template that a merchant may write, made into mail as HTML and as plain text.

A template is Markdown with ``{{ variables }}``, ``{% if %}`` and ``{% for %}``. Values are escaped before they
meet Markdown, so that neither a code nor a product's name can become markup, and raw HTML stays text. Only what
the merchant wrote as Markdown, such as a delivery note, keeps its form.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import minijinja
from markdown_it import MarkdownIt
from markdown_it.token import Token
from markupsafe import escape

from core.web.i18n import _

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
CALL = re.compile(r"(\|?)\s*([\w.]*\w)\s*\(")
BEFORE_BRACKETS = frozenset("if elif else and or not in is".split())
QUOTED = re.compile(r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"", re.DOTALL)


class BadTemplate(ValueError):
    """The template cannot be used; the text says why, for the one who wrote it."""


@dataclass(frozen=True, slots=True)
class Markdown:
    """A value that is Markdown itself, for a paragraph of its own."""

    source: str

    def __bool__(self) -> bool:
        return bool(self.source)

    def __str__(self) -> str:
        return self.source


@dataclass(frozen=True)
class Body:
    """``html`` is made of plain tags; ``mail_html`` has the looks written on each of them, as mail programs need."""

    text: str
    html: str
    mail_html: str


def line(source: str, context: Mapping[str, Any]) -> str:
    """A one-line text, such as a subject."""
    return " ".join(_filled(source, context, str).split())


def body(source: str, context: Mapping[str, Any]) -> Body:
    tokens = _MARKDOWN.parse(_filled(source, context, _escaped))
    plain = _MARKDOWN.renderer.render(tokens, _MARKDOWN.options, {})
    return Body(_as_text(tokens), plain, _MARKDOWN.renderer.render(_styled(tokens), _MARKDOWN.options, {}))


# -- filling in -------------------------------------------------------------------------


def filled(source: str, context: Mapping[str, Any]) -> str:
    """Markdown with its variables filled in, whose values cannot become markup.

    :raises BadTemplate: with the reason, for the merchant.
    """
    return _filled(source, context, _escaped)


def _filled(source: str, context: Mapping[str, Any], finish: Any) -> str:
    """What a merchant writes must not be able to use up the server: few words, little fuel, a bounded result."""
    for word in STATEMENT.findall(source):
        if word not in STATEMENTS:
            raise BadTemplate(str(_("Only if and for can be used, not %(word)s.", word=word or "{%")))
    for inner in _expressions(source):
        bare = QUOTED.sub("''", inner)
        if "*" in bare:
            raise BadTemplate(str(_("The sign * cannot be used inside braces.")))
        # the engine would also call what Python's own lists and texts can do
        called = {name for pipe, name in CALL.findall(bare) if not pipe and not name.startswith("loop.")}
        if called - BEFORE_BRACKETS:
            raise BadTemplate(str(_("Nothing can be called inside braces; filters stand behind a bar: | upper.")))
    environment = _environment()
    environment.fuel = min(FUEL, MOST_MEMORY // max(len(source), 1))
    environment.finalizer = _counted(finish)
    try:
        result = environment.render_str(source, **context)
    except minijinja.TemplateError as error:
        raise BadTemplate(str(_("The text does not work: %(why)s", why=str(error).splitlines()[0]))) from None
    if len(result) > LONGEST_RESULT:
        raise BadTemplate(str(_("The text becomes too long.")))
    return result


def _expressions(source: str) -> Iterator[str]:
    """What stands in braces, cut as the engine itself cuts it."""
    begin = BRACES.search(source)
    while begin:
        whole = INSIDE[begin[0]].match(source, begin.start())
        if whole is None:
            raise BadTemplate(str(_("Braces are not closed, or stand within others.")))
        yield whole[1]
        begin = BRACES.search(source, whole.end())


def _counted(finish: Any) -> Any:
    """Values are counted while they are written: a loop over a long one ends before it fills the memory."""
    written = 0

    def one(value: Any) -> str:
        nonlocal written
        text: str = finish(value)
        written += len(text)
        if written > LONGEST_RESULT:
            raise minijinja.TemplateError("the text becomes too long")
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


def _escaped(value: Any) -> str:
    if isinstance(value, Markdown):
        return _closed(value.source)
    return MARKDOWN_SIGNS.sub(r"\\\1", "" if value is None else str(value)).replace("\n", "\\\n")


def _closed(text: str) -> str:
    """Without a fence left open, which would swallow the rest of the message."""
    last = _MARKDOWN.parse(f"{text}\n\nend")[-1]
    return f"{text}\n{last.markup}" if last.type == "fence" else text


# -- Markdown ---------------------------------------------------------------------------

_MARKDOWN = MarkdownIt("commonmark", {"html": False, "breaks": True})
_MARKDOWN.enable("strikethrough").disable(["image", "code", "html_block"])


def _line_break(*_: Any) -> str:
    return "<br>"


_MARKDOWN.add_render_rule("hardbreak", _line_break)
_MARKDOWN.add_render_rule("softbreak", _line_break)

INK, QUIET, LINE, ACCENT = "#1d2430", "#5b6472", "#dfe3ea", "#1a5fd0"
LOOKS = {
    "p": f"margin:0 0 16px;color:{INK}",
    "h1": f"margin:0 0 16px;font-size:22px;line-height:1.35;color:{INK}",
    "h2": f"margin:24px 0 12px;font-size:17px;line-height:1.35;color:{INK}",
    "ul": "margin:0 0 16px;padding-left:20px",
    "ol": "margin:0 0 16px;padding-left:20px",
    "li": f"margin:0 0 6px;color:{INK}",
    "a": f"color:{ACCENT}",
    "hr": f"border:0;border-top:1px solid {LINE};margin:24px 0",
    "pre": "margin:0 0 16px;white-space:pre-wrap;word-break:break-word",
    "em": f"color:{QUIET};font-style:normal",
    "blockquote": f"margin:0 0 12px;padding:12px 16px;background:#f4f6f9;border:1px solid {LINE};border-radius:8px;"
    "font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;font-size:16px;word-break:break-all",
}
IN_QUOTE = "margin:0;white-space:pre-wrap"
BUTTON = (
    f"display:inline-block;padding:12px 22px;background:{ACCENT};color:#ffffff;border-radius:8px;"
    "font-weight:600;text-decoration:none"
)


def _styled(tokens: list[Token]) -> list[Token]:
    in_quote = 0
    for place, token in enumerate(tokens):
        in_quote += {"blockquote_open": 1, "blockquote_close": -1}.get(token.type, 0)
        if token.nesting >= 0 and token.tag in LOOKS:
            token.attrSet("style", IN_QUOTE if in_quote and token.tag == "p" else LOOKS[token.tag])
        if token.children:
            _styled(token.children)
            if _is_button(token) and tokens[place - 1].type == "paragraph_open":
                token.children[0].attrSet("style", BUTTON)
    return tokens


def _is_button(token: Token) -> bool:
    """A link that is a paragraph of its own."""
    children = token.children or []
    return len(children) == 3 and children[0].type == "link_open" and children[2].type == "link_close"


# -- plain text -------------------------------------------------------------------------


def _as_text(tokens: list[Token]) -> str:
    blocks: list[str] = []
    indent, bullet = "", ""
    for token in tokens:
        match token.type:
            case "inline":
                text = _inline_text(token.children or [])
                blocks.append("\n".join(_indented(text, indent, bullet)))
                bullet = ""
            case "blockquote_open":
                indent += "    "
            case "blockquote_close":
                indent = indent[:-4]
            case "list_item_open":
                bullet = f"{token.info}{token.markup} " if token.info else "- "
            case "bullet_list_close" | "ordered_list_close":
                blocks.append("")
            case "paragraph_close" | "heading_close" if not token.hidden:
                blocks.append("")
            case "fence":
                blocks += [*_indented(token.content.rstrip("\n"), indent + "    ", ""), ""]
            case "hr":
                blocks += ["-- ", ""]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(blocks)).strip("\n") + "\n"


def _indented(text: str, indent: str, bullet: str) -> list[str]:
    first, *rest = text.split("\n")
    return [indent + bullet + first, *(indent + " " * len(bullet) + one for one in rest)]


def _inline_text(children: list[Token]) -> str:
    out: list[str] = []
    href = ""
    for token in children:
        match token.type:
            case "softbreak" | "hardbreak":
                out.append("\n")
            case "link_open":
                href = str(token.attrGet("href") or "")
                started = len(out)
            case "link_close":
                if "".join(out[started:]) != href:
                    out.append(f": {href}" if len(out) > started else href)
            case _:
                out.append(token.content)
    return "".join(out)


# -- the frame of a mail ----------------------------------------------------------------


def framed(title: str, shop: str, content: str, footer: str, locale: str) -> str:
    """A whole HTML mail around ``content``, which is HTML already; the rest is text."""
    return FRAME.format(
        title=escape(title),
        shop=escape(shop),
        content=content,
        footer=escape(footer),
        lang=escape(locale.replace("_", "-")),
        ink=INK,
        quiet=QUIET,
        line=LINE,
    )


FRAME = """<!doctype html>
<html lang="{lang}">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{title}</title></head>
<body style="margin:0;padding:0;background:#eef1f5;color:{ink}">
<table role="presentation" width="100%" cellpadding="0" cellspacing="0" style="background:#eef1f5"><tr><td align="center" style="padding:24px 12px">
<table role="presentation" width="100%" cellpadding="0" cellspacing="0" style="max-width:560px;background:#ffffff;border:1px solid {line};border-radius:12px">
<tr><td style="padding:20px 28px;border-bottom:1px solid {line};font:600 17px/1.4 -apple-system,'Segoe UI',Roboto,'PingFang SC','Microsoft YaHei',sans-serif;color:{ink}">{shop}</td></tr>
<tr><td style="padding:28px 28px 12px;font:16px/1.6 -apple-system,'Segoe UI',Roboto,'PingFang SC','Microsoft YaHei',sans-serif;color:{ink}">
{content}</td></tr>
</table>
<p style="margin:16px 0 0;font:13px/1.5 -apple-system,'Segoe UI',Roboto,'PingFang SC','Microsoft YaHei',sans-serif;color:{quiet}">{footer}</p>
</td></tr></table>
</body>
</html>
"""  # noqa: E501 - markup of a mail
