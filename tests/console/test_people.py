"""Getting in: the set-up link, sign-in, the second factor, invitations, one's own account, the staff list."""

import asyncio
import re
from html import unescape

import httpx
import pyotp
import pytest

from core import clock, db
from core.people import passwords, setup, staff
from core.web import csrf
from tests.console import Staff, everything, words
from tests.windows import one_window

PASSWORD = "seven quiet otters 41"
OTHER = "nine loud badgers 77"


@pytest.fixture(autouse=True)
async def nobody(address):
    for table in ("people_session", "people_link", "web_limit", "people_staff"):
        await db.execute(f"DELETE FROM {table}")


@pytest.fixture
async def browser(address):
    headers = {"accept-language": "en", "origin": address}
    async with httpx.AsyncClient(base_url=address, headers=headers, timeout=20) as http:
        yield http


async def owner():
    return await staff.create_admin("boss@example.com", PASSWORD, name="Boss")


async def enter(browser, **form):
    return await browser.post("/admin/sign-in", data={"email": "boss@example.com", "password": PASSWORD, **form})


async def inside(browser):
    answer = await enter(browser)
    assert answer.status_code == 303, words(answer.text)
    return Staff(browser, csrf.token_for(browser.cookies["vs"]))


async def people():
    rows = await db.fetch("SELECT email, role, disabled_at IS NOT NULL AS off FROM people_staff ORDER BY email")
    return [tuple(row.values()) for row in rows]


def token_in(link):
    return link.partition("token=")[2]


# -- signed out meanwhile ---------------------------------------------------------------


async def test_what_is_sent_after_the_session_ended_is_said_to_be_undone(browser, address):
    await owner()
    boss = await inside(browser)
    await db.execute("UPDATE people_session SET seen_at = now() - interval '2 hours'")
    answer = await browser.post("/admin/products/new", data={"title_en": "Typed long", "csrf": boss.csrf})
    assert answer.status_code == 303
    assert "so what you just sent was not done" in words((await browser.get(answer.headers["location"])).text)
    assert "not done" not in words((await browser.get("/admin/sign-in")).text)


# -- the first admin --------------------------------------------------------------------


async def test_the_set_up_link_makes_the_owner_and_is_over(browser, address):
    link = await setup.new_setup_link(address)
    page = await browser.get(link)
    assert page.status_code == 200 and page.headers["referrer-policy"] in ("no-referrer", "same-origin")
    form = {"token": token_in(link), "email": "Boss@Example.com", "password": PASSWORD, "name": "Boss"}
    weak = await browser.post("/admin/setup", data={**form, "password": "short"})
    assert weak.status_code == 422 and 'value="Boss@Example.com"' in weak.text and "short" not in weak.text
    assert await people() == []
    done = await browser.post("/admin/setup", data=form)
    assert (done.status_code, done.headers["location"]) == (303, "/admin/setup/shop")
    assert (await browser.get("/admin/setup/shop")).status_code == 200
    assert await people() == [("boss@example.com", "owner", False)]
    assert (await browser.get(link)).headers["location"] == "/admin"
    browser.cookies.clear()
    assert (await browser.get(link)).status_code == 410
    assert (await browser.post("/admin/setup", data={**form, "email": "thief@example.com"})).status_code == 422
    assert len(await people()) == 1


async def test_one_link_used_by_many_at_once_makes_one_owner(address):
    token = token_in(await setup.new_setup_link(address))

    async def use(number):
        async with httpx.AsyncClient(base_url=address, headers={"origin": address}, timeout=20) as http:
            form = {"token": token, "email": f"p{number}@example.com", "password": PASSWORD}
            return (await http.post("/admin/setup", data=form)).status_code

    assert sorted(await asyncio.gather(*(use(number) for number in range(5)))) == [303, 422, 422, 422, 422]
    assert len(await people()) == 1


async def test_a_set_up_link_ends_after_half_an_hour(browser, address):
    link = await setup.new_setup_link(address)
    await db.execute("UPDATE people_link SET expires_at = expires_at - interval '31 minutes'")
    page = await browser.get(link)
    assert page.status_code == 410 and "Traceback" not in page.text
    form = {"token": token_in(link), "email": "late@example.com", "password": PASSWORD}
    assert (await browser.post("/admin/setup", data=form)).status_code == 422
    assert await people() == []


# -- signing in -------------------------------------------------------------------------


async def test_wrong_passwords_and_unknown_people_get_the_same_answer(browser):
    await owner()
    wrong = await enter(browser, password="not this one at all")
    unknown = await enter(browser, email="nobody@example.com")
    assert wrong.status_code == unknown.status_code == 422
    assert words(wrong.text) == words(unknown.text)
    assert 'value="boss@example.com"' in wrong.text and "not this one" not in wrong.text
    assert await db.fetchval("SELECT count(*) FROM people_session WHERE kind = 'staff'") == 0
    acts = await db.fetch("SELECT object FROM audit_entry WHERE act = 'staff.sign_in_failed' ORDER BY id DESC LIMIT 2")
    assert [row["object"] for row in acts] == ["email:nobody@example.com", "email:boss@example.com"]


@pytest.mark.parametrize(
    ("wanted", "leads"),
    [
        ("/admin/orders?page=2", "/admin/orders?page=2"),
        ("https://evil.test/", "/admin"),
        ("//evil.test/", "/admin"),
        ("/\\evil.test", "/admin"),
        ("javascript:alert(1)", "/admin"),
        ("", "/admin"),
    ],
)
async def test_signing_in_leads_only_to_our_own_pages(browser, wanted, leads):
    await owner()
    answer = await enter(browser, next=wanted)
    assert (answer.status_code, answer.headers["location"]) == (303, leads)
    again = await browser.get("/admin/sign-in", params={"next": wanted})
    assert (again.status_code, again.headers["location"]) == (303, leads)


async def test_the_eleventh_try_must_wait_even_with_the_right_password(browser):
    await owner()
    with one_window():
        for _ in range(10):
            assert (await enter(browser, password="")).status_code == 422
        answer = await enter(browser)
    assert answer.status_code == 429 and int(answer.headers["retry-after"]) > 0
    assert await db.fetchval("SELECT count(*) FROM people_session WHERE kind = 'staff'") == 0


async def test_no_sign_in_where_tries_cannot_be_counted(browser):
    await owner()
    await db.execute("ALTER TABLE web_limit RENAME TO web_limit_away")
    try:
        assert (await enter(browser)).status_code == 503
    finally:
        await db.execute("ALTER TABLE web_limit_away RENAME TO web_limit")
    assert await db.fetchval("SELECT count(*) FROM people_session WHERE kind = 'staff'") == 0
    assert (await enter(browser)).status_code == 303


async def test_signing_in_changes_the_cookie_and_signing_out_ends_it(browser):
    await owner()
    me = await inside(browser)
    cookie = browser.cookies["vs"]
    answer = await browser.post("/admin/sign-out", data={"csrf": me.csrf})
    assert (answer.status_code, answer.headers["location"]) == (303, "/admin/sign-in")
    old = await browser.get("/admin", headers={"cookie": f"vs={cookie}"})
    assert old.status_code == 303 and "/admin/sign-in" in old.headers["location"]


async def test_a_locked_out_person_is_out_at_once_and_cannot_come_back(browser):
    staff_id = await owner()
    await inside(browser)
    await db.execute("UPDATE people_staff SET disabled_at = now() WHERE id = $1", staff_id)
    assert (await browser.get("/admin")).status_code == 303
    assert (await enter(browser)).status_code == 422


# -- the second factor and the account --------------------------------------------------


async def test_the_second_factor_is_switched_on_asked_for_and_switched_off(browser):
    staff_id = await owner()
    me = await inside(browser)
    page = await me.get("/admin/account")
    secret = unescape(re.search(r"<code>([A-Z2-7]{32})</code>", page)[1])
    assert secret in await me.get("/admin/account")
    assert "This code does not fit" in words(await me.post("/admin/account/second-factor", 422, totp="000000"))
    assert await db.fetchval("SELECT totp_secret FROM people_staff WHERE id = $1", staff_id) is None
    totp = pyotp.TOTP(secret)
    now = int(clock.now().timestamp())
    await me.post("/admin/account/second-factor", 200, totp=totp.at(now - 30))
    assert secret not in await me.get("/admin/account")
    await me.http.post("/admin/sign-out", data={"csrf": me.csrf})
    browser.cookies.clear()
    assert "authenticator app" in words((await enter(browser)).text)
    assert (await enter(browser, totp="111111")).status_code == 422
    used = totp.at(now)
    assert (await enter(browser, totp=used)).status_code == 303
    browser.cookies.clear()
    assert (await enter(browser, totp=used)).status_code == 422
    browser.cookies.clear()
    assert (await enter(browser, totp=totp.at(now + 30))).status_code == 303
    me = Staff(browser, csrf.token_for(browser.cookies["vs"]))
    await db.execute("UPDATE people_session SET confirmed_at = now() - interval '11 minutes'")
    await me.post("/admin/account/second-factor/off", 403)
    assert await db.fetchval("SELECT totp_secret FROM people_staff WHERE id = $1", staff_id) is not None
    await db.execute("UPDATE people_session SET confirmed_at = now()")
    await me.post("/admin/account/second-factor/off")
    assert await db.fetchval("SELECT totp_secret FROM people_staff WHERE id = $1", staff_id) is None


async def test_a_new_password_ends_the_other_devices(browser, address):
    await owner()
    me = await inside(browser)
    async with httpx.AsyncClient(base_url=address, headers={"origin": address}, timeout=20) as other:
        await enter(other)
        assert (await other.get("/admin/account")).status_code == 200
        await me.post("/admin/account/password", 422, old_password="wrong one here", password=OTHER)
        await me.post("/admin/account/password", 422, old_password=PASSWORD, password="short")
        assert (await other.get("/admin/account")).status_code == 200
        said = words(await me.post("/admin/account/password", old_password=PASSWORD, password=OTHER))
        assert "Other devices are signed out." in said
        assert (await other.get("/admin/account")).status_code == 303
        assert (await enter(other)).status_code == 422
        assert (await enter(other, password=OTHER)).status_code == 303
        await me.post("/admin/account/sign-out-others")
        assert (await other.get("/admin/account")).status_code == 303
    await me.get("/admin/account")


# -- the staff list ---------------------------------------------------------------------


async def test_an_invited_person_chooses_a_password_once(browser, address):
    await owner()
    me = await inside(browser)
    page = words(await me.post("/admin/staff", 200, email="Li@Example.com", name="Li", role="stock"))
    link = re.search(r"https?://\S+/admin/welcome/invite\?token=\S+", page)[0]
    assert ("li@example.com", "stock", False) in await people()
    async with httpx.AsyncClient(headers={"origin": address, "accept-language": "en"}, timeout=20) as li:
        assert (await li.get(link)).status_code == 200
        wrong = f"{address}/admin/welcome/reset?token={token_in(link)}"
        assert (await li.get(wrong)).status_code == 410
        form = {"token": token_in(link), "password": OTHER}
        url = f"{address}/admin/welcome/invite"
        assert (await li.post(url, data={**form, "password": "li@example.com"})).status_code == 422
        assert (await li.post(url, data=form)).status_code == 303
        assert (await li.get(f"{address}/admin/stock")).status_code == 200
        assert (await li.get(f"{address}/admin/orders")).status_code == 403
        assert (await li.get(link)).status_code == 410


async def test_a_reset_link_ends_sessions_and_older_links(browser, address):
    staff_id = await owner()
    me = await inside(browser)
    pages = [words(await me.post(f"/admin/staff/{staff_id}/reset", 200)) for _ in range(2)]
    first, second = (re.search(r"/admin/welcome/reset\?token=\S+", page)[0] for page in pages)
    assert (await browser.get(first)).status_code == 410
    async with httpx.AsyncClient(base_url=address, headers={"origin": address}, timeout=20) as mine:
        form = {"token": token_in(second), "password": OTHER}
        assert (await mine.post("/admin/welcome/reset", data=form)).status_code == 303
    assert (await browser.get("/admin")).status_code == 303
    stored = await db.fetchval("SELECT password_hash FROM people_staff WHERE id = $1", staff_id)
    assert await passwords.fits(stored, OTHER)


async def test_mistakes_on_the_staff_page_change_nobody(browser):
    staff_id = await owner()
    me = await inside(browser)
    before = await everything()
    kept = await me.post("/admin/staff", 422, email="no address", name="Li", role="support")
    assert 'value="no address"' in kept and 'value="Li"' in kept
    await me.post("/admin/staff", 422, email="boss@example.com", name="", role="support")
    await me.post("/admin/staff", 422, email="li@example.com", name="", role="king")
    await me.post(f"/admin/staff/{staff_id}/role", 422, role="king")
    said = words(await me.post(f"/admin/staff/{staff_id}/role", 422, role="support"))
    assert "at least one owner" in said
    assert "at least one owner" in words(await me.post(f"/admin/staff/{staff_id}/disable", 422))
    for act in ("reset", "disable", "enable"):
        await me.post(f"/admin/staff/999999/{act}", 404)
    assert await everything() == before
    assert (await browser.get("/admin/staff")).status_code == 200


async def test_two_owners_who_lock_out_each_other_leave_one(browser):
    first = await owner()
    second = await staff.create_admin("second@example.com", OTHER)
    me = await inside(browser)
    form = {"csrf": me.csrf}
    answers = await asyncio.gather(
        *(browser.post(f"/admin/staff/{who}/disable", data=form) for who in (second, first) * 2)
    )
    assert all(answer.status_code < 500 for answer in answers)
    assert [off for _email, _role, off in await people()].count(False) == 1


async def test_a_role_taken_away_holds_from_the_next_click(browser, address):
    await owner()
    second = await staff.create_admin("second@example.com", OTHER)
    me = await inside(browser)
    async with httpx.AsyncClient(base_url=address, headers={"origin": address}, timeout=20) as other:
        await enter(other, email="second@example.com", password=OTHER)
        assert (await other.get("/admin/staff")).status_code == 200
        await me.post(f"/admin/staff/{second}/role", role="readonly")
        assert (await other.get("/admin/staff")).status_code == 303
        await enter(other, email="second@example.com", password=OTHER)
        assert (await other.get("/admin/staff")).status_code == 403
