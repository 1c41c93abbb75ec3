import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.vault.code_text import (
    DOTS,
    MAX_CODE,
    Problem,
    clean,
    is_said,
    mask,
    mask_line,
    masks,
    normalise,
    outline,
    problem,
)

ANY_TEXT = st.text(st.characters(), max_size=60)
# The signs that make normalising hard: blanks, marks, wide forms, invisible ones.
HARD_TEXT = st.text(
    st.sampled_from("ab-\u0301\u0308\u200b\u200d\ufeff\u3000\xa0\u00b4Å\u212bＡ１①㍿\ufb01\u00ad\u1100\u1161 \t"),
    max_size=12,
)


@given(ANY_TEXT | HARD_TEXT)
def test_normalising_twice_changes_nothing(text: str) -> None:
    once = normalise(text)
    assert normalise(once) == once


@given(ANY_TEXT | HARD_TEXT)
def test_cleaning_twice_changes_nothing(text: str) -> None:
    assert clean(clean(text)) == clean(text)
    assert normalise(clean(text)) == normalise(text)


@given(ANY_TEXT)
def test_what_passes_has_no_control_signs(text: str) -> None:
    code = clean(text)
    if problem(code) is None:
        assert code
        assert not any(unicodedata.category(sign) in ("Cc", "Cs", "Zl", "Zp") for sign in code)


@given(st.text(st.characters(exclude_characters="|,;: \t\r\n\x0b\x0c\x1c\x1d\x1e\x1f\x85"), min_size=1, max_size=80))
def test_a_mask_shows_at_most_four_signs_and_a_quarter(code: str) -> None:
    shown = mask(code).removeprefix(DOTS)
    assert len(shown) <= 4
    assert len(shown) * 4 <= len(code)


@pytest.mark.parametrize(
    ("code", "masked"),
    [
        ("ABCD-EFGH-1234-WXYZ", "••••WXYZ"),
        ("ABCDEFGH", "••••GH"),
        ("ABC", "••••"),
        ("someone@example.com----hunter2", "••••.com"),
        ("someone@example.com|hunter2|JBSWY3DP", "••••.com"),
        ("1234567890123456 pin 99", "••••3456"),
        ("----secret", "••••"),
        ("", "••••"),
    ],
)
def test_masks(code: str, masked: str) -> None:
    assert mask(code) == masked


@pytest.mark.parametrize(
    ("code", "wrong"),
    [
        ("", Problem.EMPTY),
        ("x" * MAX_CODE, None),
        ("x" * (MAX_CODE + 1), Problem.TOO_LONG),
        ("a\x00b", Problem.CONTROL_SIGNS),
        ("a\tb", Problem.CONTROL_SIGNS),
        ("a\x7fb", Problem.CONTROL_SIGNS),
        ("卡\x85密", Problem.CONTROL_SIGNS),
        ("a\u2028b", Problem.CONTROL_SIGNS),
        ("a\ud800b", Problem.CONTROL_SIGNS),
        ("a\ufffdb", Problem.UNREADABLE),
        ("1.23457E+15", Problem.LOST_DIGITS),
        ("1,5e+9", Problem.LOST_DIGITS),
        ("1E15", None),
        ("A+B", None),
        ("卡密 123", None),
        ("👨‍👩‍👧", None),
        ("<script>alert(1)</script>", None),
        ("'; DROP TABLE vault_code; --", None),
        ("=1+1", None),
    ],
)
def test_problems(code: str, wrong: Problem | None) -> None:
    assert problem(code) == wrong


@given(st.lists(ANY_TEXT | st.text(st.sampled_from("AB12-|: "), max_size=30)))
def test_masks_of_many_are_the_masks_of_each(codes: list[str]) -> None:
    assert masks(codes) == [mask(code) for code in codes]


def test_an_outline_keeps_the_shape_and_hides_the_rest() -> None:
    assert outline("ABCD-EFGH-1234-WXYZ") == "ABCD-••••-••••-••••"
    assert outline("secret") == "s•••••"
    assert len(outline("x" * 5000)) == 80


def test_a_refused_line_is_masked_and_printable() -> None:
    assert mask_line("\x00" * 40).isprintable()
    assert "CANARY" not in mask_line("CANARY-CODE-1234")


@pytest.mark.parametrize(
    "text",
    [
        "库存不足，请联系QQ 12345678",
        "非常抱歉，订单 20260101123 无法发货",
        "请联系在线客服处理",
        "系统繁忙，请稍后再试",
        "Sorry, this item is temporarily unavailable. Order 123456.",
        "Please contact support.",
        "Your order is being delivered",
        "We will send it soon.",
        "<html><body>502 Bad Gateway</body></html>",
        "<script>alert(1)</script>",
    ],
)
def test_what_is_said_in_place_of_a_code(text: str):
    assert is_said(text)


@pytest.mark.parametrize(
    "text",
    [
        "ABCDE-FGHIJ-KLMNO",
        "CARD-1----PIN-1",
        "账号：zhang3 密码：a1b2c3d4",
        "卡号 8888123412341234 密码 123456，如提示系统繁忙请稍后再试",
        "AB12CD34 (try again later if it is not accepted)",
        "恭喜发财",
        "user@example.com correct horse battery",
        "https://example.com/redeem?code=AB12",
        "<AB12-CD34>",
        "账号:user88<br>密码:Pa55word",
    ],
)
def test_a_code_is_no_speech(text: str):
    assert not is_said(text)
