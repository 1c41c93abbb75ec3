"""Staff look at codes: with a reason, within a daily cap held by the database, seen by the buyer and the audit log."""

from __future__ import annotations

import asyncio
import itertools
import re
from collections.abc import AsyncIterator
from datetime import timedelta

import httpx
import pytest

from core import clock, db
from core.refused import Refused
from core.vault import burn, staff_reveal
from core.vault.staff_reveal import Onlooker
from tests import console, stocked
from tests.console import everything, words
from tests.vault.test_burn import Sold, sold

REASON = "the buyer says it does not work"
_numbers = itertools.count(1)


@pytest.fixture(scope="module")
async def address(
    database: str, redis_url: str, tmp_path_factory: pytest.TempPathFactory, master_key: object
) -> AsyncIterator[str]:
    async with console.running(database, redis_url, tmp_path_factory.mktemp("home")) as address:
        yield address


@pytest.fixture
async def who(address: str) -> Onlooker:
    return await somebody()


async def somebody(most: int = 5) -> Onlooker:
    staff_id = await db.fetchval(
        "INSERT INTO people_staff (shop_id, email, role) VALUES (1, $1, 'manager') RETURNING id",
        f"onlooker{next(_numbers)}@example.com",
    )
    return Onlooker(1, staff_id, most, "127.0.0.1", "test")


async def looks(who: Onlooker) -> tuple[int, int]:
    """Codes counted for the day, and looks written down."""
    day = await db.fetchval("SELECT coalesce(sum(codes), 0) FROM vault_staff_day WHERE staff_id = $1", who.staff_id)
    return int(day), await db.fetchval("SELECT count(*) FROM vault_reveal WHERE staff_id = $1", who.staff_id)


async def alarms_of(who: Onlooker) -> list[dict[str, object]]:
    rows = await db.fetch("SELECT detail FROM audit_alarm WHERE subject = $1 ORDER BY id", f"staff:{who.staff_id}")
    return [row["detail"] for row in rows]


async def test_a_look_is_written_down_three_times(who):
    one = await sold(2)
    codes = await staff_reveal.look(who, one.ref, f"  {REASON}\n ")
    assert sorted(code.text for code in codes) == one.codes
    assert await looks(who) == (2, 2)
    event = await db.fetchrow("SELECT * FROM orders_event WHERE order_id = $1 ORDER BY id DESC LIMIT 1", one.order_id)
    assert (event["kind"], event["actor"]) == ("staff_revealed", f"staff:{who.staff_id}")
    assert event["data"] == {"codes": 2, "reason": REASON}
    entry = await db.fetchrow(
        "SELECT * FROM audit_entry WHERE object = $1 ORDER BY id DESC LIMIT 1", f"order:{one.ref}"
    )
    assert (entry["act"], entry["actor"]) == ("codes.revealed", f"staff:{who.staff_id}")
    assert (entry["detail"]["codes"], entry["detail"]["reason"]) == (2, REASON)
    assert not any(code in str(entry["detail"]) for code in one.codes)


async def test_one_code_of_many(who):
    one = await sold(3)
    first = (await one.rows())[0]
    (code,) = await staff_reveal.look(who, one.ref, REASON, first["id"])
    assert (code.code_id, code.mask) == (first["id"], first["mask"])
    assert await looks(who) == (1, 1)


@pytest.mark.parametrize("reason", ["", "   ", "abc", " a  b "])
async def test_no_reason_no_code(who, reason):
    one = await sold()
    before = await everything()
    with pytest.raises(Refused, match="why"):
        await staff_reveal.look(who, one.ref, reason)
    assert await everything() == before


async def test_nothing_to_show(who):
    one, other = await sold(), await sold()
    foreign = (await other.rows())[0]["id"]
    before = await everything()
    for shop_id, ref, code_id in ((1, "VNOSUCH", None), (1, one.ref, foreign), (2, one.ref, None)):
        with pytest.raises(Refused, match="There is no code to show"):
            await staff_reveal.look(Onlooker(shop_id, who.staff_id, 5), ref, REASON, code_id)
    assert await everything() == before


async def test_what_was_burned_is_shown_to_nobody(who):
    one = await sold(2)
    await one.show()
    burned = (await one.rows())[0]
    await db.execute("UPDATE vault_code SET blob = NULL, burned_at = now() WHERE id = $1", burned["id"])
    (left,) = await staff_reveal.look(who, one.ref, REASON)
    assert left.code_id != burned["id"]
    assert await looks(who) == (1, 1)
    with pytest.raises(Refused, match="Erased for good"):
        await staff_reveal.look(who, one.ref, REASON, burned["id"])
    assert await looks(who) == (1, 1)


async def test_what_is_past_its_window_is_not_shown_to_staff_either(who):
    one = await sold()
    await one.show()
    next_day = clock.now() + timedelta(hours=24, seconds=1)
    with clock.use(lambda: next_day), pytest.raises(Refused, match="Erased for good"):
        await staff_reveal.look(who, one.ref, REASON)
    assert await looks(who) == (0, 0)


async def test_a_look_does_not_begin_the_buyers_window(who):
    one = await sold()
    await staff_reveal.look(who, one.ref, REASON)
    assert [(row["shown_to"], row["burn_at"]) for row in await one.rows()] == [(None, None)]
    assert await one.show() == one.codes


async def test_over_the_cap_there_is_an_alarm_and_no_code(who):
    one = await sold(3)
    await staff_reveal.look(who, one.ref, REASON)
    for _ in range(3):
        with pytest.raises(Refused, match="5 codes in a day"):
            await staff_reveal.look(who, one.ref, REASON)
    assert await looks(who) == (3, 3)
    assert await alarms_of(who) == [{"order": one.ref, "seen_today": 3, "asked_for": 3}]
    await staff_reveal.look(who, one.ref, REASON, (await one.rows())[0]["id"])
    assert await looks(who) == (4, 4)
    assert await staff_reveal.left_today(who.staff_id, 5) == 1
    tomorrow = clock.now() + timedelta(days=1)
    with clock.use(lambda: tomorrow):
        assert await staff_reveal.left_today(who.staff_id, 5) == 5
        await staff_reveal.look(who, one.ref, REASON)
    assert await looks(who) == (7, 7)


async def at_once(who: Onlooker, one: Sold, times: int) -> int:
    async def try_it() -> int:
        try:
            return len(await staff_reveal.look(who, one.ref, REASON))
        except Refused:
            return 0

    return sum(await asyncio.gather(*(try_it() for _ in range(times))))


async def test_many_at_once_see_no_more_than_the_cap(who):
    one = await sold()
    assert await at_once(who, one, 20) == 5
    assert await looks(who) == (5, 5)
    assert len(await alarms_of(who)) == 1


async def test_the_control_counting_first_and_writing_later_goes_over_the_cap(who):
    today = clock.now().date()
    all_have_read = asyncio.Barrier(8)
    await db.execute("INSERT INTO vault_staff_day (staff_id, day, codes) VALUES ($1, $2, 4)", who.staff_id, today)

    async def careless(tx: db.Tx) -> int:
        seen = await tx.fetchval(
            "SELECT codes FROM vault_staff_day WHERE staff_id = $1 AND day = $2", who.staff_id, today
        )
        await all_have_read.wait()
        if seen + 1 > who.most_per_day:
            return 0
        await tx.execute("UPDATE vault_staff_day SET codes = codes + 1 WHERE staff_id = $1", who.staff_id)
        return 1

    assert sum(await asyncio.gather(*(db.transaction(careless) for _ in range(8)))) == 8


# -- over HTTP --------------------------------------------------------------------------


async def test_the_page_asks_for_the_password_again_and_shows_the_code_once(address):
    one = await sold()
    path = f"/admin/orders/{one.ref}/codes"
    async with console.signed_in(address, "manager") as staff:
        await db.execute("UPDATE people_session SET confirmed_at = now() - interval '1 hour' WHERE kind = 'staff'")
        before = await everything()
        asked = await staff.post(path, 403, reason=REASON)
        assert one.codes[0] not in asked
        assert 'name="proof_password"' in asked
        assert await everything() == before
        await db.execute("UPDATE people_session SET confirmed_at = now() WHERE kind = 'staff'")
        answer = await staff.http.post(path, data={"csrf": staff.csrf, "reason": REASON})
        assert answer.status_code == 200
        assert one.codes[0] in answer.text
        assert answer.headers["cache-control"] == "no-store"
        assert re.search(r'<vs-remask seconds="60" href="/admin/orders/V\w+">', answer.text)
        order = await staff.get(f"/admin/orders/{one.ref}")
        assert one.codes[0] not in order
        assert "Codes shown to staff" in words(order)
        assert REASON in words(order)


async def test_who_lacks_the_right_sees_neither_button_nor_code(address):
    one = await sold()
    async with console.signed_in(address, "support") as staff:
        assert "Look at a code" not in await staff.get(f"/admin/orders/{one.ref}")
        before = await everything()
        assert one.codes[0] not in await staff.post(f"/admin/orders/{one.ref}/codes", 403, reason=REASON)
        assert await everything() == before


async def test_the_buyer_sees_that_staff_looked(address, who):
    one = await sold()
    await staff_reveal.look(who, one.ref, REASON)
    page = await buyers_page(address, one)
    assert "The shop's staff looked at a code" in page
    assert REASON not in page


async def buyers_page(address: str, one: Sold) -> str:
    headers = {"accept-language": "en", "cookie": f"vs={one.cookie}"}
    async with httpx.AsyncClient(base_url=address, headers=headers) as http:
        answer = await http.get(f"/o/{one.ref}")
    assert answer.status_code == 200
    return words(answer.text)


async def test_what_goes_wrong_is_told_on_the_order(address):
    one = await sold()
    await one.show()
    await burn.burn_shown(one.ref, one.session)
    looked = await db.fetchval("SELECT count(*) FROM vault_reveal")
    async with console.signed_in(address, "manager") as staff:
        page = await staff.post(f"/admin/orders/{one.ref}/codes", reason=REASON)
        assert "Erased for good: nobody can show it any more." in words(page)
        assert "Look at a code" not in page
    assert await db.fetchval("SELECT count(*) FROM vault_reveal") == looked


async def test_the_settings_of_shop_and_sku_are_kept(address):
    async with console.signed_in(address, "manager") as staff:
        selling = {
            "reservation_minutes": "15",
            "open_orders_per_contact": "100",
            "open_orders_per_address": "100",
            "show_stock": "band",
            "burn_hours": "48",
            "staff_codes_per_day": "7",
        }
        page = await staff.post("/admin/settings/selling", **selling)
        assert 'name="burn_hours" type="number" value="48"' in page
        assert 'name="staff_codes_per_day" type="number" value="7"' in page
        kept = await db.fetchval("SELECT settings FROM shops_shop WHERE id = 1")
        assert (kept["burn_hours"], kept["staff_codes_per_day"]) == (48, 7)
        page = await staff.post("/admin/settings/selling", 422, **{**selling, "burn_hours": "9000"})
        assert (await db.fetchval("SELECT settings FROM shops_shop WHERE id = 1")) == kept
        what = await stocked.sku(0)
        row = await db.fetchrow("SELECT product_id, version FROM catalog_sku WHERE id = $1", what.id)
        path = f"/admin/products/{row['product_id']}/skus/{what.id}"
        form = {"code": what.code, "price": "19.90", "title_en": "One", "listed": "on"}
        page = await staff.post(path, **form, burn_hours="0", version=str(row["version"]))
        assert 'name="burn_hours" type="number" value="0"' in page
        assert await db.fetchval("SELECT burn_hours FROM catalog_sku WHERE id = $1", what.id) == 0
        await staff.post(path, **form, burn_hours="", version=str(row["version"] + 1))
        assert await db.fetchval("SELECT burn_hours FROM catalog_sku WHERE id = $1", what.id) is None
