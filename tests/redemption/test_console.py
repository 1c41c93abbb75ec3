"""Own codes, the till, its log and API keys in the console, over HTTP, as a browser without JavaScript."""

import html
import re

import pytest

from core import db
from core.people import api_keys
from core.redemption import issue
from core.vault import own_code
from core.web import limits
from tests import console, stocked
from tests.console import audited, everything, newest_audit, words
from tests.redemption.own import a_code, own_batch, texts, voucher
from tests.windows import one_window


@pytest.fixture(scope="module")
async def address(database, redis_url, tmp_path_factory):
    async with console.running(database, redis_url, tmp_path_factory.mktemp("home")) as address:
        yield address


@pytest.fixture
async def staff(address):
    await db.execute("DELETE FROM web_limit")
    async with console.signed_in(address) as staff:
        yield staff


def hidden(page, action):
    """The fields of the form that goes to ``action``, as the page filled them in."""
    form = re.search(rf'<form[^>]* action="{action}"[^>]*>(.*?)</form>', page, re.DOTALL)
    assert form, page
    found = re.findall(r'<input[^>]* name="([^"]+)"[^>]* value="([^"]*)"', form[1])
    return {name: html.unescape(value) for name, value in found if name != "csrf"}


async def look(staff, code, status=200, **more):
    return await staff.post("/admin/redeem/look", status=status, code=code, **more)


# -- the till ---------------------------------------------------------------------------


async def test_looking_and_redeeming_at_the_till(staff):
    code = await a_code(prefix="GIFT")
    page = await look(staff, code.lower(), place="Counter 2")
    assert "This code is good" in words(page) and "Redeem now" in words(page)
    form = hidden(page, "/admin/redeem")
    done = await staff.post("/admin/redeem", **form)
    assert "Redeemed" in words(done) and "Redeem now" not in words(done)
    assert code not in done
    assert await voucher(code) == {
        "balance": 0,
        "first_used_place": "Counter 2",
        "void_reason": None,
        "state": "staged",
    }
    # the same form again, after a lost answer or a nervous thumb
    assert "Redeemed" in words(await staff.post("/admin/redeem", **form))
    page = words(await look(staff, code))
    assert "This code was used up" in page and "Counter 2" in page and "First used" in page
    assert "Redeem now" not in page


async def test_the_till_remembers_where_it_is(staff):
    await look(staff, own_code.new_body(), place="Branch West")
    page = await staff.get("/admin/redeem")
    assert hidden(page, "/admin/redeem/look")["place"] == "Branch West"


async def test_a_value_card_at_the_till(staff):
    code = await a_code(face_value=5000)
    page = await look(staff, code)
    form = hidden(page, "/admin/redeem")
    assert form["amount"] == "50.00"
    done = words(await staff.post("/admin/redeem", **{**form, "amount": "12.30"}))
    assert "CN¥12.30 redeemed" in done and "CN¥37.70 of CN¥50.00" in done
    page = await look(staff, code)
    form = hidden(page, "/admin/redeem")
    assert form["amount"] == "37.70"
    for amount in ("", "0", "-1", "1.234", "x"):
        answer = await staff.post("/admin/redeem", status=303 if amount == "" else 422, **{**form, "amount": amount})
        assert "redeemed" not in words(answer).replace("What was redeemed", ""), amount
    assert (await voucher(code))["balance"] == 3770
    page = await look(staff, code)
    much = await staff.post("/admin/redeem", **{**hidden(page, "/admin/redeem"), "amount": "37.71"})
    assert "There is less on this card" in words(much)
    assert (await voucher(code))["balance"] == 3770


async def test_the_till_tells_bad_codes_apart(staff):
    code = await a_code()
    wrong = code[:-1] + ("2" if code[-1] != "2" else "3")
    assert "mistyped" in words(await look(staff, wrong, status=422))
    assert "no such code" in words(await look(staff, own_code.new_body()))
    assert "not sold yet" in words(await look(staff, await a_code(on_paper=False)))
    page = await look(staff, '<script>alert("x")</script>', status=422)
    assert "<script>alert" not in page


async def test_voiding_at_the_till(staff):
    code = await a_code()
    page = await look(staff, code)
    form = hidden(page, "/admin/redeem/void")
    after = await newest_audit()
    await staff.post("/admin/redeem/void", status=422, **{**form, "reason": ""})
    assert (await voucher(code))["void_reason"] is None
    assert "This code is void now" in words(await staff.post("/admin/redeem/void", **{**form, "reason": "stolen"}))
    assert (await voucher(code))["void_reason"] == "stolen"
    assert [act for act, _object in await audited(after)] == ["code.voided"]
    assert "stolen" in words(await look(staff, code))


async def test_a_request_id_of_another_form_is_refused(staff):
    one, other = await texts(await own_batch(2))
    form = hidden(await look(staff, one), "/admin/redeem")
    await staff.post("/admin/redeem", **form)
    await staff.post("/admin/redeem", status=409, **{**form, "code": other})
    assert (await voucher(other))["balance"] == 1


async def test_without_the_count_the_till_refuses(staff):
    code = await a_code()
    form = hidden(await look(staff, code), "/admin/redeem")
    await db.execute("ALTER TABLE web_limit RENAME TO web_limit_away")
    try:
        await staff.post("/admin/redeem", status=503, **form)
        await look(staff, code, status=503)
    finally:
        await db.execute("ALTER TABLE web_limit_away RENAME TO web_limit")
    assert (await voucher(code))["balance"] == 1


async def test_guessing_at_the_till_is_stopped(staff):
    with one_window():
        for _ in range(limits.LIMITS["code-misses"].hits):
            await look(staff, own_code.new_body())
        await look(staff, own_code.new_body(), status=429)


async def test_only_the_till_may_use_the_camera(staff):
    till = await staff.http.get("/admin/redeem")
    assert till.headers["permissions-policy"] == "camera=(self)"
    other = await staff.http.get("/admin/redemptions")
    assert "camera=()" in other.headers["permissions-policy"]


async def test_the_log_tells_who_did_what_where(staff):
    code = await a_code(face_value=900)
    form = hidden(await look(staff, code, place="Kiosk"), "/admin/redeem")
    await staff.post("/admin/redeem", **{**form, "amount": "4"})
    page = await staff.get("/admin/redemptions?act=redeem&outcome=ok")
    assert code not in page and code[-4:] in page
    row = words(page[page.index("<tbody>") :])
    assert "Kiosk" in row and "CN¥4.00" in row and "owner@example.com" in row
    assert "Nothing fits" in words(await staff.get("/admin/redemptions?act=redeem&until=2020-01-01"))


# -- batches and sheets -----------------------------------------------------------------


async def order(staff, what, status=303, **facts):
    form = {"sku": what.code, "name": "Winter", "count": "12", "use": "paper", "group": "5", **facts}
    return await staff.post("/admin/own-codes", status=status, **form)


async def finish():
    batch_id = await db.fetchval("SELECT max(batch_id) FROM redemption_batch")
    while not (await db.transaction(issue.make_piece, batch_id)).over:
        pass
    return batch_id


async def test_ordering_a_batch_and_printing_it(staff):
    what = await stocked.sku(0)
    after = await newest_audit()
    page = await order(staff, what, prefix="snow", face_value="25", expires_on="2031-12-31", note="for the market")
    assert "Making codes" in words(page)
    batch_id = await finish()
    page = words(await staff.get(f"/admin/own-codes/{batch_id}"))
    assert "Codes made 12" in page and "CN¥300.00" in page and "Dec 31, 2031" in page
    answer = await staff.http.post(
        f"/admin/own-codes/{batch_id}/sheet",
        data={"csrf": staff.csrf, "first": "3", "count": "4", "reason": "market stall"},
    )
    assert answer.status_code == 200, words(answer.text)
    assert answer.headers["cache-control"] == "no-store"
    made = await texts(batch_id)
    assert re.findall(r'class="code">([^<]+)<', answer.text) == made[2:6]
    assert all(re.fullmatch(r"SNOW(-[0-9A-Z]{5}){4}", text) for text in made)
    assert answer.text.count("<svg") == 4
    assert "style=" not in answer.text and "<style" not in answer.text
    acts = await audited(after)
    assert acts == [("codes.generated", f"batch:{batch_id}"), ("codes.printed", f"batch:{batch_id}")]
    detail = await db.fetchval("SELECT detail FROM audit_entry WHERE act = 'codes.printed' ORDER BY id DESC LIMIT 1")
    assert detail == {"reason": "market stall", "codes": 4, "from": 3, "to": 6}
    assert await db.fetchval("SELECT count(*) FROM vault_reveal WHERE staff_id IS NOT NULL") == 4


async def test_a_sheet_needs_a_reason_and_a_batch_for_paper(staff):
    batch_id, for_sale = await own_batch(2), await own_batch(2, on_paper=False)
    before = await everything()
    sheet = f"/admin/own-codes/{batch_id}/sheet"
    await staff.post(sheet, status=422, first="1", count="2", reason=" ")
    await staff.post(sheet, status=422, first="1", count="500", reason="x")
    page = await staff.post(sheet, status=422, first="9", count="2", reason="x")
    assert "There are no codes for paper with these numbers." in words(page)
    await staff.post(f"/admin/own-codes/{for_sale}/sheet", status=422, first="1", count="2", reason="x")
    await staff.post("/admin/own-codes/999999/sheet", status=404, first="1", count="2", reason="x")
    assert await everything() == before


async def test_a_sheet_asks_for_the_password_when_it_was_given_long_ago(staff):
    batch_id = await own_batch(2)
    await db.execute("UPDATE people_session SET confirmed_at = now() - interval '3 hours'")
    before = await newest_audit()
    form = {"csrf": staff.csrf, "first": "1", "count": "2", "reason": "x"}
    answer = await staff.http.post(f"/admin/own-codes/{batch_id}/sheet", data=form)
    assert answer.status_code == 403
    assert not any(text in answer.text for text in await texts(batch_id))
    assert await audited(before) == []


@pytest.mark.parametrize(
    ("facts", "field"),
    [
        ({"count": "0"}, "count"),
        ({"count": "1000001"}, "count"),
        ({"prefix": "TOO-LONG!"}, "prefix"),
        ({"prefix": "GESCHENK9"}, "prefix"),
        ({"face_value": "0"}, "face_value"),
        ({"face_value": "1.234"}, "face_value"),
        ({"expires_on": "2020-01-01"}, "expires_on"),
        ({"expires_on": "soon"}, "expires_on"),
        ({"group": "3"}, "group"),
        ({"use": "both"}, "use"),
        ({"sku": "NO-SUCH"}, "sku"),
        ({"name": ""}, "name"),
    ],
)
async def test_a_batch_that_cannot_be_is_not_ordered(staff, facts, field):
    what = await stocked.sku(0)
    before = await everything()
    page = await order(staff, what, status=422, **facts)
    assert "field-error" in page or "field-wrong" in page, field
    assert await everything() == before


async def test_codes_for_sale_are_sold_like_any_other(staff):
    what = await stocked.sku(0)
    await order(staff, what, use="sale", count="3")
    batch_id = await finish()
    assert await stocked.codes_by_state(what) == {"free": 3}
    assert "Print a sheet" not in words(await staff.get(f"/admin/own-codes/{batch_id}"))
    assert "Winter" in words(await staff.get("/admin/own-codes"))
    assert words(await staff.get("/admin/stock/batches")).count("Winter") >= 1


# -- keys -------------------------------------------------------------------------------


async def test_a_key_is_shown_once_and_can_be_withdrawn(staff):
    answer = await staff.http.post(
        "/admin/api-keys", data={"csrf": staff.csrf, "name": "Till 9", "scopes": ["codes.verify", "codes.redeem"]}
    )
    assert answer.status_code == 200, words(answer.text)
    token = re.search(r'id="new-key">([^<]+)<', answer.text)[1]
    key = await api_keys.load(token)
    assert (key.name, key.scopes) == ("Till 9", {"codes.verify", "codes.redeem"})
    page = await staff.get("/admin/api-keys")
    assert token not in page and f"vs_••••{token[-4:]}" in page
    await staff.post(f"/admin/api-keys/{key.id}/revoke")
    assert await api_keys.load(token) is None
    await staff.post(f"/admin/api-keys/{key.id}/revoke", status=409)


async def test_a_key_for_nothing_or_for_the_unknown_is_not_made(staff):
    before = await everything()
    for form in ({"name": "x"}, {"name": "x", "scopes": "everything"}, {"name": "", "scopes": "codes.void"}):
        await staff.post("/admin/api-keys", status=422, **form)
    assert await everything() == before
