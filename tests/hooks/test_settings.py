"""One model becomes a form, and what people write into it becomes settings or a message for each field."""

from typing import Literal

import pytest

from core.api import Money, PluginSettings, Secret, Url, setting
from core.hooks.settings import (
    CannotDraw,
    Kind,
    SettingsWrong,
    built,
    fields_of,
    from_text,
    to_store,
    to_text,
    variable,
)


class Example(PluginSettings):
    name: str = setting("Name", help="As on the contract", max_length=5, min_length=2)
    note: str = setting("Note", default="", long=True)
    key: Secret = setting("Key")
    other: Secret | None = setting("Other key", default=None)
    gateway: Url = setting("Gateway", default="https://a.example")
    wait: int = setting("Wait", unit="seconds", default=10, ge=1, le=60)
    mode: Literal["page", "direct"] = setting("Mode", default="page", choices={"page": "A page"})
    loud: bool = setting("Loud", default=True)
    words: tuple[str, ...] = setting("Words", default=())
    price: Money | None = setting("Price", default=None)


FIELDS = {one.name: one for one in fields_of(Example)}
MINIMUM = {"name": "Ann", "key": "k"}


def test_each_type_has_its_field():
    assert {name: one.kind for name, one in FIELDS.items()} == {
        "name": Kind.TEXT,
        "note": Kind.LONG,
        "key": Kind.SECRET,
        "other": Kind.SECRET,
        "gateway": Kind.URL,
        "wait": Kind.NUMBER,
        "mode": Kind.SELECT,
        "loud": Kind.SWITCH,
        "words": Kind.LINES,
        "price": Kind.MONEY,
    }
    assert [name for name, one in FIELDS.items() if one.required] == ["name", "key"]


def test_a_field_knows_its_label_limits_and_choices():
    wait, name = FIELDS["wait"], FIELDS["name"]
    assert (wait.look.title, wait.look.unit, wait.default, wait.low, wait.high) == ("Wait", "seconds", 10, 1, 60)
    assert (name.look.help, name.longest) == ("As on the contract", 5)
    assert FIELDS["mode"].choices == (("page", "A page"), ("direct", "direct"))


def test_a_type_without_a_field_is_refused():
    class Table(PluginSettings):
        table: dict[str, int] = setting("Table", default={})

    class Either(PluginSettings):
        either: int | str = setting("Either", default=1)

    class Unlabelled(PluginSettings):
        name: str = ""

    with pytest.raises(CannotDraw, match="the setting table has a type that no form field fits"):
        fields_of(Table)
    with pytest.raises(CannotDraw, match="either"):
        fields_of(Either)
    with pytest.raises(CannotDraw, match="the setting name needs"):
        fields_of(Unlabelled)


@pytest.mark.parametrize("default", ["changeme", "", Secret("changeme")])
def test_a_secret_stands_in_no_code(default):
    class Known(PluginSettings):
        key: Secret = setting("Key", default=default)

    with pytest.raises(CannotDraw, match="the setting key is a secret and has a default"):
        fields_of(Known)


def test_defaults_fill_the_rest():
    settings = built(Example, MINIMUM)
    assert (settings.wait, settings.mode, settings.loud, settings.words) == (10, "page", True, ())
    assert settings.key.reveal() == "k"


@pytest.mark.parametrize(
    ("given", "wrong"),
    [
        ({}, {"name": "Please fill this in.", "key": "Please fill this in."}),
        ({"name": "A", "key": "k"}, {"name": "At least 2 signs, please."}),
        ({"name": "Abcdef", "key": "k"}, {"name": "At most 5 signs, please."}),
        ({**MINIMUM, "wait": "0"}, {"wait": "This must be 1 or more."}),
        ({**MINIMUM, "wait": "61"}, {"wait": "This must be 60 or less."}),
        ({**MINIMUM, "wait": "ten"}, {"wait": "Please enter a whole number."}),
        ({**MINIMUM, "mode": "other"}, {"mode": "Please choose one of the values offered."}),
        ({**MINIMUM, "gateway": "pay.example.com"}, {"gateway": "Write an address such as https://pay.example.com"}),
        ({**MINIMUM, "gateway": "https://me@a.b"}, {"gateway": "Write an address such as https://pay.example.com"}),
        ({**MINIMUM, "gateway": "javascript:x"}, {"gateway": "Write an address such as https://pay.example.com"}),
        ({**MINIMUM, "nmae": "Ann"}, {"nmae": "There is no such setting."}),
        ({**MINIMUM, "price": {"amount": 1.5, "currency": "CNY"}}, {"price": "Please enter a whole number."}),
    ],
)
def test_every_mistake_has_its_message(given, wrong):
    with pytest.raises(SettingsWrong) as caught:
        built(Example, given)
    assert {name: str(message) for name, message in caught.value.fields.items()} == wrong
    assert "k" not in str(caught.value.__cause__)


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("name", " Ann ", "Ann"),
        ("loud", "on", True),
        ("loud", "", False),
        ("words", "one\r\n\n two \n", ["one", "two"]),
        ("price", "19.9", Money(1990, "CNY")),
        ("wait", "7", "7"),
    ],
)
def test_text_becomes_a_value(name, text, value):
    assert from_text(FIELDS[name], text, "CNY") == value


def test_money_is_read_in_the_currency_of_the_shop():
    assert from_text(FIELDS["price"], "500", "JPY") == Money(500, "JPY")
    with pytest.raises(SettingsWrong) as caught:
        from_text(FIELDS["price"], "19.999", "CNY")
    assert str(caught.value.fields["price"]) == "Write an amount such as 19.90"


def test_what_is_stored_comes_back_the_same_and_secrets_go_apart():
    settings = built(
        Example,
        {
            **MINIMUM,
            "other": "o",
            "words": ["a", "b"],
            "price": Money(1990, "CNY"),
            "mode": "direct",
            "loud": False,
            "wait": "7",
            "gateway": "https://b.example",
            "note": "n",
        },
    )
    open_ones, secret = to_store(tuple(FIELDS.values()), settings)
    assert secret == {"key": "k", "other": "o"}
    assert open_ones == {
        "name": "Ann",
        "note": "n",
        "gateway": "https://b.example",
        "wait": 7,
        "mode": "direct",
        "loud": False,
        "words": ["a", "b"],
        "price": {"amount": 1990, "currency": "CNY"},
    }
    assert built(Example, {**open_ones, **secret}) == settings


def test_defaults_are_not_stored_so_that_they_may_change():
    assert to_store(tuple(FIELDS.values()), built(Example, MINIMUM)) == ({"name": "Ann"}, {"key": "k"})


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("key", Secret("k"), ""),
        ("loud", True, "on"),
        ("loud", False, ""),
        ("words", ["a", "b"], "a\nb"),
        ("price", Money(1990, "CNY"), "19.90"),
        ("price", {"amount": 1990, "currency": "CNY"}, "19.90"),
        ("price", None, ""),
        ("wait", 7, "7"),
    ],
)
def test_a_value_becomes_the_text_of_its_field(name, value, text):
    assert to_text(FIELDS[name], value) == text


def test_the_name_of_the_variable_that_overrides():
    assert variable("payments.epay", "pid") == "VOUCHSAFE_PAYMENTS_EPAY_PID"


def test_settings_are_frozen_and_their_secrets_hidden():
    settings = built(Example, MINIMUM | {"key": "very-secret"})
    with pytest.raises(ValueError, match="frozen"):
        settings.name = "Bob"
    assert "very-secret" not in f"{settings!r} {settings} {settings.model_dump()} {settings.model_dump_json()}"
