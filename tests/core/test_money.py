import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.money import MAX_AMOUNT, Money

amounts = st.integers(-MAX_AMOUNT, MAX_AMOUNT)
currencies = st.sampled_from(["CNY", "JPY", "KWD", "USD"])


@given(amounts, currencies)
def test_what_is_written_plainly_is_read_back_exactly(amount, currency):
    money = Money(amount, currency)
    assert Money.parse(money.plain(), currency) == money


@pytest.mark.parametrize(
    ("text", "currency", "amount"),
    [
        ("19.9", "CNY", 1990),
        ("1", "CNY", 100),
        ("1.00", "CNY", 100),
        ("500", "JPY", 500),
        ("1.234", "KWD", 1234),
        ("-3", "USD", -300),
    ],
)
def test_read(text, currency, amount):
    assert Money.parse(text, currency) == Money(amount, currency)


@pytest.mark.parametrize(
    "text", ["", "1.999", "1e3", "NaN", "inf", "1,5", "0x10", "1_000", "１", "--1", "1.2.3", "9" * 40]
)
def test_refused(text):
    with pytest.raises(ValueError):
        Money.parse(text, "CNY")


def test_fractions_of_yen_are_refused():
    with pytest.raises(ValueError):
        Money.parse("1.5", "JPY")


@pytest.mark.parametrize("amount", [1.0, "1", True, MAX_AMOUNT + 1])
def test_only_whole_numbers_in_range(amount):
    with pytest.raises(ValueError):
        Money(amount, "CNY")


def test_currencies_do_not_mix():
    with pytest.raises(ValueError):
        Money(1, "CNY") + Money(1, "USD")


@given(st.integers(-(10**12), 10**12), st.integers(-(10**12), 10**12))
def test_sums_are_exact(a, b):
    assert Money(a, "CNY") + Money(b, "CNY") - Money(b, "CNY") == Money(a, "CNY")
    assert (Money(a, "CNY") + Money(b, "CNY")).amount == a + b


def test_for_people():
    assert Money(1990, "CNY").text("zh-CN") == "¥19.90"
    assert Money(1990, "USD").text("en") == "$19.90"
    assert Money(500, "JPY").plain() == "500"
