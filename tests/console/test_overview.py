"""Numbers, lists, settings and the small pages: exact values for a seeded set of orders."""

import asyncio
import re

import pytest

from core import clock, db
from core.admin import demo
from core.audit import service as audit
from core.checkout.settle import settle
from core.hooks import runtime
from core.partners import accounts as partners
from core.shops import service as shops
from tests import stocked
from tests.console import audited, everything, newest_audit, words


@pytest.fixture
async def what(address, real):
    await db.execute(
        "ALTER TABLE ledger_entry DISABLE TRIGGER USER;"
        " TRUNCATE audit_alarm, ledger_entry, vault_code, orders_order CASCADE;"
        " ALTER TABLE ledger_entry ENABLE TRIGGER USER"
    )
    await db.execute("UPDATE shops_shop SET currency = 'CNY', timezone = 'Asia/Shanghai'")
    shops.forget()
    return await stocked.sku(20)


async def paid_at(what, when, seconds=2):
    placed = await stocked.order(what)
    await settle("epay", stocked.paid(placed), "callback")
    await db.execute(
        "UPDATE orders_order SET created_at = $2::timestamptz - interval '1 minute', paid_at = $2,"
        " delivered_at = $2::timestamptz + make_interval(secs => $3) WHERE id = $1",
        placed.order_id,
        when,
        seconds,
    )
    return placed


# -- lists ------------------------------------------------------------------------------


async def test_orders_are_filtered_and_turned_over(what, staff):
    paid, unpaid = await paid_at(what, clock.now()), await stocked.order(what)
    other = await stocked.sku(1)
    third = await stocked.order(other, who=stocked.buyer("Wang@example.com".lower()))

    async def shown(query):
        page = await staff.get(f"/admin/orders?{query}")
        return {placed.ref for placed in (paid, unpaid, third) if f'href="/admin/orders/{placed.ref}"' in page}

    assert await shown("") == {paid.ref, unpaid.ref, third.ref}
    assert await shown("payment=paid") == await shown("fulfilment=delivered") == {paid.ref}
    assert await shown(f"sku={other.code}") == await shown("q=WANG@example.com") == {third.ref}
    assert await shown(f"q={paid.ref.lower()}") == await shown(f"q={paid.attempt_ref}") == {paid.ref}
    assert await shown(f"q=G-{paid.attempt_ref}") == {paid.ref}
    assert await shown("q=%27%20OR%201=1--") == set()
    assert "Newer" not in words(await staff.get("/admin/orders"))
    for _ in range(10):
        await stocked.order(what)
    for _ in range(9):
        await stocked.order(await stocked.sku(1))
    assert await shown("size=20") == {third.ref} and await shown("size=20&page=2") == {paid.ref, unpaid.ref}
    assert await shown("size=20&page=3") == set()
    for wrong in ("size=7", "page=0", "page=x", "size=20&size=50", "payment=nothing", "sort=contact", "col=no"):
        assert (await staff.http.get(f"/admin/orders?{wrong}")).status_code in (400, 422)


async def test_payments_audit_alarms_and_review_show_what_is_there(what, staff):
    for path, empty in (
        ("/admin/payments", "No payments here"),
        ("/admin/review", "Nothing waits for you"),
        ("/admin/alarms", "No alarms"),
        ("/admin/audit?q=no.such_act", "Nothing fits these filters"),
    ):
        assert empty in words(await staff.get(path))
    placed = await stocked.order(what)
    await settle("epay", stocked.paid(placed, 5), "callback")
    page = words(await staff.get(f"/admin/payments?q={placed.ref.lower()}&state=paid&method=epay"))
    assert placed.attempt_ref in page and "CN¥0.05" in page
    assert placed.attempt_ref not in words(await staff.get("/admin/payments?state=failed"))
    assert f'href="/admin/orders/{placed.ref}"' in await staff.get("/admin/review")
    assert "Wrong amount" in words(await staff.get("/admin/alarms"))
    await staff.post(f"/admin/orders/{placed.ref}/deliver")
    await db.execute("UPDATE review_item SET state = 'open', reason = '<b>bold</b>'")
    assert "&lt;b&gt;bold&lt;/b&gt;" in await staff.get("/admin/review")
    await db.execute("UPDATE review_item SET state = 'done'")
    assert "Nothing waits for you" in words(await staff.get("/admin/review"))
    assert placed.ref in words(await staff.get("/admin/review?state=done"))
    for query in (placed.ref, "order.delivered_anyway"):
        assert "order.delivered_anyway" in words(await staff.get(f"/admin/audit?q={query}"))


async def test_the_list_of_payments_tells_what_came_beside_what_was_asked(what, staff):
    short, twice = await stocked.order(what), await stocked.order(what)
    await settle("epay", stocked.paid(short, 700), "callback")
    await settle("epay", stocked.paid(twice), "callback")
    await settle("epay", stocked.paid(twice, 300, "USD", event="again"), "callback")
    shown = {ref: words(await staff.get(f"/admin/payments?q={ref}")) for ref in (short.ref, twice.ref)}
    assert "CN¥19.90 CN¥7.00" in shown[short.ref]
    assert "Median time There now, by the books" in shown[short.ref]  # the balance of its account, not what it took
    assert "CN¥19.90 CN¥19.90" in shown[twice.ref] and "$3.00" in shown[twice.ref]


@pytest.mark.parametrize(
    ("language", "said"),
    [
        ("en", ("amount or currency differ", "Wrong amount", "asked: CN¥19.90", "came: CN¥0.05")),
        ("zh-CN", ("金额或货币不一致", "金额不对", "asked: ¥19.90", "came: ¥0.05")),
    ],
)
async def test_alarms_and_the_audit_log_speak_to_their_reader(what, sign_in, language, said):
    staff = await sign_in("owner", language)
    await settle("epay", stocked.paid(await stocked.order(what), 5), "callback")
    page = words(await staff.get("/admin/alarms"))
    assert [text for text in said if text not in page] == []
    assert "currency:" not in page
    odd = {"amount": 5, "currency": "five", "price": "x", "total_currency": 7, "cost": 250, "cost_currency": "USD"}
    row = "INSERT INTO audit_entry (shop_id, actor, act, object, detail) VALUES (1, 'system', 'odd.details', 'x', $1)"
    await db.execute(row, odd)
    page = words(await staff.get("/admin/audit?q=odd.details"))
    assert "amount: 5" in page and "currency: five" in page and "price: x" in page and "cost: " in page
    assert "2.50" in page and "cost_currency" not in page
    await staff.post("/admin/alarms/seen")


async def test_alarms_are_seen_once_and_by_whom(what, staff):
    for number in range(3):
        await db.transaction(audit.alarm, "payment.forged", "gateway:epay", f"no sign <{number}>")
    first = await db.fetchval("SELECT min(id) FROM audit_alarm")
    page = await staff.get("/admin/alarms")
    assert "no sign &lt;0&gt;" in page
    await staff.post(f"/admin/alarms/{first}/seen")
    assert await db.fetchval("SELECT count(*) FROM audit_alarm WHERE seen_at IS NULL") == 2
    seen = await db.fetchrow("SELECT seen_at, seen_by FROM audit_alarm WHERE id = $1", first)
    await staff.post("/admin/alarms/seen")
    assert await db.fetchval("SELECT count(*) FROM audit_alarm WHERE seen_at IS NULL") == 0
    assert await db.fetchrow("SELECT seen_at, seen_by FROM audit_alarm WHERE id = $1", first) == seen


# -- settings ---------------------------------------------------------------------------

SHOP = {"name": "Night shop", "currency": "CNY", "locale": "en", "timezone": "Europe/Berlin"}
SELLING = {
    "reservation_minutes": "20",
    "open_orders_per_contact": "5",
    "open_orders_per_address": "30",
    "show_stock": "exact",
}


async def test_settings_are_saved_and_written_down(what, staff):
    mark = await newest_audit()
    await staff.post("/admin/settings/shop", **SHOP, announcement_zh="你好", footer_en="Bye")
    await staff.post("/admin/settings/selling", **SELLING, mail_codes="on")
    shop = await shops.main_shop()
    assert (shop.name, shop.timezone, shop.theme) == ("Night shop", "Europe/Berlin", "market")
    assert (shop.settings.announcement, shop.settings.footer) == ({"zh-CN": "你好"}, {"en": "Bye"})
    sold = shop.settings
    assert (sold.reservation_minutes, sold.show_stock, sold.mail_codes) == (20, "exact", True)
    assert [act for act, _object in await audited(mark)] == ["shop.saved", "shop.selling_saved"]
    await staff.post("/admin/settings/selling", **SELLING)
    assert (await shops.main_shop()).settings.mail_codes is False


async def test_a_mistake_in_the_settings_changes_nothing_else_on_the_page(staff):
    wrong = {**SELLING, "burn_hours": "9000", "staff_codes_per_day": "7", "mail_codes": "on"}
    page = await staff.post("/admin/settings/selling", 422, **wrong)
    assert re.search(r'<input[^>]* name="mail_codes"[^>]* checked', page)
    assert re.search(r'name="staff_codes_per_day"[^>]* value="7"', page)


async def test_the_name_of_a_shop_is_one_line(what, staff):
    """It goes into the head of each mail, where a second line could be anything; mails would not go out at all."""
    before = await everything()
    await staff.post("/admin/settings/shop", 422, **{**SHOP, "name": "Shop\r\nBcc: all@example.com"})
    assert await everything() == before


async def test_an_owner_alone_says_above_what_it_takes_two(sign_in, staff):
    manager = await sign_in("manager")
    await staff.post("/admin/settings/selling", **SELLING, refund_limit="200")
    await manager.post("/admin/settings/selling", **{**SELLING, "show_stock": "band"}, refund_limit="200.00")
    for other in ("500", ""):
        page = await manager.post("/admin/settings/selling", 422, **SELLING, refund_limit=other)
        assert "Only an owner changes this" in words(page)
    shop = await shops.main_shop()
    assert (shop.settings.refund_limit, shop.settings.show_stock) == (20000, "band")
    await staff.post("/admin/settings/selling", **SELLING)
    assert (await shops.main_shop()).settings.refund_limit is None


@pytest.mark.parametrize(
    ("form", "mistake"),
    [
        ("shop", {"name": " "}),
        ("shop", {"name": "x" * 121}),
        ("shop", {"currency": "yuan"}),
        ("shop", {"currency": "USD"}),
        ("shop", {"locale": "fr"}),
        ("shop", {"timezone": "Mars/Base"}),
        ("shop", {"theme": "console"}),
        ("shop", {"theme": "../../etc"}),
        ("shop", {"theme": "nothing"}),
        ("selling", {"reservation_minutes": "0"}),
        ("selling", {"reservation_minutes": "1441"}),
        ("selling", {"open_orders_per_contact": "-1"}),
        ("selling", {"show_stock": "all"}),
        ("opening", {"test_mode": "maybe"}),
        ("opening", {}),
    ],
)
async def test_a_wrong_setting_changes_nothing(what, staff, form, mistake):
    before = await everything()
    typed = {"shop": {**SHOP, "support_contact": "kept"}, "selling": SELLING, "opening": {}}[form]
    page = await staff.post(f"/admin/settings/{form}", 422, **{**typed, **mistake})
    assert form != "shop" or 'value="kept"' in page
    assert await everything() == before


async def test_opening_the_shop_hides_the_test_payment(address, staff):
    await demo.seed()
    checkout = "/checkout?sku=DEMO-MUSIC-1M&quantity=1"

    async def offered(wanted):
        async with asyncio.timeout(10):
            while ('value="sandbox"' in await staff.get(checkout)) is not wanted:
                await runtime.current().refresh()
                await asyncio.sleep(0.05)

    await staff.post("/admin/settings/opening", test_mode="on")
    await offered(True)
    mark = await newest_audit()
    await staff.post("/admin/settings/opening", test_mode="off")
    await offered(False)
    assert await audited(mark) == [("shop.test_mode_off", "shop:1")]


async def test_test_mode_and_a_partner_s_price_ask_who_it_is(address, staff):
    """Either lets somebody have codes for nothing, as the settings and acts beside them do that ask."""
    await db.execute("UPDATE shops_shop SET test_mode = false WHERE id = 1")
    keys = await partners.make(1, "Northwind", 500, "", await stocked.staff_member())
    await db.execute("UPDATE people_session SET confirmed_at = NULL WHERE kind = 'staff'")
    await staff.post("/admin/settings/opening", 403, test_mode="on")
    await staff.post(f"/admin/partners/{keys.partner_id}", 403, discount="99.99", notify_url="")
    assert not await db.fetchval("SELECT test_mode FROM shops_shop WHERE id = 1")
    assert await db.fetchval("SELECT discount FROM partners_partner WHERE id = $1", keys.partner_id) == 500


async def test_the_demo_changes_currency_with_the_shop_and_goes_in_one_act(address, staff):
    await db.execute("TRUNCATE catalog_product, catalog_category, orders_order, vault_code, vault_batch CASCADE")
    await demo.seed()
    await staff.post("/admin/settings/shop", **{**SHOP, "currency": "USD"})
    assert await db.fetchval("SELECT array_agg(DISTINCT currency) FROM catalog_sku") == ["USD"]
    await staff.post("/admin/settings/shop", **SHOP)
    assert "Starlight Music membership" in words(await staff.get("/admin/demo"))
    mark = await newest_audit()
    await staff.post("/admin/demo/remove")
    left = await db.fetchrow(
        "SELECT (SELECT count(*) FROM catalog_product), (SELECT count(*) FROM catalog_sku),"
        " (SELECT count(*) FROM vault_code), (SELECT count(*) FROM vault_batch),"
        " (SELECT count(*) FROM catalog_category)"
    )
    assert tuple(left.values()) == (0, 0, 0, 0, 0)
    assert await audited(mark) == [("demo.removed", "shop")]
    await staff.post("/admin/demo/add")
    assert await db.fetchval("SELECT count(*) FROM catalog_product WHERE demo") == 3
