"""What is put into a text comes out of it as it was, and a text cannot use up the server."""

import time
from html import unescape

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.messages import markup, texts
from core.messages.events import EVENTS
from core.web.i18n import LOCALES
from core.web.merchant_text import BadTemplate

printable = st.text(st.characters(exclude_categories=("C", "Z"), include_characters=" "), min_size=1).map(
    lambda text: " ".join(text.split())
)


@given(printable.filter(bool))
def test_any_code_comes_out_as_it_was(code):
    made = markup.body("Your code:\n\n> {{ code }}\n\nBye", {"code": code})
    assert made.text == f"Your code:\n\n    {code}\n\nBye\n"
    quoted = made.html.partition("<blockquote>\n<p>")[2].partition("</p>\n</blockquote>")[0]
    assert unescape(quoted) == code
    assert "<" not in quoted


@given(printable.filter(bool))
def test_any_product_name_stays_text(name):
    made = markup.body("# {{ name }}\n\n- {{ name }} × 2\n", {"name": name})
    assert made.text == f"{name}\n\n- {name} × 2\n"
    assert "<a " not in made.html and "<em>" not in made.html and "<img" not in made.html


def test_the_two_forms_of_a_body():
    source = (
        "# Title\n\nA **bold** [word](https://a.example/?x=1&y=2).\n\n[Go](https://b.example)\n\n"
        "- one\n- two\n\n---\nend"
    )
    made = markup.body(source, {})
    assert made.text == (
        "Title\n\nA bold word: https://a.example/?x=1&y=2.\n\nGo: https://b.example\n\n- one\n- two\n\n-- \n\nend\n"
    )
    assert made.html.startswith("<h1>Title</h1>\n<p>A <strong>bold</strong>")
    assert "style=" not in made.html
    assert made.mail_html.count("display:inline-block") == 1  # only the link that stands alone is a button


def test_a_note_of_the_merchant_keeps_its_form_and_to_itself():
    note = markup.Markdown("Open the **app**:\n\n1. *Go* <b>\n2. ~~no~~\n\n```\nabc *d*\n e")
    made = markup.body(
        "A\n\n{% for n in notes %}{% if n %}\n{{ n }}\n\n---\n\n{% endif %}{% endfor %}*end*",
        {"notes": [note, markup.Markdown("")]},
    )
    assert made.text == "A\n\nOpen the app:\n\n1. Go <b>\n2. no\n\n    abc *d*\n     e\n\n-- \n\nend\n"
    assert made.html == (
        "<p>A</p>\n<p>Open the <strong>app</strong>:</p>\n<ol>\n"
        "<li><em>Go</em> &lt;b&gt;</li>\n<li><s>no</s></li>\n</ol>\n"
        "<pre><code>abc *d*\n e\n</code></pre>\n<hr />\n<p><em>end</em></p>\n"
    )


def test_a_subject_is_one_line():
    assert markup.line("Hello {{ name }}", {"name": " a\r\nBcc: b "}) == "Hello a Bcc: b"


@pytest.mark.parametrize(
    "source",
    [
        "{% for a in many %}{% for b in many %}{% for c in many %}x{% endfor %}{% endfor %}{% endfor %}",
        "{% for a in many %}" + "x" * 9000 + "{% endfor %}",
        "{{ 'x' * 100000000 }}",
        "{{ '%}' * 10 }}",
        "{{ '}}' * 10 }}",
        '{{ "x\\"" * 10 ~ "y" }}',
        '{# {{ " #}{{ "x" * 10 }}',
        "{{ {'a': {}} ~ 'x' * 10 }}",
        "{{ many.__class__ ~ '}}' ~ many.index(1) }}",
        "{{ nothing",
        "{{ many.__class__ }}",
        "{{ ''.__class__.__mro__ }}",
        "{{ debug() }}",
        "{{ range(1000000000) }}",
        "{{ 'a'|replace('a', 'aaaa') }}",
        "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
        "{% import 'x' as x %}",
        "{%- set a = 1 %}",
        "{% raw %}{% endraw %}",
        "{{ nothing }}",
        "{% if %}",
    ],
)
def test_a_text_that_cannot_be(source):
    with pytest.raises(BadTemplate):
        markup.body(source, {"many": [1] * 1000})


@pytest.mark.parametrize("source", ["{{ " + "a" * 50_000 + " }}", "{{ a" + " " * 50_000 + "b }}", "{{ (" * 12_000])
def test_a_long_text_is_looked_over_in_no_time(source: str):
    began = time.process_time()
    with pytest.raises(BadTemplate):
        markup.body(source, {"a": 1})
    assert time.process_time() - began < 1


def test_nothing_is_called_but_filters():
    assert markup.line("{{ name | trim | default ('x') }}{{ name|upper() }}", {"name": "n"}) == "nN"
    for source in ("{{ many.index (1) }}", "{{ (many).index(1) }}", "{{ name.upper(\n) }}", "{{ 1|upper|x.upper() }}"):
        with pytest.raises(BadTemplate):
            markup.line(source, {"name": "n", "many": [1]})


def test_braces_within_quotes_and_comments_are_text():
    source = (
        "{# {{ nothing * 2 }} ' #}{{ name }} {{ '}} * %}' }} {{ 'it\\'s' }}{%- if name == '%}' %}{% endif %} {x} %} }}"
    )
    assert markup.line(source, {"name": "N"}) == "N }} * %} it's {x} %} }}"


@pytest.mark.parametrize("event", EVENTS)
@pytest.mark.parametrize("locale", LOCALES)
@pytest.mark.parametrize("codes", [0, 1000])
def test_every_default_works_with_everything_and_with_little(event, locale, codes):
    line = {"product": "P", "sku": "S", "quantity": 1, "total": "¥1", "note": "n" if codes else ""}
    context = {
        "shop": {"name": "Shop", "contact": "a@b.c" if codes else ""},
        "order": {"ref": "V1", "subtotal": "¥1", "total": "¥1", "placed": "today", "test": False},
        "link": "https://shop.example/o/V1?k=t",
        "code": "123456",
        "lines": [line],
        "codes": [{"product": "P", "sku": "S", "text": f"C-{n}"} for n in range(codes)],
        "orders": [{"ref": "V1", "product": "P", "placed": "today", "link": "https://shop.example/o/V1?k=t"}],
        "skus": [{"product": "P", "sku": "S", "code": "P-1", "free": 2}],
        "news": {"title": "T", "text": "X"},
        "gift": {"message": "M" if codes else ""},
        "refunds": [{"amount": "¥1", "way": way} for way in ("source", "balance", "hand")],
        "discounts": [{"title": "D", "amount": "-¥1", "code": "C"}] * codes,
    }
    written = texts.write(texts.default(event, locale), context)
    assert written.subject
    assert "https://shop.example/o/V1?k=t" in written.body.text
    if EVENTS[event].codes:
        assert written.body.text.count("    C-") == codes
