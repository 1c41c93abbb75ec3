"""Session ids are ours alone, stored hashed, and die when they should."""

import asyncio
from datetime import timedelta

import httpx
import pytest

from core import clock, db
from core.ids import new_token
from core.people import sessions
from core.web import csrf

from .conftest import orders, staff_cookie


async def start(client: httpx.AsyncClient) -> httpx.Response:
    answer = await client.post("/sample/start")
    assert answer.status_code == 303
    return answer


async def who(client: httpx.AsyncClient) -> str | None:
    return (await client.get("/sample/mine")).json()["session"]


async def test_the_cookie_is_for_this_host_and_not_for_scripts(client: httpx.AsyncClient):
    cookie = (await start(client)).headers["set-cookie"]
    name, _equals, rest = cookie.partition("=")
    assert name == "vs"
    assert set(rest.lower().split("; ")[1:]) == {"path=/", "httponly", "samesite=lax"}


async def test_a_session_is_stored_hashed(client: httpx.AsyncClient):
    await start(client)
    token = client.cookies["vs"]
    assert len(token) == 43
    stored = await db.fetch("SELECT to_jsonb(s)::text AS row FROM people_session s")
    assert stored
    assert not any(token in one["row"] for one in stored)


async def test_an_id_nobody_issued_is_never_adopted(client: httpx.AsyncClient):
    planted = new_token()
    client.cookies.set("vs", planted)
    assert await who(client) is None
    count = await db.fetchval("SELECT count(*) FROM people_session")
    assert (await client.post("/sample/start")).status_code == 303
    issued = [cookie.value for cookie in client.cookies.jar if cookie.name == "vs" and cookie.value != planted]
    assert len(issued) == 1
    assert await db.fetchval("SELECT count(*) FROM people_session") == count + 1
    assert await sessions.load(planted) is None


async def test_nonsense_cookies_are_nobody(client: httpx.AsyncClient):
    for value in ("", "x", "a" * 43, "é" * 21, "a" * 4000, "'; DROP TABLE people_session; --"):
        answer = await client.get("/sample/mine", headers={b"cookie": b"vs=" + value.encode()})
        assert answer.json() == {"session": None}


async def test_signing_in_anew_ends_the_old_session(client: httpx.AsyncClient):
    first = await start(client)
    old = client.cookies["vs"]
    await client.post("/sample/start", headers={"x-csrf-token": first.headers["x-csrf-token"]})
    assert client.cookies["vs"] != old
    assert await sessions.load(old) is None
    assert await sessions.load(client.cookies["vs"]) is not None


async def test_ending_it(client: httpx.AsyncClient):
    token = (await start(client)).headers["x-csrf-token"]
    old = client.cookies["vs"]
    answer = await client.post("/sample/end", headers={"x-csrf-token": token})
    assert answer.headers["clear-site-data"] == '"cache", "storage"'
    assert "max-age=0" in answer.headers["set-cookie"].lower()
    client.cookies.set("vs", old)
    assert await who(client) is None


async def test_idle_and_absolute_ends(client: httpx.AsyncClient):
    cookie = await staff_cookie()
    begun = clock.now()
    assert (await sessions.load(cookie)).role == "owner"
    with clock.use(lambda: begun + timedelta(minutes=61)):
        assert await sessions.load(cookie) is None
    for minutes in range(0, 12 * 60, 50):
        with clock.use(lambda now=begun + timedelta(minutes=minutes): now):
            assert await sessions.load(cookie) is not None
    with clock.use(lambda: begun + timedelta(hours=12, seconds=1)):
        assert await sessions.load(cookie) is None


async def test_a_disabled_person_is_out_at_once(client: httpx.AsyncClient):
    client.cookies.set("vs", await staff_cookie("finance"))
    assert (await client.get("/admin/sample")).status_code == 200
    await db.execute("UPDATE people_staff SET disabled_at = now() WHERE role = 'finance'")
    answer = await client.get("/admin/sample?page=2")
    assert (answer.status_code, answer.headers["location"]) == (303, "/admin/sign-in?next=/admin/sample%3Fpage%3D2")


async def test_all_sessions_of_a_person_end_but_this_one(client: httpx.AsyncClient):
    cookies = [await staff_cookie("manager") for _ in range(3)]
    kept = await sessions.load(cookies[0])
    ended = await db.transaction(_end_others, kept)
    assert ended == 2
    assert [await sessions.load(cookie) is not None for cookie in cookies] == [True, False, False]


async def _end_others(tx: db.Tx, kept: sessions.Session) -> int:
    return await sessions.end_all(tx, kept.staff_id, but=kept.id_hash)


@pytest.mark.parametrize(
    "change",
    ["DELETE FROM people_session", "UPDATE people_staff SET role = 'readonly' WHERE email = 'stock@shop.test'"],
)
async def test_who_is_signed_out_while_a_form_comes_does_nothing_with_it(client: httpx.AsyncClient, change: str):
    before = await orders()
    cookie = await staff_cookie("stock")
    await db.execute("UPDATE people_staff SET role = 'owner' WHERE email = 'stock@shop.test'")
    await db.execute("UPDATE people_session SET seen_at = now() - interval '5 minutes'")

    async def slowly():
        yield b"csrf="
        async with asyncio.timeout(20):  # until the session was asked for
            while not await db.fetchval("SELECT max(seen_at) > now() - interval '4 minutes' FROM people_session"):
                pass
        await db.execute(change)
        yield csrf.token_for(cookie).encode()

    headers = {"content-type": "application/x-www-form-urlencoded", "cookie": f"vs={cookie}"}
    answer = await client.post("/admin/sample", content=slowly(), headers=headers)
    assert answer.status_code == 403 or answer.headers["location"] == "/admin/sign-in?unsent=yes"
    assert await orders() == before


async def test_a_buyer_is_not_staff_and_nobody_changes_nothing(client: httpx.AsyncClient):
    before = await orders()
    assert (await client.post("/sample/mine")).status_code == 401
    token = (await start(client)).headers["x-csrf-token"]
    assert (await client.get("/admin/sample")).status_code == 303
    answer = await client.post("/admin/sample", headers={"x-csrf-token": token})
    assert (answer.status_code, answer.headers["location"]) == (303, "/admin/sign-in?unsent=yes")
    assert await orders() == before


async def test_htmx_is_sent_to_the_sign_in(client: httpx.AsyncClient):
    answer = await client.get("/admin/sample", headers={"hx-request": "true"})
    assert (answer.status_code, answer.headers["hx-redirect"]) == (401, "/admin/sign-in?next=/admin/sample")


async def test_the_token_of_a_cookie_can_be_told_without_the_database():
    assert csrf.matches("abc", csrf.token_for("abc"))
    assert not csrf.matches("abd", csrf.token_for("abc"))
    assert not csrf.matches("abc", "")
    assert not csrf.matches("abc", "ü")
