"""The books in the console: they add up, lead down to entries and orders, and leave as a safe spreadsheet."""

import csv
import io
import re
from decimal import Decimal

import pytest

from core import clock, db
from core.checkout.settle import settle
from core.hooks import runtime
from core.ledger import bookkeeping, books, chart, console
from core.ledger.sheet import cell, csv_text
from core.money import Money
from tests import stocked
from tests.console import audited, everything, newest_audit, words


@pytest.fixture(scope="module")
async def sold(address: str) -> stocked.Placed:
    """One sale of 19.90 with a cost of 7.00, a discount of 5.10 and a fee of 0.60 % and 0.30."""
    await db.execute("UPDATE shops_shop SET test_mode = false, currency = 'CNY', timezone = 'Asia/Shanghai'")
    await db.execute(
        "INSERT INTO ledger_fee (shop_id, method, currency, percent, fixed) VALUES (1, 'epay', 'CNY', 60, 30)"
    )
    what = await stocked.sku(3)
    await db.execute(
        """UPDATE vault_batch SET unit_cost = 700, counts = '{"imported": 3}' WHERE sku_id = $1""", what.id
    )
    placed = await stocked.order(what)
    await db.execute("UPDATE orders_line SET list_price = 2500 WHERE order_id = $1", placed.order_id)
    await settle("epay", stocked.paid(placed), "callback")
    assert await bookkeeping.keep(clock.now()) == 4
    return placed


def rows(text: str) -> list[list[str]]:
    assert text.startswith("\ufeff")
    return list(csv.reader(io.StringIO(text.removeprefix("\ufeff"))))


async def test_the_trial_balance_is_exact_and_sound(sold):
    trial = await books.trial_balance(1, "CNY", books.period(None, None, "Asia/Shanghai"))
    closing = {line.code: line.closing.amount for line in trial.lines}
    assert closing == {
        "gateway:epay": 1990 - 42,
        "stock": 2100 - 700,
        "supplier:import": -2100,
        "deposits": 0,
        "revenue": -2500,
        "discounts": 510,
        "cost": 700,
        "fees": 42,
    }
    assert sum(closing.values()) == 0
    assert trial.sound
    assert trial.profit == Money(1990 - 700 - 42, "CNY")


async def test_a_period_before_the_first_sale_is_empty_and_one_after_it_opens_with_it(sold):
    day = clock.now().date()
    before = await books.trial_balance(1, "CNY", books.period(day.replace(year=2020), day.replace(year=2021), "UTC"))
    assert before.lines == [] and before.sound
    after = await books.trial_balance(1, "CNY", books.period(day.replace(year=2030), day.replace(year=2031), "UTC"))
    [revenue] = [line for line in after.lines if line.code == "revenue"]
    assert (revenue.opening.amount, revenue.debit.amount, revenue.credit.amount) == (-2500, 0, 0)


@pytest.mark.parametrize("days", ["first=0001-01-01", "last=9999-12-31"])
async def test_the_ends_of_the_calendar_are_days_too(staff, sold, days):
    assert "Trial balance" in words(await staff.get(f"/admin/books?{days}"))


async def test_the_page_leads_down_to_the_entry_and_its_order(staff, sold):
    page = await staff.get("/admin/books")
    assert "Equal to the debits" in words(page)
    [link] = re.findall(r'href="(/admin/books/account\?[^"]*account=fees)"', page.replace("&amp;", "&"))
    account = await staff.get(link)
    assert "Payment fees" in words(account) and "CN¥0.42" in words(account)
    assert f'href="/admin/orders/{sold.ref}"' in account
    assert sold.ref in await staff.get(f"/admin/orders/{sold.ref}")


async def test_the_spreadsheets_say_the_same(staff, sold):
    trial = rows(await staff.get("/admin/books/trial-balance.csv"))
    fees = next(row for row in trial if row[0] == "fees")
    assert fees == ["fees", "Payment fees", "Expenses", "CNY", "0.00", "", "0.42", "0.00", "0.42", ""]
    assert trial[-1][6:] == ["73.32", "73.32", "46.00", "46.00"]
    entries = rows(await staff.get("/admin/books/account.csv?account=gateway%3Aepay"))
    assert [row[2:9] for row in entries[1:]] == [
        ["Payment", sold.ref, "deposits", "19.90", "", "19.90", ""],
        ["Payment fee", sold.ref, "fees", "", "0.42", "19.48", ""],
    ]


async def test_a_statement_that_is_cut_says_so(staff, sold, monkeypatch):
    path, said = (
        "/admin/books/account.csv?account=gateway%3Aepay",
        "Only the first 1 rows are shown: choose fewer days.",
    )
    whole = rows(await staff.get(path))
    assert len(whole) == 3 and said not in whole[-1]
    monkeypatch.setattr(console, "MOST_ROWS", 1)
    assert rows(await staff.get(path)) == [*whole[:2], [said]]


async def test_no_cell_of_a_spreadsheet_can_be_a_formula():
    for text in ("=1+1", "+1", "-1", "@x", "\t=1", "\r=1", "\n=1", "＝1", '=cmd|" /C calc"!A0'):
        assert cell(text) == f"'{text}"
    assert [cell(value) for value in ("a=1", 7, None, "")] == ["a=1", "7", "", ""]
    assert [cell(value) for value in (-7, Decimal("-5.00"))] == ["-7", "-5.00"]
    assert rows(csv_text([['a"b', "c,d", "=e"]])) == [['a"b', "c,d", "'=e"]]


@pytest.mark.parametrize(
    "path", ["/admin/books?currency=xx", "/admin/books/account?account=pocket", "/admin/books/account"]
)
async def test_what_is_not_there_is_not_found(staff, sold, path):
    await staff.get(path, 404)


async def test_a_fee_is_entered_before_the_first_payment_comes(address, staff):
    kept = "SELECT method, percent, fixed FROM ledger_fee WHERE method = 'manual'"
    account = "SELECT count(*) FROM ledger_account WHERE code = 'gateway:manual'"
    assert await db.fetchval(account) == 0
    chart.of_methods({}, ["manual"])
    try:
        assert "manual" in headings(await staff.get("/admin/books/fees"))
        await staff.post("/admin/books/fees", method="manual", percent="1", fixed="0.30")
        assert [tuple(row.values()) for row in await db.fetch(kept)] == [("manual", 100, 30)]
    finally:
        await db.execute("DELETE FROM ledger_fee WHERE method = 'manual'")
        await runtime.current().refresh()


async def set_test_mode(on: str) -> None:
    """The test payment is there in test mode alone."""
    await db.execute(f"UPDATE shops_shop SET test_mode = {on}")
    await runtime.current().refresh()


async def test_payment_methods_are_called_by_their_titles(sign_in, sold):
    row = "INSERT INTO ledger_fee (shop_id, method, currency, percent, fixed) VALUES (1, 'sandbox', 'CNY', 0, 0)"
    await db.execute(row)
    await set_test_mode("true")
    try:
        for language, title in (("en", "Test payment"), ("zh-CN", "测试支付")):
            staff = await sign_in("owner", language)
            assert headings(await staff.get("/admin/books/fees")) == ["epay", title]
            assert f": {title}</h1>" in await staff.get("/admin/books/account?account=gateway%3Asandbox")
    finally:
        await db.execute("DELETE FROM ledger_fee WHERE method = 'sandbox'")
        await set_test_mode("false")


def headings(page: str) -> list[str]:
    return re.findall(r"<h2[^>]*>(.*?)</h2>", page)


async def test_a_fee_is_changed_and_audited(staff, sold):
    after = await newest_audit()
    assert "counts for payments from now on" in words(
        await staff.post("/admin/books/fees", method="epay", percent="0.38", fixed="0.10")
    )
    row = await db.fetchrow("SELECT percent, fixed FROM ledger_fee WHERE method = 'epay'")
    assert tuple(row) == (38, 10)
    assert await audited(after) == [("fee.changed", "method:epay")]


@pytest.mark.parametrize(
    ("percent", "fixed", "said"),
    [
        ("101", "0", "Write a percentage from 0 to 100."),
        ("-1", "0", "Write a percentage from 0 to 100."),
        ("0.385", "0", "Write a percentage with two decimals at most, such as 12.5."),
        ("NaN", "0", "Write a percentage with two decimals at most, such as 12.5."),
        ("1e999999", "0", "Write a percentage with two decimals at most, such as 12.5."),
        ("x", "0", "Write a percentage with two decimals at most, such as 12.5."),
        ("1", "-1", "An amount cannot be negative."),
        ("1", "10000000000.01", "This amount is too large."),
        ("1", "y", "Write an amount in digits, such as 19.90."),
    ],
)
async def test_a_fee_that_cannot_be_is_refused(staff, sold, percent, fixed, said):
    before = await everything()
    assert said in words(await staff.post("/admin/books/fees", 422, method="epay", percent=percent, fixed=fixed))
    assert await everything() == before
