"""Every list of the console: what its address may say, saved views, exports, acts on many rows, and the search."""

import asyncio
import csv
import io
import itertools
import re
from datetime import UTC, datetime

import pytest
import python_calamine

from core import clock, db
from core.checkout.settle import settle
from core.jobs.lease import Cancelled, Lease
from core.lists import jobs as list_jobs
from core.lists import runs
from core.payments.lists import METHODS, used_methods
from core.people import rights
from core.vault import cipher
from core.web import lists
from core.web.errors import FormError
from core.web.limits import LIMITS
from core.web.lists import Day, Scope
from tests import stocked
from tests.big.seed import Size, seed
from tests.console import audited, newest_audit, words
from tests.windows import one_window

LISTS = lists.known()
NAMES = sorted(LISTS)
PATHS = {name: one.path for name, one in LISTS.items()} | {"offers": "/admin/supply/big"}
NONSENSE = (
    "size=7",
    "size=x",
    "page=0",
    "page=-1",
    "page=1.5",
    "page=9999999",
    "sort=no",
    "col=no",
    "page=1&page=2",
    "q=%00",
)
SCOPE = Scope(1, 1, True, "CNY", "Asia/Shanghai", lambda _right: True)


@pytest.fixture(scope="module")
async def what(address):
    await db.execute("INSERT INTO supply_supplier (key) VALUES ('big')")
    return await stocked.sku(200)


async def sold(what, **more):
    placed = await stocked.order(what, **more)
    await settle("epay", stocked.paid(placed), "callback")
    return placed


def report(page: str) -> dict[str, str]:
    stats = re.findall(r'stat-label">(.*?)</p>\s*<p class="stat-value">(.*?)</p>', page)
    return {name: re.sub(r"<[^>]+>", "", value) for name, value in stats}


# -- what an address may say ------------------------------------------------------------


async def test_each_list_takes_all_it_offers_and_tells_nonsense(what, staff):
    for name in NAMES:
        listing, path = LISTS[name], PATHS[name]
        for query in offered(listing):
            want = await lists.wanted(listing, SCOPE, lists.read(listing, query))
            keys = await want.keys(50)
            assert len(await want.rows(keys)) == len(keys), (name, query)
            assert await want.count() >= len(keys) or len(keys) == 50, (name, query)
        for query in nonsense(listing):
            with pytest.raises(FormError):
                lists.read(listing, query)
        whole = "&".join(f"col={one.key}" for one in listing.columns)
        await staff.get(f"{path}?{whole}&utm_source=mail")
        assert (await staff.http.get(f"{path}?sort=no")).status_code == 422, name


def offered(listing: lists.Listing) -> list[str]:
    found = ["", "size=200", "page=2", "q=zz%25_%27", "q=1"]
    found += [f"sort={way}{one.key}" for one in listing.columns if one.sort for way in ("", "-")]
    for one in listing.filters:
        if isinstance(one, Day):
            found.append(f"{one.name}=2026-01-31")
        elif callable(one.options):
            found.append(f"{one.name}=1")
        else:
            found += [f"{one.name}={value}" for value in one.options]
    return found


def nonsense(listing: lists.Listing) -> list[str]:
    found = list(NONSENSE)
    for one in listing.filters:
        if isinstance(one, Day):
            found.append(f"{one.name}=2026-02-31")
        elif not callable(one.options):
            found.append(f"{one.name}=nonsense")
    return found


def test_what_an_address_says_comes_back_from_it():
    query = "q=a&payment=paid&since=2026-01-31&sort=-total&size=20&col=goods&col=total"
    assert lists.read(LISTS["orders"], query).query() == query
    with pytest.raises(FormError) as said:
        lists.read(LISTS["orders"], "payment=no&sort=contact")
    assert str(said.value.fields["payment"]) == "“no” is none of the choices."
    assert set(said.value.fields) == {"payment", "sort"}


async def test_order_columns_days_and_sums(what, staff):
    first, second = await sold(what), await stocked.order(what, 2)
    page = await staff.get("/admin/orders?sort=total")
    assert page.index(f"/admin/orders/{first.ref}") < page.index(f"/admin/orders/{second.ref}")
    page = await staff.get("/admin/orders?sort=-total&col=contact")
    assert page.index(f"/admin/orders/{second.ref}") < page.index(f"/admin/orders/{first.ref}")
    assert '<th scope="col" class="number">' not in page and 'aria-sort="descending"' not in page
    page = await staff.get("/admin/orders?view=all")
    assert "Total CN¥59.70" in words(page) and "<wbr>@example.com</td>" in page.replace("\n</td>", "</td>")
    assert "Nothing fits these filters" in words(await staff.get("/admin/orders?until=2020-01-01"))
    assert first.ref in await staff.get("/admin/orders?since=2020-01-01&until=2199-12-31")


async def test_a_choice_that_is_not_offered_any_more_stays_chosen(what, staff):
    page = await staff.get("/admin/orders?sku=GONE-1&payment=paid")
    assert '<option value="GONE-1" selected>GONE-1</option>' in page


async def test_money_of_several_currencies_is_not_added_up(what, staff):
    placed = await stocked.order(what)
    await settle("epay", stocked.paid(placed, 500, "USD", "usd"), "callback")
    await db.execute("UPDATE payments_attempt SET state = 'waiting' WHERE order_id = $1", placed.order_id)
    await settle("epay", stocked.paid(placed, 1990, event="cny"), "callback")
    query = f"q={placed.ref}&col=order&col=paid&col=back"
    page = words(await staff.get(f"/admin/orders?{query}"))
    assert "$5.00 CN¥19.90" in page and "24.90" not in page
    answer = await exported(staff, list="orders", form="csv", query=query)
    rows = list(csv.reader(io.StringIO(answer.content.decode("utf-8-sig"))))
    assert rows[1][:2] == [placed.ref, "5.00 USD / 19.90 CNY"]


async def test_a_suppliers_offers_are_chosen_by_its_own_categories(what, staff):
    await db.execute("INSERT INTO supply_supplier (key) VALUES ('other') ON CONFLICT DO NOTHING")
    await db.execute(
        "INSERT INTO supply_offer"
        " (supplier, item, title, category, delivers, cost, currency, listed, seen_at, changed_at)"
        " SELECT key, 'c1', 'Card', 'Only of ' || key, 'codes', 100, 'CNY', true, now(), now()"
        " FROM unnest(ARRAY['big', 'other']) key"
    )
    page = await staff.get("/admin/supply/big")
    assert '<option value="Only of big">' in page and "Only of other" not in page


async def test_the_search_says_what_matched_and_a_code_stands_in_no_address(what, staff):
    placed = await sold(what)
    await db.execute("UPDATE payments_attempt SET gateway_ref = 'GW-77' WHERE order_id = $1", placed.order_id)
    for q, said in ((placed.ref.lower(), "order no."), (placed.attempt_ref, "payment no."), ("GW-77", "gateway's no.")):
        answer = await staff.http.post("/admin/orders/find", data={"q": q, "csrf": staff.csrf})
        page = words(await staff.get(answer.headers["location"]))
        assert f"Found by the {said}" in page and placed.ref in page and "1 row" in page
    mine = await db.fetch(
        "SELECT fingerprint FROM vault_code JOIN orders_line l ON l.id = line_id WHERE order_id = $1", placed.order_id
    )
    [code] = [one for one in what.codes if cipher.fingerprints(1, [one])[0] == mine[0]["fingerprint"]]
    answer = await staff.http.post("/admin/orders/find", data={"q": code, "csrf": staff.csrf})
    assert answer.headers["location"] == f"/admin/orders/{placed.ref}"
    assert placed.ref not in await staff.get(f"/admin/orders?q={code}")


async def test_codes_are_not_guessed_by_searching(what, staff):
    placed = await sold(what)
    delivered = await db.fetch(
        "SELECT fingerprint FROM vault_code JOIN orders_line l ON l.id = line_id WHERE order_id = $1", placed.order_id
    )
    [code] = [one for one in what.codes if cipher.fingerprints(1, [one])[0] == delivered[0]["fingerprint"]]
    await db.execute("DELETE FROM web_limit")
    with one_window():
        most = LIMITS["code-search"].hits
        for _time in range(2):  # what is found counts for nothing
            assert placed.ref in await staff.post("/admin/search", 200, q=code)
        await db.execute("UPDATE web_limit SET hits = $1 WHERE bucket LIKE 'code-search:%'", most - 1)
        assert placed.ref not in await staff.post("/admin/search", 200, q="NO-SUCH-CODE")
        assert placed.ref not in await staff.post("/admin/search", 200, q=code)
        await staff.post("/admin/orders/find", 303, q=code)
        answer = await staff.http.post("/admin/orders/find", data={"q": code, "csrf": staff.csrf})
        assert placed.ref not in answer.headers["location"]
    await db.execute("DELETE FROM web_limit")


# -- saved views ------------------------------------------------------------------------


async def saved(staff, status=303, **form):
    answer = await staff.http.post("/admin/lists/views", data={**form, "csrf": staff.csrf})
    assert answer.status_code == status, words(answer.text)
    return await staff.get(answer.headers["location"]) if status == 303 else answer.text


async def test_views_are_ones_own_named_once_and_may_open_first(what, sign_in):
    boss, helper = await sign_in("owner"), await sign_in("support")
    view = {"list": "orders", "path": "/admin/orders", "query": "payment=paid&page=3&x=1", "name": "Paid ones"}
    page = await saved(boss, act="save", first="on", **view)
    assert "Paid ones" in page and 'value="paid" selected' in page
    assert "name already" in words(await saved(boss, 409, act="save", **view))
    answer = await boss.http.get("/admin/orders")
    assert (answer.status_code, answer.headers["location"]) == (303, "/admin/orders?payment=paid")
    assert "Paid ones" not in await helper.get("/admin/orders")
    await saved(boss, act="plain", **view)
    assert (await boss.http.get("/admin/orders")).status_code == 200
    await saved(boss, act="drop", **view)
    assert "Paid ones" not in await boss.get("/admin/orders?view=all")
    await saved(helper, 403, act="save", **{**view, "list": "staff"})
    await saved(boss, 404, act="save", **{**view, "list": "nothing"})
    await saved(boss, 422, act="save", **{**view, "query": "payment=no"})


# -- exports ----------------------------------------------------------------------------


async def exported(staff, **form):
    return await staff.http.post("/admin/lists/export", data={**form, "csrf": staff.csrf})


async def test_an_export_is_what_the_page_shows(what, staff):
    evil = await stocked.order(what, who=stocked.buyer("=cmd@example.com"))
    long = await stocked.order(what, who=stocked.buyer("13812345678901"))
    mark = await newest_audit()
    query = "payment=unpaid&sort=-placed&col=contact&col=total"
    page = await staff.get(f"/admin/orders?{query}")
    refs = re.findall(r'href="/admin/orders/(V\w+)"', page)
    answer = await exported(staff, list="orders", form="csv", query=query)
    assert answer.content.startswith(b"\xef\xbb\xbf")
    head, *rows = csv.reader(io.StringIO(answer.content.decode("utf-8-sig")))
    assert head == ["Order", "Contact", "Total", "Currency"]
    assert [row[0].split(" · ")[0] for row in rows] == refs
    contacts = {row[0]: row[1:] for row in rows}
    assert contacts[evil.ref] == ["'=cmd@example.com", "19.90", "CNY"]
    assert contacts[long.ref] == ["'13812345678901", "19.90", "CNY"]
    assert await audited(mark) == [("lists.exported", "list:orders")]

    answer = await exported(staff, list="orders", form="xlsx", query=query)
    sheet = python_calamine.load_workbook(io.BytesIO(answer.content)).get_sheet_by_index(0)
    cells = {row[0]: row[1:] for row in sheet.to_python()[1:]}
    assert cells[evil.ref] == ["=cmd@example.com", 19.9, "CNY"]
    assert cells[long.ref] == ["13812345678901", 19.9, "CNY"]
    answer = await exported(staff, list="orders", form="gb", query=query)
    assert answer.content.decode("gb18030").startswith("Order,")


async def test_a_file_carries_the_day_of_the_shop(what):
    want = await lists.wanted(LISTS["orders"], SCOPE, lists.read(LISTS["orders"], ""))
    with clock.use(lambda: datetime(2026, 11, 23, 16, 30, tzinfo=UTC)):
        name, _content = await runs.export_now(want, "csv", None)
    assert name == "orders-2026-11-24.csv"


async def test_no_export_holds_a_whole_code(what, staff):
    await sold(what)
    for name in NAMES:
        answer = await exported(staff, list=name, form="csv")
        assert answer.status_code == 200, name
        assert not [one for one in what.codes if one in answer.text], name


async def test_exports_need_their_right_and_that_of_the_list(what, sign_in):
    for role in rights.ROLES:
        staff = await sign_in(role)
        answer = await exported(staff, list="balances", form="csv")
        allowed = rights.may(role, "lists.export") and rights.may(role, "balance.read")
        assert answer.status_code == (200 if allowed else 403), role


async def test_a_large_export_is_a_job_with_its_file(what, staff):
    want = await lists.wanted(LISTS["orders"], SCOPE, lists.read(LISTS["orders"], "payment=paid"))
    await db.execute("UPDATE people_staff SET role = 'owner' WHERE id = 1")
    run_id = await runs.export_later(want, "csv", "en", None)
    job_id = await db.fetchval("SELECT job_id FROM lists_run WHERE id = $1", run_id)
    await db.execute("UPDATE jobs_job SET state = 'running', fence = 1 WHERE id = $1", job_id)
    await list_jobs.run({"run": run_id}, Lease(job_id, "lists.run", 1, 1, 30, False))
    row = await db.fetchrow("SELECT * FROM lists_run WHERE id = $1", run_id)
    assert row["state"] == "done" and row["file"].decode("utf-8-sig").count("\r\n") == row["total"] + 1
    assert await db.fetchval("SELECT progress ->> 'done' FROM jobs_job WHERE id = $1", job_id) is not None


# -- acts on many rows ------------------------------------------------------------------


async def bulk(staff, listing, act, **more):
    data = {"list": listing, "act": act, "csrf": staff.csrf, **more}
    answer = await staff.http.post("/admin/lists/bulk", data=data)
    return answer.headers.get("location", ""), answer.status_code


async def test_orders_are_counted_first_then_cancelled_one_by_one(what, staff):
    paid, unpaid = await sold(what), [await stocked.order(what) for _ in range(2)]
    ids = [str(one.order_id) for one in (paid, *unpaid)]
    where, _status = await bulk(staff, "orders", "cancel", ids=ids)
    page = await staff.get(where)
    assert {"Chosen": "3", "Can be done": "2", "Left alone": "1"}.items() <= report(page).items()
    assert "they are not unpaid any more" in words(page) and "Nothing was done yet" in words(page)
    assert [await stocked.states(one) for one in unpaid] == [("unpaid", "reserved")] * 2
    mark = await newest_audit()
    page = await staff.post(f"{where}/go")
    assert report(page) == {"Done": "2", "Left alone": "1", "Failed": "0"}
    assert [await stocked.states(one) for one in unpaid] == [("cancelled", "released")] * 2
    assert await stocked.states(paid) == ("paid", "delivered")
    assert [act for act, _object in await audited(mark)] == ["lists.act", "order.cancelled", "order.cancelled"]
    assert paid.ref in words(page)
    await staff.post(f"{where}/go", 409)
    answer = await staff.http.post(f"{where}/file", data={"csrf": staff.csrf})
    assert paid.ref in answer.text and unpaid[0].ref not in answer.text


async def test_all_that_match_are_fixed_when_they_are_counted(what, staff):
    await db.execute(
        "UPDATE orders_order SET payment_state = 'expired', fulfilment_state = 'released'"
        " WHERE payment_state = 'unpaid'"
    )
    one = await stocked.order(what)
    where, _status = await bulk(staff, "orders", "cancel", all="on", query="payment=unpaid")
    later = await stocked.order(what)
    assert report(await staff.get(where))["Chosen"] == "1"
    await staff.post(f"{where}/go")
    assert await stocked.states(one) == ("cancelled", "released")
    assert await stocked.states(later) == ("unpaid", "reserved")


async def test_prices_are_shown_before_they_change(staff):
    what = await stocked.sku(1, price=1000)
    product = await db.fetchval("SELECT product_id FROM catalog_sku WHERE id = $1", what.id)
    where, _status = await bulk(staff, "products", "price", ids=str(product))
    assert "Write a percentage" in words(await staff.get(f"{where}?percent=zero"))
    nothing = words(await staff.get(f"{where}?percent=-99.999"))
    assert f"The price of {what.code} would be nothing." in nothing and "Do it to" not in nothing
    assert "would be nothing" in words(await staff.post(f"{where}/go", 422, field_percent="-99.999"))
    assert "CN¥10.00 CN¥8.88" in words(await staff.get(f"{where}?percent=-11.25"))
    price = "SELECT price FROM catalog_sku WHERE id = $1"
    assert await db.fetchval(price, what.id) == 1000
    await staff.post(f"{where}/go", 422)
    await staff.post(f"{where}/go", field_percent="-11.25")
    assert await db.fetchval(price, what.id) == 888


async def test_each_row_is_done_once_even_by_two_at_once(staff):
    skus = [await stocked.sku(1, price=1000) for _ in range(5)]
    of_product = "SELECT product_id FROM catalog_sku WHERE id = ANY($1)"
    products = [str(row["product_id"]) for row in await db.fetch(of_product, [one.id for one in skus])]
    where, _status = await bulk(staff, "products", "price", ids=products)
    run_id = int(where.rpartition("/")[2])
    await db.execute("UPDATE lists_run SET state = 'running', fields = '{\"percent\": \"-10\"}' WHERE id = $1", run_id)
    run = await runs.load(run_id)
    await asyncio.gather(*(runs.carry_out(run) for _ in range(4)))
    prices = await db.fetch("SELECT price FROM catalog_sku WHERE id = ANY($1)", [one.id for one in skus])
    assert [row["price"] for row in prices] == [900] * 5
    assert await runs.report(run_id) == {"done": 5, "skipped": 0, "failed": 0}


async def test_what_was_stopped_goes_on_from_its_page_and_does_no_row_twice(staff):
    skus = [await stocked.sku(1, price=1000) for _ in range(5)]
    ids = [one.id for one in skus]
    of_product = "SELECT product_id FROM catalog_sku WHERE id = ANY($1) ORDER BY id"
    products = [str(row["product_id"]) for row in await db.fetch(of_product, ids)]
    where, _status = await bulk(staff, "products", "price", ids=products)
    run_id = int(where.rpartition("/")[2])
    await db.execute("UPDATE lists_run SET state = 'running', fields = '{\"percent\": \"-10\"}' WHERE id = $1", run_id)
    run = await runs.load(run_id)

    async def stop_after_two(done, _total):
        if done == 2:
            raise Cancelled

    with pytest.raises(Cancelled):
        await runs.carry_out(run, stop_after_two)
    over_it = run.row["keys"][2]
    await db.execute(runs.BEGIN, run_id, str(over_it), "the worker died over it", "look")
    page = await staff.get(where)
    assert "Go on with the 2 rows that are left" in words(page) and report(page)["Not reached"] == "2"
    mark = await newest_audit()
    await staff.post(f"{where}/on")
    assert (await audited(mark))[0] == ("lists.went_on", "list:products")
    await staff.post(f"{where}/on", 409)
    await staff.post(f"{where}/cancel")
    assert "It was stopped." in words(await staff.get(where))
    await staff.post(f"{where}/on")
    job_id = await db.fetchval("SELECT job_id FROM lists_run WHERE id = $1", run_id)
    await db.execute("UPDATE jobs_job SET state = 'running', fence = 1 WHERE id = $1 AND state = 'queued'", job_id)
    await list_jobs.run({"run": run_id}, Lease(job_id, "lists.run", 1, 1, 30, False))
    prices = "SELECT product_id, price FROM catalog_sku WHERE id = ANY($1) ORDER BY product_id"
    expected = {int(one): 1000 if int(one) == over_it else 900 for one in products}
    assert {row["product_id"]: row["price"] for row in await db.fetch(prices, ids)} == expected
    assert report(await staff.get(where)) == {"Done": "4", "Left alone": "0", "Failed": "1"}
    await staff.post(f"{where}/on", 409)

    # without the note of what was begun, the same would be done twice
    await db.execute("DELETE FROM lists_result WHERE run_id = $1", run_id)
    await runs.carry_out(await runs.load(run_id))
    assert {row["price"] for row in await db.fetch(prices, ids)} == {810, 900}


async def test_an_act_that_asks_who_one_is_waits_for_the_answer(staff):
    sku = await stocked.sku(3)
    await staff.post("/admin/stock/aside", 200, reason="leaked", codes="\n".join(sku.codes[:2]))
    rows = await db.fetch("SELECT id FROM vault_code WHERE sku_id = $1 AND state = 'quarantined'", sku.id)
    good, bad = [str(row["id"]) for row in rows]
    await db.execute("UPDATE people_session SET confirmed_at = NULL")
    where, _status = await bulk(staff, "aside", "back", ids=good)
    assert report(await staff.post(f"{where}/go"))["Done"] == "1"
    where, _status = await bulk(staff, "aside", "off", ids=bad)
    assert "confirm that it is you" in words(await staff.post(f"{where}/go", 403))
    assert await stocked.codes_by_state(sku) == {"free": 2, "quarantined": 1}
    await db.execute("UPDATE people_session SET confirmed_at = now()")
    assert report(await staff.post(f"{where}/go")) == {"Done": "1", "Left alone": "0", "Failed": "0"}
    assert await stocked.codes_by_state(sku) == {"free": 2, "void": 1}


@pytest.mark.parametrize("ids", ["²", "٣", "9" * 40, "-1"])
async def test_what_is_no_number_chooses_nothing(staff, ids):
    assert await bulk(staff, "orders", "cancel", ids=ids) == ("/admin/orders?view=all", 303)


async def test_other_acts_reach_their_services(staff):
    what = await stocked.sku(2)
    product = str(await db.fetchval("SELECT product_id FROM catalog_sku WHERE id = $1", what.id))
    category = await db.fetchval(
        "INSERT INTO catalog_category (shop_id, slug, title) VALUES (1, 'many', '{\"en\": \"M\"}') RETURNING id"
    )
    batch = str(await db.fetchval("SELECT id FROM vault_batch WHERE sku_id = $1", what.id))
    job = str(
        await db.fetchval("INSERT INTO jobs_job (name, state, finished_at) VALUES ('x', 'failed', now()) RETURNING id")
    )
    item = str(
        await db.fetchval(
            "INSERT INTO review_item (shop_id, kind, key, reason) VALUES (1, 'by_hand', 'many', 'x') RETURNING id"
        )
    )
    for listing, act, key, fields, look in (
        ("products", "unlist", product, {}, "SELECT state = 'draft' FROM catalog_product WHERE id = $1"),
        ("products", "list", product, {}, "SELECT state = 'listed' FROM catalog_product WHERE id = $1"),
        (
            "products",
            "move",
            product,
            {"category": str(category)},
            "SELECT category_id IS NOT NULL FROM catalog_product WHERE id = $1",
        ),
        (
            "batches",
            "hold",
            batch,
            {"reason": "bad lot"},
            "SELECT bool_and(state = 'quarantined') FROM vault_code WHERE batch_id = $1",
        ),
        ("jobs", "retry", job, {}, "SELECT state = 'queued' FROM jobs_job WHERE id = $1"),
        ("review", "claim", item, {}, "SELECT claimed_by IS NOT NULL FROM review_item WHERE id = $1"),
    ):
        where, _status = await bulk(staff, listing, act, ids=key)
        page = await staff.post(f"{where}/go", **{f"field_{name}": value for name, value in fields.items()})
        assert report(page) == {"Done": "1", "Left alone": "0", "Failed": "0"}, act
        assert await db.fetchval(look, int(key)) is True, act


async def test_acts_need_the_right_of_the_single_act(what, sign_in):
    order = await stocked.order(what)
    for role in rights.ROLES:
        if not rights.may(role, "orders.read"):
            continue
        staff = await sign_in(role)
        _where, status = await bulk(staff, "orders", "cancel", ids=str(order.order_id))
        assert status == (303 if rights.may(role, "orders.cancel") else 403), role
    boss, helper = await sign_in("owner"), await sign_in("support")
    where, _status = await bulk(boss, "orders", "cancel", ids=str(order.order_id))
    await helper.get(where, 404)
    await helper.post(f"{where}/go", 404)
    assert await stocked.states(order) == ("unpaid", "reserved")


async def test_a_right_that_is_taken_away_stops_what_was_asked_for(what, sign_in):
    helper = await sign_in("support")
    order = await stocked.order(what)
    where, _status = await bulk(helper, "orders", "cancel", ids=str(order.order_id))
    await db.execute("UPDATE people_staff SET role = 'readonly' WHERE email = 'support@example.com'")
    answer = await helper.http.post(f"{where}/go", data={"csrf": helper.csrf})
    assert answer.status_code == 409
    assert await stocked.states(order) == ("unpaid", "reserved")
    await db.execute("UPDATE people_staff SET role = 'support' WHERE email = 'support@example.com'")


# -- the search over everything ---------------------------------------------------------


async def test_the_search_finds_only_what_one_may_see(what, sign_in):
    placed = await sold(what)
    for role in rights.ROLES:
        staff = await sign_in(role)
        for q, right, link in (
            (placed.ref, "orders.read", f"/admin/orders/{placed.ref}"),
            (what.code, "products.read", "/admin/products/"),
            ("owner@example", "staff.manage", "/admin/staff/"),
            ("audit", "audit.read", '"/admin/audit"'),
        ):
            page = await staff.http.post(
                "/admin/search", data={"q": q, "csrf": staff.csrf}, headers={"hx-request": "true"}
            )
            assert (link in page.text) is rights.may(role, right), (role, q)
    boss = await sign_in("owner")
    assert f"/admin/orders/{placed.ref}" in await boss.get(f"/admin/search?q={placed.attempt_ref}")


# -- plans ------------------------------------------------------------------------------


ON_BIG = ("orders", "payments", "messages", "audit", "stock", "batches", "purchases", "products", "review")
BIG = {"orders_order", "orders_line", "payments_attempt", "messages_message", "vault_code", "audit_entry"}


@pytest.fixture(scope="module")
async def filled(address, what):
    """Enough rows that reading a whole table would be the dear way."""
    await seed(Size(orders=3_000, products=300, codes=6_000))


def tables_read_whole(plan) -> set[str]:
    found = {plan["Relation Name"]} if plan["Node Type"] == "Seq Scan" else set()
    return found.union(*(tables_read_whole(one) for one in plan.get("Plans", [])))


async def test_no_list_reads_a_big_table_whole(filled):
    asked = ("", "q=VBIG777", "q=b31@example.com")
    for listing, query in itertools.product((LISTS[name] for name in ON_BIG), asked):
        want = await lists.wanted(listing, SCOPE, lists.read(listing, query))
        text, values = want.keys_statement(51)
        plan = await db.fetchval(f"EXPLAIN (FORMAT JSON) {text}", *values)
        assert not tables_read_whole(plan[0]["Plan"]) & BIG, (listing.name, query)
        keys = await want.keys(50)
        sql = lists.Sql(SCOPE)
        text = sql.text(listing.rows, keys=keys)
        plan = await db.fetchval(f"EXPLAIN (FORMAT JSON) {text}", *sql.values)
        assert not tables_read_whole(plan[0]["Plan"]) & BIG, (listing.name, query)


async def test_payments_of_one_method_and_the_methods_there_are_come_by_index(filled):
    want = await lists.wanted(LISTS["payments"], SCOPE, lists.read(LISTS["payments"], "method=rare"))
    text, values = want.keys_statement(51)
    for asked, given in ((METHODS, ()), (text, values)):
        plan = await db.fetchval(f"EXPLAIN (FORMAT JSON) {asked}", *given)
        assert "payments_attempt_listed" in str(plan) and not tables_read_whole(plan[0]["Plan"]) & BIG
    assert set(await used_methods()) == {row["method"] for row in await db.fetch("SELECT method FROM payments_attempt")}
