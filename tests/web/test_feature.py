"""Menus, slots and rights: what a feature brings and who gets to see it."""

import logging
from pathlib import Path

import pytest

from core.people import rights
from core.web.feature import Feature, Nav, nav_for
from core.web.i18n import _
from core.web.render import Slots
from core.web.themes import make_environment

ENTRIES = [
    Nav(_("Orders"), "/admin/orders", "receipt", group="sales", right="orders.read", order=20),
    Nav(_("Staff"), "/admin/staff", "users", group="people", right="staff.manage", order=30),
    Nav(_("My account"), "/admin/account", "user", group="people", order=10),
]


@pytest.mark.parametrize(
    ("role", "seen"),
    [
        ("owner", {"people": ["/admin/account", "/admin/staff"], "sales": ["/admin/orders"]}),
        ("support", {"people": ["/admin/account"], "sales": ["/admin/orders"]}),
        ("stock", {"people": ["/admin/account"]}),
        ("nobody", {"people": ["/admin/account"]}),
    ],
)
def test_the_menu_shows_what_the_role_opens(role: str, seen: dict[str, list[str]]):
    groups = nav_for(
        [Feature("a", nav=ENTRIES[:1]), Feature("b", nav=ENTRIES[1:])], lambda right: rights.may(role, right)
    )
    assert {group: [entry.path for entry in entries] for group, entries in groups.items()} == seen


@pytest.mark.parametrize(
    ("role", "right", "may"),
    [
        ("owner", "orders.cancel", True),
        ("owner", "anything.at_all", False),
        ("support", "orders.cancel", True),
        ("support", "orders", False),
        ("support", "ordersx.read", False),
        ("stock", "products.delete", False),
        ("readonly", "orders.cancel", False),
        (None, "orders.read", False),
        ("", "", False),
    ],
)
def test_rights(role: str | None, right: str, may: bool):
    assert rights.may(role, right) is may


def test_a_broken_filler_leaves_its_place_empty_and_a_line_in_the_log(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    (tmp_path / "good.html").write_text("<b>{{ name }}</b>")
    environment = make_environment([tmp_path], None, reload=False)

    def broken(subject: object) -> None:
        raise ZeroDivisionError

    slots = Slots(
        [
            Feature("one", slots={"order.pay": lambda subject: ("good.html", {"name": subject})}),
            Feature("two", slots={"order.pay": broken}),
            Feature("three", slots={"order.pay": lambda subject: None}),
            Feature("four", slots={"order.pay": lambda subject: ("missing.html", {})}),
        ]
    )
    with caplog.at_level(logging.ERROR):
        assert slots.fill(environment, "order.pay", "<i>") == "<b>&lt;i&gt;</b>"
    assert [record.getMessage() for record in caplog.records] == [
        "two could not fill order.pay",
        "four could not fill order.pay",
    ]
    assert slots.fill(environment, "order.codes") == ""
    with pytest.raises(LookupError, match=r"no slot called page.end"):
        slots.fill(environment, "page.end")
