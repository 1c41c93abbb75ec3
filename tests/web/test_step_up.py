"""Dangerous acts ask again who it is, and go on with what was sent."""

import re
from collections.abc import AsyncIterator
from datetime import timedelta
from html import unescape

import httpx
import pyotp
import pytest
from litestar import Litestar, get, post

from core import clock, db
from core.app import create_app
from core.config import Config
from core.people import passwords, sessions, totp
from core.vault import keys
from core.web import csrf
from core.web.feature import BadRoute, Feature
from tests.windows import one_window

from .conftest import orders
from .sample import feature as sample

PASSWORD = "seven quiet otters 41"
DANGER = "/admin/sample/danger"
FORM = {"subject": 'a "strange" 值'}


@pytest.fixture(scope="module")
def app(environment: dict[str, str]) -> Litestar:
    keys.use(keys.MasterKey(bytes(range(32))))
    return create_app(Config.from_env(environment), names=("people",), extra_features=[sample])


@pytest.fixture
async def owner(site: str) -> AsyncIterator[httpx.AsyncClient]:
    """Signed in so long ago that the next dangerous act asks again."""
    await db.execute("DELETE FROM web_limit")
    cookie = await another_session()
    headers = {"accept-language": "en", "x-csrf-token": csrf.token_for(cookie)}
    async with httpx.AsyncClient(base_url=site, headers=headers, cookies={"vs": cookie}) as browser:
        yield browser


async def another_session(minutes_ago: float = 10.1) -> str:
    staff_id = await db.fetchval(
        "INSERT INTO people_staff (shop_id, email, role, password_hash) VALUES (1, 'boss@shop.test', 'owner', $1)"
        " ON CONFLICT (shop_id, email) DO UPDATE SET totp_secret = NULL RETURNING id",
        await passwords.hashed(PASSWORD),
    )
    before = clock.now() - timedelta(minutes=minutes_ago)
    with clock.use(lambda: before):
        return await db.transaction(_session, staff_id)


async def _session(tx: db.Tx, staff_id: int) -> str:
    return await sessions.create(tx, "staff", staff_id=staff_id)


def held_in(page: str) -> str:
    return re.search(r'name="proof_held" value="([^"]+)"', page)[1]


async def asked(owner: httpx.AsyncClient, **more: object) -> str:
    """Do the dangerous thing; gives what the page that asks holds."""
    answer = await owner.post(DANGER, data=FORM, **more)
    assert answer.status_code == 403
    assert f'action="{DANGER}"' in answer.text
    return held_in(answer.text)


async def test_the_act_waits_and_goes_on_with_the_same_form(owner: httpx.AsyncClient):
    before = await orders()
    held = await asked(owner)
    assert await orders() == before
    answer = await owner.post(DANGER, data={"proof_held": held, "proof_password": PASSWORD})
    assert (answer.status_code, answer.headers["location"]) == (303, "/admin/sample")
    assert await orders() == before + 1
    assert await db.fetchval("SELECT count(*) FROM sample_order WHERE sku = $1", FORM["subject"]) == 1
    assert (await owner.post(DANGER, data=FORM)).status_code == 303
    assert await orders() == before + 2


async def test_a_session_counts_as_fresh_for_the_shop_s_minutes(owner: httpx.AsyncClient):
    before = await orders()
    for minutes, status in ((9.9, 303), (10.1, 403)):
        cookie = await another_session(minutes)
        headers = {"cookie": f"vs={cookie}", "x-csrf-token": csrf.token_for(cookie)}
        async with httpx.AsyncClient(base_url=owner.base_url, headers=headers) as http:
            assert (await http.post(DANGER, data=FORM)).status_code == status
    assert await orders() == before + 1


async def test_what_waits_is_not_readable_in_the_page(owner: httpx.AsyncClient):
    answer = await owner.post(DANGER, data={"subject": "canary-7391"})
    assert "canary-7391" not in unescape(answer.text)
    assert answer.headers["cache-control"] == "no-store"


async def test_a_wrong_password_changes_nothing_and_is_written_down(owner: httpx.AsyncClient):
    before = await orders()
    failed = await db.fetchval("SELECT count(*) FROM audit_entry WHERE act = 'staff.confirm_failed'")
    held = await asked(owner)
    for password in ("", "wrong", PASSWORD + " "):
        answer = await owner.post(DANGER, data={"proof_held": held, "proof_password": password})
        assert answer.status_code == 403
        assert "Password or code is wrong" in answer.text
        assert held_in(answer.text) == held
    assert await orders() == before
    assert await db.fetchval("SELECT count(*) FROM audit_entry WHERE act = 'staff.confirm_failed'") == failed + 3
    assert (await owner.post(DANGER, data={"proof_held": held, "proof_password": PASSWORD})).status_code == 303
    assert await orders() == before + 1


async def test_guessing_is_slowed_down(owner: httpx.AsyncClient):
    before = await orders()
    with one_window():
        held = await asked(owner)
        codes = [
            (await owner.post(DANGER, data={"proof_held": held, "proof_password": f"guess {n}"})).status_code
            for n in range(11)
        ]
        assert codes == [403] * 10 + [429]
        assert (await owner.post(DANGER, data={"proof_held": held, "proof_password": PASSWORD})).status_code == 429
    assert await orders() == before


async def test_with_a_second_factor_the_code_is_needed_and_works_once(owner: httpx.AsyncClient):
    secret = totp.offer("", "").secret
    await db.transaction(_second_factor, secret)
    before = await orders()
    held = await asked(owner)
    proof = {"proof_held": held, "proof_password": PASSWORD}
    code = pyotp.TOTP(secret).at(clock.now() + timedelta(seconds=30))
    for wrong in ("", "000000"):
        assert (await owner.post(DANGER, data={**proof, "proof_totp": wrong})).status_code == 403
    assert await orders() == before
    assert (await owner.post(DANGER, data={**proof, "proof_totp": code})).status_code == 303
    assert await orders() == before + 1
    await db.execute("UPDATE people_session SET confirmed_at = confirmed_at - interval '1 hour'")
    assert (await owner.post(DANGER, data={**proof, "proof_totp": code})).status_code == 403
    assert await orders() == before + 1


async def _second_factor(tx: db.Tx, secret: str) -> None:
    staff_id = await tx.fetchval("SELECT id FROM people_staff WHERE email = 'boss@shop.test'")
    assert await totp.turn_on(tx, staff_id, secret, pyotp.TOTP(secret).at(clock.now()))


async def test_what_waits_belongs_to_one_session_and_one_address(owner: httpx.AsyncClient):
    held = await asked(owner)
    proof = {"proof_held": held, "proof_password": PASSWORD}
    before = await orders()
    cookie = await another_session()
    other = {"cookie": f"vs={cookie}", "x-csrf-token": csrf.token_for(cookie)}
    async with httpx.AsyncClient(base_url=owner.base_url, headers=other) as http:
        assert (await http.post(DANGER, data=proof)).status_code == 403
    assert (await owner.post(DANGER + "?again=1", data=proof)).status_code == 403
    flipped = held[:40] + ("A" if held[40] != "A" else "B") + held[41:]
    for bad in (flipped, "x", held[:50], "é"):
        assert (await owner.post(DANGER, data={**proof, "proof_held": bad})).status_code == 403
    later = clock.now() + timedelta(minutes=61)
    with clock.use(lambda: later):
        await db.execute("UPDATE people_session SET seen_at = $1", later)
        assert (await owner.post(DANGER, data=proof)).status_code == 403
    assert await orders() == before


async def test_an_upload_waits_too_and_a_large_one_is_sent_again(owner: httpx.AsyncClient):
    before = await orders()
    held = await asked(owner, files={"paper": ("p.txt", b"four")})
    assert (await owner.post(DANGER, data={"proof_held": held, "proof_password": PASSWORD})).status_code == 303
    assert await db.fetchval("SELECT count(*) FROM sample_order WHERE quantity = 4") == 1
    await db.execute("UPDATE people_session SET confirmed_at = confirmed_at - interval '1 hour'")
    answer = await owner.post(DANGER, data=FORM, files={"paper": ("p.txt", b"x" * 400_000)})
    assert (answer.status_code, "proof_held" in answer.text) == (403, False)
    assert 'action="/admin/confirm"' in answer.text
    assert (await owner.post("/admin/confirm", data={"proof_password": "wrong"})).status_code == 403
    assert (await owner.post("/admin/confirm", data={"proof_password": PASSWORD})).status_code == 303
    assert await orders() == before + 1
    answer = await owner.post(DANGER, data=FORM, files={"paper": ("p.txt", b"x" * 400_000)})
    assert answer.status_code == 303
    assert await orders() == before + 2


async def test_the_proof_needs_the_token_of_the_session(owner: httpx.AsyncClient):
    held = await asked(owner)
    before = await orders()
    answer = await owner.post(
        DANGER, data={"proof_held": held, "proof_password": PASSWORD}, headers={"x-csrf-token": "no"}
    )
    assert answer.status_code == 403
    assert await orders() == before
    await asked(owner)


def test_only_a_post_of_staff_can_ask(environment: dict[str, str]):
    @get("/a", opt={"who": "staff:settings.read", "fresh": True})
    async def looks() -> str:
        return ""

    @post("/b", opt={"who": "anyone", "fresh": True})
    async def anyone() -> str:
        return ""

    for route in (looks, anyone):
        with pytest.raises(BadRoute):
            create_app(Config.from_env(environment), names=(), extra_features=[Feature("bad", console_routes=[route])])
