"""Accounts of staff through the services: the first admin, sign-in, second factor, links."""

import asyncio
from datetime import UTC, datetime, timedelta

import pyotp
import pytest

from core import clock, db
from core.ids import new_token
from core.people import passwords, rights, sessions, staff, totp
from core.people.email import read_email
from core.people.staff import Caller, CodeNeeded, SignInRefused
from core.refused import Refused
from core.vault import keys
from core.web.errors import TooMany

PASSWORD = "seven quiet otters 41"
HERE = Caller("192.0.2.7", "test")

pytestmark = pytest.mark.usefixtures("empty")


@pytest.fixture(scope="module", autouse=True)
def unlocked():
    keys.use(keys.MasterKey(bytes(range(32))))


@pytest.fixture
async def empty(pool):
    await db.execute("DELETE FROM people_link")
    await db.execute("DELETE FROM people_staff")


async def people():
    return await db.fetchval("SELECT count(*) FROM people_staff")


async def owner(email="boss@example.com"):
    return await staff.create_admin(email, PASSWORD)


# -- the first admin --------------------------------------------------------------------


async def test_the_set_up_link_makes_one_owner_and_closes():
    token = await staff.new_setup_token()
    cookie = await staff.make_first_admin(token, "Boss@Example.com ", PASSWORD, "Boss", HERE)
    session = await sessions.load(cookie)
    assert (session.kind, session.role, session.email) == ("staff", "owner", "boss@example.com")
    assert await staff.new_setup_token() is None
    with pytest.raises(Refused):
        await staff.make_first_admin(token, "thief@example.com", PASSWORD, "", HERE)
    assert await people() == 1


async def test_two_at_once_with_one_link_make_one_owner():
    token = await staff.new_setup_token()
    tries = await asyncio.gather(
        *(staff.make_first_admin(token, f"p{n}@example.com", PASSWORD, "", HERE) for n in range(5)),
        return_exceptions=True,
    )
    assert sum(isinstance(one, str) for one in tries) == 1
    assert await people() == 1


async def test_the_link_is_over_after_thirty_minutes():
    token = await staff.new_setup_token()
    later = clock.now() + timedelta(minutes=30, seconds=1)
    with clock.use(lambda: later):
        assert not await staff.link_is_good(token, "setup")
        with pytest.raises(Refused):
            await staff.make_first_admin(token, "late@example.com", PASSWORD, "", HERE)
    assert await people() == 0


async def test_the_links_of_two_machines_are_good_until_one_is_used():
    tokens = [await staff.new_setup_token() for _machine in range(2)]
    assert [await staff.link_is_good(token, "setup") for token in tokens] == [True, True]
    await staff.make_first_admin(tokens[0], "boss@example.com", PASSWORD, "", HERE)
    assert [await staff.link_is_good(token, "setup") for token in tokens] == [False, False]
    with pytest.raises(Refused):
        await staff.make_first_admin(tokens[1], "thief@example.com", PASSWORD, "", HERE)
    assert await people() == 1


async def test_a_guessed_token_is_no_link():
    await staff.new_setup_token()
    with pytest.raises(Refused):
        await staff.make_first_admin(new_token(), "x@example.com", PASSWORD, "", HERE)
    assert await people() == 0


@pytest.mark.parametrize("password", ["short", "password123456", "aaaaaaaaaaaaaa", "boss@example.com", "x" * 257])
async def test_weak_passwords_are_refused(password):
    with pytest.raises(Refused) as refused:
        await staff.create_admin("boss@example.com", password)
    assert refused.value.field == "password"
    assert await people() == 0


@pytest.mark.parametrize("email", ["", "x", "a@b", "a b@c.de", "a@b.c\r\nBcc: x@y.zz", "@example.com"])
def test_bad_addresses_are_refused(email):
    with pytest.raises(Refused):
        read_email(email)


# -- in and out -------------------------------------------------------------------------


async def test_sign_in_starts_a_new_session_and_ends_the_old_one():
    await owner()
    first = await staff.sign_in(1, "boss@example.com", PASSWORD, "", HERE)
    old = await sessions.load(first)
    second = await staff.sign_in(1, "BOSS@example.com", PASSWORD, "", HERE, old)
    assert await sessions.load(first) is None
    assert (await sessions.load(second)).email == "boss@example.com"


@pytest.mark.parametrize(("email", "password"), [("boss@example.com", "wrong"), ("nobody@example.com", PASSWORD)])
async def test_wrong_address_and_wrong_password_give_one_answer_and_no_session(email, password):
    await owner()
    before = await db.fetchval("SELECT count(*) FROM people_session")
    with pytest.raises(SignInRefused) as refused:
        await staff.sign_in(1, email, password, "", HERE)
    assert str(refused.value.text) == "E-mail, password or code is wrong. Please try again."
    assert await db.fetchval("SELECT count(*) FROM people_session") == before
    assert await db.fetchval("SELECT count(*) FROM audit_entry WHERE object = $1", f"email:{email}") >= 1


async def test_the_second_factor_is_asked_and_each_code_works_once():
    staff_id = await owner()
    secret = totp.offer("boss@example.com", "Shop").secret
    moment = datetime(2027, 1, 1, 12, 0, 5, tzinfo=UTC)
    code = pyotp.TOTP(secret).at(moment)
    with clock.use(lambda: moment):
        for wrong in ("000000", "\u0660" * 6, "\u202e"):
            assert not await db.transaction(totp.turn_on, staff_id, secret, wrong)
        assert await db.transaction(totp.turn_on, staff_id, secret, code)
        with pytest.raises(CodeNeeded):
            await staff.sign_in(1, "boss@example.com", PASSWORD, "", HERE)
        with pytest.raises(SignInRefused):
            await staff.sign_in(1, "boss@example.com", PASSWORD, code, HERE)
    later = moment + timedelta(seconds=60)
    with clock.use(lambda: later):
        fresh = pyotp.TOTP(secret).at(later)
        tries = await asyncio.gather(
            *(staff.sign_in(1, "boss@example.com", PASSWORD, fresh, HERE) for _ in range(4)), return_exceptions=True
        )
    assert sum(isinstance(one, str) for one in tries) == 1


async def test_codes_are_guessed_a_few_times_only_from_however_many_addresses():
    staff_id = await owner()
    secret = totp.offer("boss@example.com", "Shop").secret
    moment = datetime(2027, 1, 1, 13, 0, 5, tzinfo=UTC)
    with clock.use(lambda: moment):
        assert await db.transaction(totp.turn_on, staff_id, secret, pyotp.TOTP(secret).at(moment))
    later = moment + timedelta(seconds=60)
    with clock.use(lambda: later):
        for number in range(20):
            somewhere = Caller(f"203.0.113.{number}", "")
            with pytest.raises(SignInRefused):
                await staff.sign_in(1, "boss@example.com", PASSWORD, f"{number:06}", somewhere)
        with pytest.raises(TooMany):
            await staff.sign_in(1, "boss@example.com", PASSWORD, pyotp.TOTP(secret).at(later), HERE)
        with pytest.raises(SignInRefused):  # whoever does not know the password locks nobody out
            await staff.sign_in(1, "boss@example.com", PASSWORD + "x", "000000", HERE)
    next_hour = moment + timedelta(hours=1)
    with clock.use(lambda: next_hour):
        assert await staff.sign_in(1, "boss@example.com", PASSWORD, pyotp.TOTP(secret).at(next_hour), HERE)


async def test_the_secret_of_the_second_factor_is_sealed():
    staff_id = await owner()
    secret = totp.offer("boss@example.com", "Shop").secret
    await db.transaction(totp.turn_on, staff_id, secret, pyotp.TOTP(secret).at(clock.now()))
    assert secret.encode() not in await db.fetchval("SELECT totp_secret FROM people_staff WHERE id = $1", staff_id)


async def test_a_new_password_ends_all_other_sessions():
    await owner()
    here = await staff.sign_in(1, "boss@example.com", PASSWORD, "", HERE)
    there = await staff.sign_in(1, "boss@example.com", PASSWORD, "", HERE)
    with pytest.raises(Refused):
        await staff.change_password(await sessions.load(here), "not it", "nine loud herons 52")
    assert await sessions.load(there) is not None
    await staff.change_password(await sessions.load(here), PASSWORD, "nine loud herons 52")
    assert await sessions.load(there) is None
    assert await sessions.load(here) is not None


async def test_an_old_password_is_of_no_use_while_a_new_one_is_chosen(monkeypatch):
    """Whoever knows the old one is just being checked, and must not come in behind the new one's back."""
    await owner()
    mine = await sessions.load(await staff.sign_in(1, "boss@example.com", PASSWORD, "", HERE))
    theirs = await sessions.load(await staff.sign_in(1, "boss@example.com", PASSWORD, "", HERE))
    check = passwords.fits

    async def chosen_meanwhile(stored, password):
        found = await check(stored, password)
        monkeypatch.setattr(passwords, "fits", check)
        await staff.change_password(mine, password, "nine loud herons 52")
        return found

    monkeypatch.setattr(passwords, "fits", chosen_meanwhile)
    with pytest.raises(SignInRefused):
        await staff.sign_in(1, "boss@example.com", PASSWORD, "", HERE)
    await db.execute("UPDATE people_staff SET password_hash = $1", await passwords.hashed(PASSWORD))
    monkeypatch.setattr(passwords, "fits", chosen_meanwhile)
    with pytest.raises(Refused):
        await staff.change_password(theirs, PASSWORD, "ten sly magpies 63")
    assert await staff.sign_in(1, "boss@example.com", "nine loud herons 52", "", HERE)


# -- the staff list ---------------------------------------------------------------------


async def test_a_new_password_ends_the_link_that_was_made_for_the_old_one():
    by = await owner()
    session = await sessions.load(await staff.sign_in(1, "boss@example.com", PASSWORD, "", HERE))
    token = await staff.reset_link(by, by)
    await staff.change_password(session, PASSWORD, PASSWORD + "x")
    assert not await staff.link_is_good(token, "reset")
    with pytest.raises(Refused):
        await staff.choose_password(token, "reset", PASSWORD + "y", HERE)
    assert await staff.sign_in(1, "boss@example.com", PASSWORD + "x", "", HERE)


async def test_an_invited_person_chooses_a_password_once():
    by = await owner()
    token = await staff.invite(1, "help@example.com", "Help", "support", by)
    cookie = await staff.choose_password(token, "invite", PASSWORD + "x", HERE)
    session = await sessions.load(cookie)
    assert (session.role, session.may("orders.read"), session.may("plugins.manage")) == ("support", True, False)
    with pytest.raises(Refused):
        await staff.choose_password(token, "invite", "another fine pass 3", HERE)
    with pytest.raises(Refused):
        await staff.invite(1, "help@example.com", "", "support", by)


async def test_a_reset_link_replaces_the_password_but_not_the_second_factor():
    by = await owner()
    secret = totp.offer("boss@example.com", "Shop").secret
    await db.transaction(totp.turn_on, by, secret, pyotp.TOTP(secret).at(clock.now()))
    before = await db.fetchval("SELECT count(*) FROM people_session")
    token = await staff.reset_link(by, by)
    assert await staff.choose_password(token, "reset", "nine loud herons 52", HERE) is None
    assert await db.fetchval("SELECT count(*) FROM people_session") == before
    with pytest.raises(CodeNeeded):
        await staff.sign_in(1, "boss@example.com", "nine loud herons 52", "", HERE)
    await staff.take_second_factor(by, by)
    assert await sessions.load(await staff.sign_in(1, "boss@example.com", "nine loud herons 52", "", HERE))


async def test_a_link_of_one_purpose_is_no_link_of_another():
    by = await owner()
    token = await staff.invite(1, "help@example.com", "", "support", by)
    with pytest.raises(Refused):
        await staff.choose_password(token, "reset", PASSWORD, HERE)


async def test_locking_out_ends_sessions_at_once():
    by = await owner()
    token = await staff.invite(1, "help@example.com", "", "support", by)
    cookie = await staff.choose_password(token, "invite", PASSWORD + "x", HERE)
    helper = (await sessions.load(cookie)).staff_id
    await staff.set_disabled(helper, True, by)
    assert await sessions.load(cookie) is None
    with pytest.raises(SignInRefused):
        await staff.sign_in(1, "help@example.com", PASSWORD + "x", "", HERE)


async def test_the_last_owner_stays():
    by = await owner()
    with pytest.raises(Refused):
        await staff.set_disabled(by, True, by)
    with pytest.raises(Refused):
        await staff.change_role(by, "support", by)
    row = await db.fetchrow("SELECT role, disabled_at FROM people_staff WHERE id = $1", by)
    assert (row["role"], row["disabled_at"]) == ("owner", None)


async def test_the_owner_of_another_shop_does_not_make_the_last_one_spare():
    by = await owner()
    branch = await db.fetchval(
        "INSERT INTO shops_shop (code, name, host) VALUES ('branch', 'Branch', 'branch.test')"
        " ON CONFLICT (code) DO UPDATE SET name = 'Branch' RETURNING id"
    )
    token = await staff.invite(branch, "theirs@example.com", "", "owner", by)
    theirs = (await sessions.load(await staff.choose_password(token, "invite", PASSWORD + "x", HERE))).staff_id
    for last in (by, theirs):
        with pytest.raises(Refused):
            await staff.change_role(last, "support", last)
        with pytest.raises(Refused):
            await staff.set_disabled(last, True, last)


async def test_two_owners_who_remove_each_other_leave_one():
    first, second = await owner("a@example.com"), await owner("b@example.com")
    tries = await asyncio.gather(
        staff.set_disabled(first, True, second), staff.set_disabled(second, True, first), return_exceptions=True
    )
    left = await db.fetchval("SELECT count(*) FROM people_staff WHERE disabled_at IS NULL")
    assert left == 1, tries


def test_rights_by_role():
    assert all(rights.may("owner", act) for act in rights.RIGHTS)
    assert not rights.may("owner", "anything.at_all")
    assert rights.may("stock", "stock.import")
    assert not rights.may("stock", "orders.read")
    assert not rights.may("readonly", "orders.confirm_paid")
    assert not rights.may(None, "orders.read")
    assert not rights.may("nonsense", "orders.read")
