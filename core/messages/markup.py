"""The text of a message: a template that a merchant may write, made into mail as HTML and as plain text.

A template is Markdown with ``{{ variables }}``, ``{% if %}`` and ``{% for %}``. Values are escaped before they
meet Markdown, so that neither a code nor a product's name can become markup, and raw HTML stays text. Only what
the merchant wrote as Markdown, such as a delivery note, keeps its form.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from markdown_it import MarkdownIt
from markdown_it.token import Token
from markupsafe import escape

from core.web import merchant_text
from core.web.merchant_text import filled


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
    return " ".join(filled(source, context, str).split())


def body(source: str, context: Mapping[str, Any]) -> Body:
    tokens = _MARKDOWN.parse(filled(source, context, _escaped))
    plain = _MARKDOWN.renderer.render(tokens, _MARKDOWN.options, {})
    return Body(_as_text(tokens), plain, _MARKDOWN.renderer.render(_styled(tokens), _MARKDOWN.options, {}))


def _escaped(value: Any) -> str:
    if isinstance(value, Markdown):
        return _closed(value.source)
    return merchant_text.escaped(value)


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
                token.children[0].attrSet("class", "button")
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
        dark=DARK,
    )


# Mail programs that know neither style sheets nor the dark show the light looks of each tag.
DARK = """@media (prefers-color-scheme: dark) {
.ground { background: #15171b !important }
.sheet { background: #1f2228 !important; border-color: #363b46 !important }
.sheet *, .ground p { color: #e8eaef !important; border-color: #363b46 !important }
.sheet a { color: #93b4fb !important }
.sheet em { color: #a0a6b3 !important }
.sheet blockquote { background: #282c34 !important }
.sheet .button { color: #ffffff !important }
}"""

FRAME = """<!doctype html>
<html lang="{lang}">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><meta name="color-scheme" content="light dark"><title>{title}</title>
<style>{dark}</style></head>
<body class="ground" style="margin:0;padding:0;background:#eef1f5;color:{ink}">
<table class="ground" role="presentation" width="100%" cellpadding="0" cellspacing="0" style="background:#eef1f5"><tr><td align="center" style="padding:24px 12px">
<table class="sheet" role="presentation" width="100%" cellpadding="0" cellspacing="0" style="max-width:560px;background:#ffffff;border:1px solid {line};border-radius:12px">
<tr><td style="padding:20px 28px;border-bottom:1px solid {line};font:600 17px/1.4 -apple-system,'Segoe UI',Roboto,'PingFang SC','Microsoft YaHei',sans-serif;color:{ink}">{shop}</td></tr>
<tr><td style="padding:28px 28px 12px;font:16px/1.6 -apple-system,'Segoe UI',Roboto,'PingFang SC','Microsoft YaHei',sans-serif;color:{ink}">
{content}</td></tr>
</table>
<p style="margin:16px 0 0;font:13px/1.5 -apple-system,'Segoe UI',Roboto,'PingFang SC','Microsoft YaHei',sans-serif;color:{quiet}">{footer}</p>
</td></tr></table>
</body>
</html>
"""  # noqa: E501 - markup of a mail
