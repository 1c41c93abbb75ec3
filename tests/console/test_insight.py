"""The dashboard and the insight page: exact figures of seeded sales, and what may not be counted."""

import csv
import html
import io
import re
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest
from python_calamine import CalamineWorkbook

from core import clock, db
from core.checkout import acts
from core.checkout.settle import settle
from core.insight import alerts, breakdown, figures, span
from core.insight.console import orders_of
from core.ledger import bookkeeping
from core.ledger import service as ledger
from core.money import Money
from core.payments.method import ClaimState
from core.shops import service as shops
from tests import stocked
from tests.console import words

NOON = datetime(2026, 11, 22, 4, 0, tzinfo=UTC)
"""Noon in Shanghai."""
MIDNIGHT = datetime(2026, 11, 21, 16, 0, tzinfo=UTC)


@pytest.fixture
async def what(address, real):
    await db.execute(
        "ALTER TABLE ledger_entry DISABLE TRIGGER USER;"
        " TRUNCATE audit_alarm, ledger_entry, ledger_fee, vault_code, orders_order, review_item, jobs_job CASCADE;"
        " ALTER TABLE ledger_entry ENABLE TRIGGER USER"
    )
    await db.execute("UPDATE ledger_kept SET until = '2000-01-01'")
    await db.execute("UPDATE shops_shop SET currency = 'CNY', timezone = 'Asia/Shanghai'")
    shops.forget()
    return await stocked.sku(20)


async def sold(what, when, seconds=2, who=None, **facts):
    """An order paid at ``when``: placed a minute before, delivered ``seconds`` later."""
    placed = await stocked.order(what, who=who) if who else await stocked.order(what)
    total = await db.fetchval("SELECT total FROM orders_order WHERE id = $1", placed.order_id)
    await settle("epay", stocked.paid(placed, total), "callback")
    await db.execute(
        "UPDATE orders_order SET created_at = $2::timestamptz - interval '1 minute', paid_at = $2,"
        " delivered_at = $2::timestamptz + make_interval(secs => $3) WHERE id = $1",
        placed.order_id,
        when,
        float(seconds),
    )
    await db.execute("UPDATE payments_attempt SET created_at = $2 WHERE order_id = $1", placed.order_id, when)
    for name, value in facts.items():
        await db.execute(f"UPDATE orders_order SET {name} = $2 WHERE id = $1", placed.order_id, value)
    return placed


async def booked(placed, at):
    """Move an order's entries in the books to another time; only a test may."""
    await db.execute("ALTER TABLE ledger_entry DISABLE TRIGGER USER")
    await db.execute("UPDATE ledger_entry SET at = $2 WHERE order_id = $1", placed.order_id, at)
    await db.execute("ALTER TABLE ledger_entry ENABLE TRIGGER USER")


async def asked(key="7", first=None, last=None):
    shop = await shops.main_shop()
    return shop, span.of(key, first, last, shop.timezone)


# -- which days -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "first", "last", "days", "before"),
    [
        ("today", None, None, 1, ("2026-11-21T00:00", "2026-11-21T12:00")),
        ("7", None, None, 7, ("2026-11-09T00:00", "2026-11-15T12:00")),
        ("30", None, None, 30, ("2026-09-24T00:00", "2026-10-23T12:00")),
        ("custom", date(2026, 11, 1), date(2026, 11, 2), 2, ("2026-10-30T00:00", "2026-11-01T00:00")),
        ("custom", date(2026, 11, 30), date(2026, 11, 20), 1, ("2026-11-19T00:00", "2026-11-20T00:00")),
        ("custom", None, date(2030, 1, 1), 1, ("2026-11-21T00:00", "2026-11-21T12:00")),
        ("custom", None, date(1, 1, 2), 1, ("1999-12-31T00:00", "2000-01-01T00:00")),
        ("nonsense", None, None, 7, ("2026-11-09T00:00", "2026-11-15T12:00")),
    ],
)
def test_the_days_before_are_as_long(key, first, last, days, before):
    with clock.use(lambda: NOON):
        found = span.of(key, first, last, "Asia/Shanghai")
    assert found.days == days and found.end - found.start == found.before_end - found.before
    assert tuple(f"{moment:%Y-%m-%dT%H:%M}" for moment in (found.before, found.before_end)) == before


# -- the dashboard ----------------------------------------------------------------------


async def test_days_begin_at_midnight_of_the_shop(what):
    for when in (
        NOON - timedelta(microseconds=1),
        MIDNIGHT,
        MIDNIGHT - timedelta(microseconds=1),
        MIDNIGHT - timedelta(days=6),
        MIDNIGHT - timedelta(days=6, microseconds=1),
    ):
        await sold(what, when)
    with clock.use(lambda: NOON):
        shop, days = await asked()
        found = await figures.of(shop, days)
        _shop, today = await asked("today")
        hours = await figures.trend(shop, today.start, today.end)
    assert [str(point.at.date()) for point in found.trend] == [f"2026-11-{day}" for day in range(16, 23)]
    assert [point.orders for point in found.trend] == [1, 0, 0, 0, 0, 1, 2]
    assert [point.money.amount for point in found.trend] == [1990, 0, 0, 0, 0, 1990, 3980]
    assert [point.orders for point in found.before_trend] == [0] * 7
    assert [point.orders for point in hours] == [1, *[0] * 10, 1]


async def test_every_number_counts_what_it_says(what, staff):
    now = clock.now()
    regular = stocked.buyer("regular@example.com")
    await sold(what, now - timedelta(days=8), who=regular)
    await sold(what, now - timedelta(hours=1), 2, who=stocked.buyer("regular@example.com"))
    await sold(what, now - timedelta(hours=2), 4)
    await sold(what, now - timedelta(days=3), 30, payment_state="refunded", refunded=1990)
    await sold(what, now - timedelta(days=3), 30, currency="USD")
    await stocked.order(what)
    await settle("epay", stocked.paid(await stocked.order(what), 5), "callback")
    await settle("epay", stocked.paid(await stocked.order(what, test=True)), "callback")
    shop, days = await asked()
    f = await figures.of(shop, days)
    assert (f.sales.now, f.sales.before) == (Money(5970, "CNY"), Money(1990, "CNY"))
    assert (f.orders.now, f.orders.before, f.average.now) == (3, 1, Money(1990, "CNY"))
    assert (f.customers.now, f.customers.before) == (4, 1)
    assert (f.median.now, round(f.p95.now, 1), f.median.before) == (4.0, 27.4, 2.0)
    assert f.others == [(1, Money(1990, "USD"))]
    assert f.funnel == figures.Funnel(placed=6, begun=5, paid=4, delivered=4)
    [way] = f.methods
    assert (way.key, way.tries, way.paid, way.money, way.before) == ("epay", 6, 5, Money(7965, "CNY"), 1.0)
    [product] = f.products
    assert (product.units, product.money) == (3, Money(5970, "CNY"))
    assert f.sales.change == 2.0 and f.success.now == 5 / 6
    page = words(await staff.get("/admin?range=7"))
    assert "Sales CN¥59.70 up 200%, before: CN¥19.90" in page and "Paid orders 3" in page
    assert "Beside it, in other currencies: $19.90 (1 order)" in page
    for odd in ("0", "-7", "999999", "x"):
        assert "Sales CN¥59.70" in words(await staff.get(f"/admin?range={odd}"))


async def test_profit_is_what_the_books_say(what, staff, sign_in):
    now = clock.now()
    await db.execute("UPDATE vault_batch SET unit_cost = 1000")
    await db.execute("INSERT INTO ledger_fee VALUES (1, 'epay', 'CNY', 100, 5)")
    first = await sold(what, now - timedelta(days=9))
    for _number in range(2):
        await sold(what, now - timedelta(hours=1))
    await bookkeeping.keep(now + timedelta(minutes=1))
    await booked(first, now - timedelta(days=9))
    shop, days = await asked()
    profit = (await figures.of(shop, days)).profit
    assert (profit.sales.now.amount, profit.cost.now.amount, profit.fees.now.amount) == (3980, 2000, 50)
    assert (profit.net.now.amount, profit.gross.now.amount) == (3980, 1930)
    assert (profit.gross.before.amount, profit.cost.before.amount) == (965, 1000)
    assert round(profit.margin.now, 4) == round(1930 / 3980, 4) and profit.gross.change == 1.0
    page = words(await staff.get("/admin?range=7"))
    assert "Gross profit CN¥19.30 up 100%, before: CN¥9.65" in page and "Margin 48%" in page
    reader = words(await (await sign_in("readonly")).get("/admin?range=7"))
    assert "Sales CN¥39.80" in reader and "Gross profit" not in reader and "Margin" not in reader


async def test_goods_and_fees_in_another_currency_are_not_silently_free(what, staff):
    placed = await sold(what, clock.now() - timedelta(minutes=1))
    dollars = Money(250, "USD")
    await db.transaction(
        ledger.move, 1, "purchase", f"purchase:{placed.ref}-1-1", dollars, "cost", "supplier:abroad", placed.order_id
    )
    for cents, source in ((30, "statement:stripe:1"), (7, "statement:stripe:2")):
        await db.transaction(
            ledger.move, 1, "fee", source, Money(cents, "USD"), "fees", "gateway:stripe", placed.order_id
        )
    shop, days = await asked("today")
    profit = (await figures.of(shop, days)).profit
    assert (profit.cost.now.amount, profit.fees.now.amount, profit.beside) == (0, 0, [Money(287, "USD")])
    said = "Not taken off the profit, because it is in other currencies: cost of goods and payment fees $2.87"
    assert said in words(await staff.get("/admin?range=today"))
    assert said in words(await staff.get("/admin/insight?range=today"))


async def test_an_empty_shop_has_a_dashboard(what, staff):
    page = words(await staff.get("/admin"))
    assert "No orders yet" in page and "Sales CN¥0.00" in page and "Nothing was sold in these days" in page


async def test_what_needs_a_look_says_what_and_leads_there(what, staff):
    now = clock.now()
    late, test = await sold(what, now - timedelta(minutes=11)), await sold(what, now - timedelta(hours=1), test=True)
    fresh = await sold(what, now - timedelta(minutes=9))
    await db.execute("UPDATE orders_order SET fulfilment_state = 'review', delivered_at = NULL")
    failed = await stocked.order(what)
    await db.execute(
        "UPDATE payments_attempt SET state = 'failed', error = 'refused: bad key' WHERE order_id = $1", failed.order_id
    )
    await stocked.sku(0)
    shop = await shops.main_shop()
    found = await alerts.of(shop, whole_server=True)
    assert [one.ref for one in found.late] == [late.ref] and test.ref != fresh.ref
    assert [(one.key, one.number, one.error) for one in found.methods] == [("epay", 1, "refused: bad key")]
    assert [one["free"] for one in found.stock][:1] == [0]
    page = await staff.get("/admin")
    assert f'href="/admin/orders/{late.ref}"' in page and "/admin/payments?method=epay&state=failed" in page
    assert "refused: bad key" in words(page) and "/admin/stock/import?sku=" in page


# -- the page and its files -------------------------------------------------------------


async def test_sales_by_everything_sum_up_to_the_same(what, staff):
    await db.execute("UPDATE vault_batch SET unit_cost = 500")
    other = await stocked.sku(3, price=3333)
    for when in (MIDNIGHT, NOON - timedelta(hours=1), MIDNIGHT - timedelta(hours=1)):
        await sold(what, when)
    await sold(other, NOON - timedelta(days=5), payment_state="refunded", refunded=3333)
    await sold(what, NOON, test=True)
    await bookkeeping.keep(clock.now() + timedelta(minutes=1))
    with clock.use(lambda: NOON + timedelta(hours=1)):
        shop, days = await asked()
        tables = {by: await breakdown.of(shop, days, by) for by in breakdown.BY}
    by_day = [(row.key, row.orders, row.sales.amount, row.refunded.amount) for row in tables["day"][0].rows]
    assert by_day == [("2026-11-17", 1, 3333, 3333), ("2026-11-21", 1, 1990, 0), ("2026-11-22", 2, 3980, 0)]
    assert [(row.key, row.orders) for row in tables["week"][0].rows] == [("2026-11-16", 4)]
    assert [(row.key, row.orders) for row in tables["month"][0].rows] == [("2026-11-01", 4)]
    assert [(row.key, row.units, row.cost.amount) for row in tables["sku"][0].rows] == [
        (what.code, 3, 1500),
        (other.code, 1, 0),
    ]
    assert [(row.key, row.name) for row in tables["method"][0].rows] == [("epay", "epay")]
    assert [row.key for row in tables["category"][0].rows] == ["0"]
    for [table] in tables.values():
        total = table.total
        assert (total.orders, total.units, total.sales.amount, total.refunded.amount) == (4, 4, 9303, 3333)
        assert total.profit.amount == 9303 - 3333 - 1500


async def test_what_came_twice_and_went_back_takes_nothing_from_the_sale(what):
    await sold(what, NOON - timedelta(days=1), paid=3980, refunded=1990)
    await sold(what, NOON - timedelta(days=1), paid=3980, refunded=2490)
    with clock.use(lambda: NOON):
        shop, days = await asked()
        [table] = await breakdown.of(shop, days, "sku")
    assert (table.total.sales.amount, table.total.refunded.amount) == (3980, 500)


async def test_too_little_that_was_accepted_counts_as_it_came(what):
    placed, waiting = await stocked.order(what), await stocked.order(what)
    await settle("epay", stocked.paid(placed, 500), "callback")
    await settle("epay", stocked.paid(waiting, 7), "callback")
    await acts.deliver_anyway(1, placed.ref, await stocked.staff_member(), None)
    shop, days = await asked("today")
    found = await figures.of(shop, days)
    [table] = await breakdown.of(shop, days, "sku")
    assert found.sales.now == found.trend[-1].money == found.products[0].money == Money(500, "CNY")
    assert (table.total.sales.amount, table.total.refunded.amount, table.total.profit.amount) == (500, 0, 500)
    assert [way.money for way in found.methods] == [Money(507, "CNY")]
    assert (found.funnel.begun, found.funnel.paid, found.orders.now) == (2, 1, 1)


async def test_what_discounts_took_off_is_in_no_product(what):
    placed = await sold(what, clock.now() - timedelta(minutes=1), total=1500, paid=1500)
    await sold(what, clock.now() - timedelta(minutes=1))
    shop, days = await asked("today")
    found = await figures.of(shop, days)
    assert placed.order_id and found.products[0].money == found.sales.now == Money(3490, "CNY")


async def test_an_order_of_two_products_is_divided_by_its_lines(what):
    other = await stocked.sku(3, price=1000)
    placed = await sold(what, clock.now() - timedelta(minutes=1), total=2000, paid=2000)
    await db.execute(
        "INSERT INTO orders_line (order_id, sku_id, product_id, product_title, sku_title, sku_code, quantity,"
        " unit_price, total) SELECT $1, sku.id, product_id, '{\"en\": \"B\"}', '{}', code, 1, 10, 10"
        " FROM catalog_sku sku WHERE id = $2",
        placed.order_id,
        other.id,
    )
    shop, days = await asked("today")
    [table] = await breakdown.of(shop, days, "sku")
    assert [(row.key, row.orders, row.sales.amount) for row in table.rows] == [
        (what.code, 1, 1990),
        (other.code, 1, 10),
    ]
    assert (table.total.orders, table.total.units, table.total.sales.amount) == (1, 2, 2000)


async def test_no_cent_is_lost_or_made_where_an_order_is_divided(what):
    other = await stocked.sku(3, price=1990)
    for total in (1001, 1003, 1005):
        placed = await sold(what, clock.now() - timedelta(minutes=1), total=total, paid=total, refunded=total - 2)
        await db.execute(
            "INSERT INTO orders_line (order_id, sku_id, product_id, product_title, sku_title, sku_code, quantity,"
            " unit_price, total) SELECT $1, sku.id, product_id, '{\"en\": \"B\"}', '{}', code, 1, 1990, 1990"
            " FROM catalog_sku sku WHERE id = $2",
            placed.order_id,
            other.id,
        )
    shop, days = await asked("today")
    for by in breakdown.BY:
        [table] = await breakdown.of(shop, days, by)
        assert (table.total.sales.amount, table.total.refunded.amount) == (3009, 3003), by


async def test_other_currencies_have_a_table_of_their_own(what, staff):
    await sold(what, clock.now() - timedelta(minutes=2))
    await sold(what, clock.now() - timedelta(minutes=1), currency="USD")
    shop, days = await asked("today")
    tables = await breakdown.of(shop, days, "day")
    assert [(table.currency, table.total.sales.amount) for table in tables] == [("CNY", 1990), ("USD", 1990)]


async def test_what_a_bank_took_back_is_no_profit_and_a_loss_is_a_number_in_the_file(what, staff):
    placed = await sold(what, clock.now() - timedelta(minutes=1))
    await db.transaction(
        ledger.move, 1, "cost", f"cost:{placed.ref}", Money(700, "CNY"), "cost", "stock", placed.order_id
    )
    claim = replace(stocked.paid(placed, 1990, event="back"), state=ClaimState.CHARGED_BACK)
    await settle("epay", claim, "callback")
    shop, days = await asked("today")
    [table] = await breakdown.of(shop, days, "sku")
    assert (table.total.sales.amount, table.total.refunded.amount, table.total.profit.amount) == (1990, 1990, -700)
    answer = await staff.http.get("/admin/insight/export?range=today&by=sku&format=csv")
    rows = list(csv.reader(io.StringIO(answer.text.lstrip("\ufeff"))))
    assert rows[1][5:] == ["19.90", "19.90", "7.00", "0.00", "-7.00"]


async def test_page_and_file_say_that_rows_are_left_out(what, staff, monkeypatch):
    await sold(what, clock.now() - timedelta(minutes=2))
    await sold(what, clock.now() - timedelta(minutes=1), currency="USD")
    said, query = "Only the first 2 rows are shown: choose fewer days.", "range=today&by=sku"
    for most, times in ((3, 0), (2, 1)):
        monkeypatch.setattr(breakdown, "MOST", most)
        assert words(await staff.get(f"/admin/insight?{query}")).count(said) == times
        assert (await staff.http.get(f"/admin/insight/export?{query}&format=csv")).text.count(said) == times


async def test_rows_lead_to_the_orders_they_count(what, staff):
    here, other = await sold(what, clock.now() - timedelta(minutes=1)), await stocked.sku(1)
    beside = await sold(other, clock.now() - timedelta(minutes=1))
    waiting = await stocked.order(what)
    for by, led_to in (("sku", {here.ref}), ("day", {here.ref, beside.ref}), ("week", {here.ref, beside.ref})):
        page = await staff.get(f"/admin/insight?range=7&by={by}")
        rows = re.findall(r'href="(/admin/orders[?][^"]*)">[0-9]+</a>', page)
        wanted = [html.unescape(one) for one in rows if by != "sku" or f"sku={what.code}" in one]
        listed = await staff.get(wanted[0])
        assert {one for one in (here.ref, beside.ref, waiting.ref) if f'/admin/orders/{one}"' in listed} == led_to


def test_a_month_that_is_cut_leads_to_its_days_alone():
    with clock.use(lambda: NOON):
        days = span.of("custom", date(2026, 10, 20), date(2026, 11, 5), "Asia/Shanghai")
    assert "paid_since=2026-10-20&paid_until=2026-10-31" in orders_of(days, "month", "2026-10-01")
    assert "paid_since=2026-11-02&paid_until=2026-11-05" in orders_of(days, "week", "2026-11-02")
    assert orders_of(days, "category", "7") == ""


async def test_files_hold_what_is_shown(what, staff, sign_in):
    await sold(what, clock.now() - timedelta(minutes=1))
    query = "range=today&by=sku"
    page = words(await staff.get(f"/admin/insight?{query}"))
    assert what.code in page and "CN¥19.90" in page and "Profit" in page
    answer = await staff.http.get(f"/admin/insight/export?{query}&format=csv")
    rows = list(csv.reader(io.StringIO(answer.text.lstrip("\ufeff"))))
    assert [row[:7] for row in rows[1:]] == [
        [what.code, rows[1][1], "CNY", "1", "1", "19.90", "0.00"],
        ["Total", "", "CNY", "1", "1", "19.90", "0.00"],
    ]
    answer = await staff.http.get(f"/admin/insight/export?{query}&format=xlsx")
    sheet = CalamineWorkbook.from_filelike(io.BytesIO(answer.content)).get_sheet_by_index(0).to_python()
    assert sheet[1] == [what.code, rows[1][1], "CNY", 1, 1, 19.9, 0, 0, 0, 19.9]
    series = (await staff.http.get("/admin/insight/series.json?range=today")).json()
    assert (series["sales"][-1] or series["sales"][-2], sum(series["orders"]), series["byHour"]) == (19.9, 1, True)
    reader = await sign_in("readonly")
    assert "Profit" not in words(await reader.get(f"/admin/insight?{query}"))
    assert "Profit" not in (await reader.http.get(f"/admin/insight/export?{query}")).text
    support = await sign_in("support")
    assert (await support.http.get("/admin/insight")).status_code == 403
    assert (await staff.http.get("/admin/insight?by=nothing")).status_code == 422
