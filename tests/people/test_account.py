"""One's own account: recovery codes, and the places where one is signed in."""

import re
from html import unescape

import pyotp
import pytest

from core import clock, db
from core.people import passwords, recovery

from .conftest import Browser, browser_at

CODE = re.compile(r"<code>((?:[0-9A-Z]{4}-){3}[0-9A-Z]{4})</code>")


@pytest.fixture
async def codes(boss: int, browser: Browser) -> list[str]:
    """The owner has switched two-step sign-in on; these are the codes that were shown."""
    await browser.sign_in()
    secret = unescape(re.search(r"<code>([A-Z2-7]{32})</code>", await browser.get("/admin/account"))[1])
    totp = pyotp.TOTP(secret).at(clock.now())
    return CODE.findall(await browser.post("/admin/account/second-factor", 200, totp=totp))


async def left() -> int:
    return await db.fetchval("SELECT count(*) FROM people_recovery_code WHERE used_at IS NULL")


async def leave(browser: Browser) -> None:
    await browser.post("/admin/sign-out")
    browser.http.cookies.clear()


# -- recovery codes ---------------------------------------------------------------------


async def test_ten_codes_are_shown_once_and_stored_hashed(codes, browser):
    assert (len(codes), len(set(codes)), await left()) == (10, 10, 10)
    page = await browser.get("/admin/account")
    assert "10 recovery codes are left" in page
    stored = str(await db.fetch("SELECT to_jsonb(c)::text AS row FROM people_recovery_code c"))
    for code in codes:
        assert code not in page
        assert code not in stored and code.replace("-", "") not in stored


async def test_a_code_lets_in_once_in_the_place_of_the_phone(codes, browser):
    await leave(browser)
    assert "recovery" in await browser.sign_in(422)
    await browser.sign_in(recovery=codes[3].lower().replace("-", " "))
    assert await browser.signed_in()
    assert await left() == 9
    assert await db.fetchval("SELECT count(*) FROM audit_entry WHERE act = 'staff.recovery_code_used'") == 1
    await leave(browser)
    await browser.sign_in(422, recovery=codes[3])
    await browser.sign_in(422, recovery="0000-0000-0000-0000")
    await browser.sign_in(422, recovery=codes[4], password="wrong")
    assert not await browser.signed_in()
    assert await left() == 9


async def test_somebody_else_s_code_does_not_fit(codes, boss, other):
    await db.execute(
        "INSERT INTO people_staff (shop_id, email, role, password_hash, totp_secret)"
        " SELECT 1, 'help@example.com', 'support', password_hash, totp_secret FROM people_staff WHERE id = $1",
        boss,
    )
    await other.sign_in(422, email="help@example.com", recovery=codes[0])
    assert not await other.signed_in()
    assert await left() == 10


async def test_new_codes_end_the_former_and_ask_who_it_is(codes, browser):
    await db.execute("UPDATE people_session SET confirmed_at = now() - interval '1 hour'")
    page = await browser.post("/admin/account/recovery-codes", 403)
    held = page.split('name="proof_held" value="')[1].split('"')[0]
    proof = {"proof_held": held, "proof_password": "seven quiet otters 41", "proof_totp": codes[0]}
    newer = CODE.findall(await browser.post("/admin/account/recovery-codes", 200, **proof))
    assert len(newer) == 10 and not set(newer) & set(codes)
    assert await left() == 10
    await leave(browser)
    await browser.sign_in(422, recovery=codes[1])
    await browser.sign_in(recovery=newer[1])


async def test_without_the_factor_there_are_no_codes(codes, browser):
    await browser.post("/admin/account/second-factor/off")
    assert await left() == 0
    await browser.post("/admin/account/recovery-codes")
    assert await left() == 0


def test_signs_that_look_alike_are_read_as_ours():
    assert recovery.looks_like_one("abcd-efgh-jkmn-pqrs")
    assert not recovery.looks_like_one("123456")
    assert recovery._plain("oil0") == "0110"


# -- places -----------------------------------------------------------------------------


async def test_one_place_is_signed_out_and_the_other_stays(boss, browser, other):
    await browser.sign_in()
    await other.sign_in()
    page = await browser.get("/admin/account")
    handles = re.findall(r'name="session" value="([0-9a-f]{24})"', page)
    assert len(handles) == 1
    cookies = [one.http.cookies["vs"] for one in (browser, other)]
    assert not any(cookie in page for cookie in cookies)
    await browser.post("/admin/account/sessions/end", session=handles[0])
    assert (await browser.signed_in(), await other.signed_in()) == (True, False)


async def test_sessions_of_others_are_out_of_reach_without_the_right(boss, browser, other, address):
    await browser.sign_in()
    await helper("support")
    async with browser_at(address) as http:
        third = Browser(http)
        await third.sign_in(email="support@example.com")
        await other.sign_in(email="support@example.com")
        boss_s = await db.fetchval(
            "SELECT left(encode(id_hash, 'hex'), 24) FROM people_session WHERE staff_id = $1", boss
        )
        await third.post("/admin/account/sessions/end", session=boss_s)
        await third.post("/admin/account/sessions/end")
        await third.post(f"/admin/staff/{boss}/sessions/end", 403)
        await third.get(f"/admin/staff/{boss}", 403)
        assert [await one.signed_in() for one in (browser, other, third)] == [True, True, True]


async def test_an_owner_ends_one_or_all_sessions_of_a_person(boss, browser, other, address):
    await browser.sign_in()
    person = await helper("finance")
    async with browser_at(address) as http:
        third = Browser(http)
        await third.sign_in(email="finance@example.com")
        await other.sign_in(email="finance@example.com")
        page = await browser.get(f"/admin/staff/{person}")
        handles = re.findall(r'name="session" value="([0-9a-f]{24})"', page)
        assert len(handles) == 2
        await browser.post(f"/admin/staff/{person}/sessions/end", session=handles[0])
        assert sorted([await other.signed_in(), await third.signed_in()]) == [False, True]
        await browser.post(f"/admin/staff/{person}/sessions/end")
        assert [await one.signed_in() for one in (browser, other, third)] == [True, False, False]
    acts = "SELECT count(*) FROM audit_entry WHERE act = 'staff.sessions_ended' AND object = $1"
    assert await db.fetchval(acts, f"staff:{person}") == 2
    assert "Nowhere at the moment" in await browser.get(f"/admin/staff/{person}")


async def helper(role: str) -> int:
    return await db.fetchval(
        "INSERT INTO people_staff (shop_id, email, role, password_hash) VALUES (1, $1, $2, $3) RETURNING id",
        f"{role}@example.com",
        role,
        await passwords.hashed("seven quiet otters 41"),
    )


async def test_the_staff_page_shows_what_each_role_may_do(boss, browser):
    await browser.sign_in()
    page = await browser.get("/admin/staff")
    row = re.search(r"<th scope=\"row\">Bring in codes</th>(.*?)</tr>", page, re.DOTALL)[1]
    assert ["Yes" in cell for cell in re.findall(r"<td>(.*?)</td>", row, re.DOTALL)] == [True, True, True] + [False] * 3
