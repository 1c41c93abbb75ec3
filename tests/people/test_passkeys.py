"""Passkeys over the real routes, with a security key in software."""

import asyncio
import json
from datetime import timedelta

import pytest

from core import clock, db
from core.people import signed
from core.web import csrf

from .authenticator import PRESENT, Authenticator, text
from .conftest import PASSWORD, Browser, browser_at, options_in

ADD, SIGN_IN = "/admin/account/passkeys", "/admin/sign-in/passkey"


@pytest.fixture
async def device(boss: int, browser: Browser) -> Authenticator:
    """A device whose passkey the owner has added; the owner is signed in."""
    await browser.sign_in()
    return await added(browser)


async def added(browser: Browser, name: str = "My phone", **facts: int) -> Authenticator:
    device = Authenticator(browser.origin, **facts)
    options = options_in(await browser.get("/admin/account"))
    page = await browser.post(ADD, name=name, passkey=device.create(options))
    assert name in page
    return device


async def keys() -> int:
    return await db.fetchval("SELECT count(*) FROM people_passkey")


async def alarms() -> int:
    return await db.fetchval("SELECT count(*) FROM audit_alarm WHERE kind = 'passkey.copied'")


async def asked(browser: Browser) -> str:
    return options_in(await browser.get("/admin/sign-in"))


async def test_a_passkey_signs_in_without_password_and_code(device, other):
    await other.post(SIGN_IN, passkey=device.get(await asked(other)), next="/admin/account")
    assert await other.signed_in()
    row = await db.fetchrow("SELECT sign_count, used_at FROM people_passkey")
    assert (row["sign_count"], row["used_at"] is not None) == (2, True)


async def test_an_answer_works_once_also_for_two_at_once(device, other, address):
    answer = device.get(await asked(other))
    async with browser_at(address) as http:
        codes = await asyncio.gather(
            *(browser.http.post(SIGN_IN, data={"passkey": answer}) for browser in (other, Browser(http)))
        )
    assert sorted(one.status_code for one in codes) == [303, 422]
    await other.post("/admin/sign-out")
    other.http.cookies.clear()
    await other.post(SIGN_IN, 422, passkey=answer)
    assert not await other.signed_in()


async def test_without_the_note_of_used_challenges_an_answer_would_work_twice(device, other):
    """The control: a device that counts nothing, and the note taken away."""
    plain = await quiet_device(other)
    answer = plain.get(await asked(other))
    await other.post(SIGN_IN, passkey=answer)
    other.http.cookies.clear()
    await other.post(SIGN_IN, 422, passkey=answer)
    await db.execute("DELETE FROM people_used_value")
    await other.post(SIGN_IN, passkey=answer)
    assert await other.signed_in()


async def quiet_device(browser: Browser) -> Authenticator:
    await browser.sign_in()
    device = await added(browser, "Quiet", step=0)
    await browser.post("/admin/sign-out")
    browser.http.cookies.clear()
    return device


async def test_a_counter_that_stands_still_is_refused_and_alarms(device, other):
    before = await alarms()
    device.count -= 1
    await other.post(SIGN_IN, 422, passkey=device.get(await asked(other)))
    assert not await other.signed_in()
    assert await alarms() == before + 1
    await other.post(SIGN_IN, passkey=device.get(await asked(other)))
    assert await other.signed_in()


@pytest.mark.parametrize(
    "lie",
    [
        {"origin": "http://evil.test"},
        {"type": "webauthn.create"},
        {"challenge": "AAAA"},
        {"challenge": 7},
        {"challenge": "é"},
    ],
)
async def test_an_answer_that_was_changed_is_refused(device, other, lie):
    await other.post(SIGN_IN, 422, passkey=device.get(await asked(other), **lie))
    assert not await other.signed_in()


@pytest.mark.parametrize("wrong", [{"host": "evil.test"}, {"flags": PRESENT}, {"flags": 0}, {"id": b"x" * 32}])
async def test_a_wrong_device_is_refused(device, other, wrong):
    for name, value in wrong.items():
        setattr(device, name, value)
    await other.post(SIGN_IN, 422, passkey=device.get(await asked(other)))
    assert not await other.signed_in()


async def test_the_key_of_another_device_does_not_fit(device, other):
    thief = Authenticator(other.origin, id=device.id, count=10)
    await other.post(SIGN_IN, 422, passkey=thief.get(await asked(other)))
    assert not await other.signed_in()


DEEP = json.dumps({"id": "a", "rawId": "a", "response": {"clientDataJSON": text(b"[" * 9000)}})


@pytest.mark.parametrize(
    "answer",
    [
        DEEP,
        "",
        "{",
        "[]",
        "7",
        "null",
        '{"response": 1}',
        '{"id": "a", "rawId": "abcde", "response": {}}',
        "[" * 15_000,
    ],
)
async def test_nonsense_is_refused(device, other, answer):
    await other.post(SIGN_IN, 422, passkey=answer)
    assert not await other.signed_in()


async def test_parts_left_out_or_garbled_are_refused(device, other):
    whole = json.loads(device.get(await asked(other)))
    for name in ("clientDataJSON", "authenticatorData", "signature"):
        for value in (None, 7, "", "abcde", "é", "AAAA"):
            broken = {**whole, "response": {**whole["response"], name: value}}
            assert (await other.http.post(SIGN_IN, data={"passkey": json.dumps(broken)})).status_code in (422, 429)
    for name in ("id", "rawId", "type", "response"):
        await db.execute("DELETE FROM web_limit")
        await other.post(SIGN_IN, 422, passkey=json.dumps({**whole, name: "abcde"}))
        await other.post(SIGN_IN, 422, passkey=json.dumps({k: v for k, v in whole.items() if k != name}))
    broken = {**whole, "response": {**whole["response"], "userHandle": "abcde"}}
    await other.post(SIGN_IN, 422, passkey=json.dumps(broken))
    assert not await other.signed_in()


async def test_a_challenge_is_over_after_ten_minutes_and_good_for_one_purpose(device, other, browser):
    answer = device.get(await asked(other))
    later = clock.now() + timedelta(minutes=11)
    with clock.use(lambda: later):
        await other.post(SIGN_IN, 422, passkey=answer)
    adding = options_in(await browser.get("/admin/account"))
    await other.post(SIGN_IN, 422, passkey=device.get(adding))
    assert not await other.signed_in()
    before = await keys()
    newer = Authenticator(browser.origin)
    await browser.post(ADD, 422, name="x", passkey=newer.create(await asked(other)))
    assert await keys() == before


async def test_a_disabled_person_stays_out(device, other, boss):
    await db.execute("UPDATE people_staff SET disabled_at = now() WHERE id = $1", boss)
    await other.post(SIGN_IN, 422, passkey=device.get(await asked(other)))
    assert not await other.signed_in()


async def test_several_with_names_and_each_can_be_removed(device, browser):
    await added(browser, "Key in the safe")
    options = json.loads(options_in(await browser.get("/admin/account")))
    assert len(options["excludeCredentials"]) == 2
    assert options["authenticatorSelection"]["userVerification"] == "required"
    await browser.post(ADD, 422, name="Again", passkey=device.create(json.dumps(options)))
    await browser.post(ADD, 422, name="", passkey=Authenticator(browser.origin).create(json.dumps(options)))
    assert await keys() == 2
    phone = await db.fetchval("SELECT id FROM people_passkey WHERE name = 'My phone'")
    page = await browser.post(f"{ADD}/{phone}/remove")
    assert "My phone" not in page.split('id="passkeys"')[1].split("<form")[0]
    assert "Key in the safe" in page
    await browser.post(SIGN_IN, 422, passkey=device.get(await asked_signed_out(browser)))
    assert await keys() == 1


async def asked_signed_out(browser: Browser) -> str:
    await browser.post("/admin/sign-out")
    browser.http.cookies.clear()
    return await asked(browser)


async def test_somebody_else_s_passkey_cannot_be_removed(device, other, boss):
    mine = await db.fetchval("SELECT id FROM people_passkey")
    await db.execute(
        "INSERT INTO people_staff (shop_id, email, role, password_hash)"
        " SELECT 1, 'help@example.com', 'support', password_hash FROM people_staff WHERE id = $1",
        boss,
    )
    await other.sign_in(email="help@example.com")
    await other.post(f"{ADD}/{mine}/remove")
    assert await keys() == 1


async def test_the_last_way_in_stays(device, browser, boss):
    """There is always a password; where there is none, the last passkey stays, also against two at once."""
    second = await added(browser, "Second")
    await db.execute("UPDATE people_staff SET password_hash = NULL WHERE id = $1", boss)
    ids = [row["id"] for row in await db.fetch("SELECT id FROM people_passkey ORDER BY id")]
    await asyncio.gather(*(browser.post(f"{ADD}/{one}/remove") for one in ids))
    assert await keys() == 1
    assert second is not device


async def test_a_passkey_confirms_a_dangerous_act(device, browser):
    await db.execute("UPDATE people_session SET confirmed_at = now() - interval '1 hour'")
    invitation = {"email": "new@example.com", "role": "support"}
    page = await browser.post("/admin/staff", 403, **invitation)
    held = page.split('name="proof_held" value="')[1].split('"')[0]
    asked_in = options_in(page)
    assert len(json.loads(asked_in)["allowCredentials"]) == 1
    for wrong in (device.get(asked_in, origin="http://evil.test"), device.get(await asked_elsewhere(browser))):
        await browser.post("/admin/staff", 403, proof_held=held, proof_passkey=wrong)
    assert await db.fetchval("SELECT count(*) FROM people_staff") == 1
    await browser.post("/admin/staff", 200, proof_held=held, proof_passkey=device.get(asked_in))
    assert await db.fetchval("SELECT count(*) FROM people_staff") == 2


async def asked_elsewhere(browser: Browser) -> str:
    async with browser_at(str(browser.http.base_url)) as http:
        return await asked(Browser(http))


async def test_adding_one_asks_who_it_is(device, browser):
    options = options_in(await browser.get("/admin/account"))
    await db.execute("UPDATE people_session SET confirmed_at = now() - interval '1 hour'")
    before = await keys()
    page = await browser.post(ADD, 403, name="New", passkey=Authenticator(browser.origin).create(options))
    assert await keys() == before
    held = page.split('name="proof_held" value="')[1].split('"')[0]
    await browser.post(ADD, proof_held=held, proof_password=PASSWORD)
    assert await keys() == before + 1


async def test_an_owner_takes_lost_passkeys_away(device, other, boss):
    await other.sign_in()
    cookie = other.http.cookies["vs"]
    token = {"csrf": csrf.token_for(cookie)}
    assert (await other.http.post(f"/admin/staff/{boss}/second-factor/off", data=token)).status_code == 303
    assert await keys() == 0
    assert not await other.signed_in()


async def test_at_a_bare_address_there_are_no_passkeys(boss, browser, address):
    browser.http.headers["host"] = address.removeprefix("http://")
    assert "vs-passkey" not in await browser.get("/admin/sign-in")
    browser.http.headers["origin"] = address
    await browser.post(SIGN_IN, 404, passkey="{}")


async def test_signed_values_are_known_by_purpose_and_time(boss):
    value = await signed.issue("a", timedelta(minutes=1))
    assert await signed.is_ours("a", value)
    assert not await signed.is_ours("b", value)
    assert not await signed.is_ours("a", value[:-1])
    assert not await signed.is_ours("a", bytes(32))
    later = clock.now() + timedelta(minutes=1, seconds=2)
    with clock.use(lambda: later):
        assert not await signed.is_ours("a", value)
        await db.transaction(signed.use, value)
        await signed.sweep()
    assert await db.fetchval("SELECT count(*) FROM people_used_value WHERE over_at < $1", later) == 0
