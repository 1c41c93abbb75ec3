"""Codes leave in bulk only when two people agree, in a sealed file, with every code of it written down."""

from __future__ import annotations

import asyncio
import csv
import io
import itertools
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from html import unescape

import asyncpg
import pytest
from stream_unzip import IncorrectAESPasswordError, stream_unzip

from core import clock, db
from core.audit.person import Person
from core.people import passwords
from core.refused import Refused
from core.vault import burn, export, keys
from core.vault.export import Wanted
from core.vault.ring import Ring, VaultLocked
from tests import console, stocked
from tests.console import everything, words
from tests.stocked import Sku
from tests.vault.test_burn import sold

PASSWORD = "0123456789ABCDEFGHJKMNPQ"
SECRET = "seven quiet otters 41"
REASON = "moving to another shop"
_numbers = itertools.count(1)


@pytest.fixture(scope="module")
async def address(
    database: str, redis_url: str, tmp_path_factory: pytest.TempPathFactory, master_key: object
) -> AsyncIterator[str]:
    async with console.running(database, redis_url, tmp_path_factory.mktemp("home")) as address:
        yield address


async def somebody() -> Person:
    staff_id = await db.fetchval(
        "INSERT INTO people_staff (shop_id, email, role) VALUES (1, $1, 'manager') RETURNING id",
        f"exporter{next(_numbers)}@example.com",
    )
    return Person(1, staff_id, "127.0.0.1")


@dataclass
class Two:
    """Who asks, and who decides."""

    asker: Person
    other: Person


@pytest.fixture
async def two(address: str) -> Two:
    return Two(await somebody(), await somebody())


def free(what: Sku, batch_id: int | None = None) -> Wanted:
    return Wanted(what.id, batch_id, "free", REASON)


async def approved(two: Two, wanted: Wanted) -> int:
    number = await export.ask(two.asker, wanted)
    await export.approve(two.other, number)
    return number


async def the_file(who: Person, number: int) -> bytes:
    taken = await export.take(who, number)
    return b"".join([piece async for piece in export.zipped(who, taken, PASSWORD)])


def rows_of(sealed: bytes, password: str = PASSWORD) -> list[dict[str, str]]:
    files = {name: b"".join(pieces) for name, _size, pieces in stream_unzip([sealed], password=password.encode())}
    ((name, content),) = files.items()
    assert re.fullmatch(rb"codes-\d+\.csv", name)
    return list(csv.DictReader(io.StringIO(content.decode("utf-8-sig"), newline="")))


async def row(number: int) -> asyncpg.Record:
    found = await db.fetchrow("SELECT * FROM vault_export WHERE id = $1", number)
    assert found is not None
    return found


async def audited(number: int) -> list[tuple[str, str]]:
    rows = await db.fetch("SELECT act, actor FROM audit_entry WHERE object = $1 ORDER BY id", f"export:{number}")
    return [(one["act"], one["actor"]) for one in rows]


async def test_one_asks_another_approves_and_the_first_gets_a_sealed_file(two):
    what, _another = await stocked.sku(3), await stocked.sku(2)
    number = await export.ask(two.asker, free(what))
    assert ((await row(number))["codes"], (await row(number))["state"]) == (3, "asked")
    await export.approve(two.other, number)
    sealed = await the_file(two.asker, number)
    assert not any(code.encode() in sealed for code in what.codes)
    rows = rows_of(sealed)
    assert sorted(one["code"] for one in rows) == sorted(what.codes)
    assert {(one["state"], one["batch"], one["order"]) for one in rows} == {("free", "stocked", "")}
    me, you = two.asker.actor, two.other.actor
    assert await audited(number) == [
        ("codes.export_asked", me),
        ("codes.export_approved", you),
        ("codes.export_taken", me),
    ]
    looks = await db.fetch("SELECT staff_id, line_id FROM vault_reveal WHERE export_id = $1", number)
    assert [tuple(one) for one in looks] == [(two.asker.staff_id, None)] * 3
    assert await stocked.codes_by_state(what) == {"free": 3}


async def test_a_wrong_password_opens_nothing(two):
    sealed = await the_file(two.asker, await approved(two, free(await stocked.sku(1))))
    with pytest.raises(IncorrectAESPasswordError):
        rows_of(sealed, "another password than that")


async def test_nobody_approves_their_own(two):
    number = await export.ask(two.asker, free(await stocked.sku(1)))
    before = await everything()
    with pytest.raises(Refused, match="somebody else"):
        await export.approve(two.asker, number)
    with pytest.raises(asyncpg.CheckViolationError):
        await db.execute(
            "UPDATE vault_export SET state = 'approved', decided_by = asked_by, decided_at = now() WHERE id = $1",
            number,
        )
    with pytest.raises(Refused, match="cannot be taken"):
        await the_file(two.asker, number)
    assert (await row(number))["state"] == "asked"
    assert {table: rows for table, rows in (await everything()).items() if rows != before[table]} == {}


async def test_only_the_one_who_asked_takes_it(two):
    number = await approved(two, free(await stocked.sku(1)))
    before = await everything()
    for who in (two.other, await somebody(), Person(2, two.asker.staff_id)):
        with pytest.raises(Refused, match="cannot be taken"):
            await export.take(who, number)
    assert {name: rows for name, rows in (await everything()).items() if name != "people_staff"} == {
        name: rows for name, rows in before.items() if name != "people_staff"
    }


async def test_a_no_is_final_and_one_may_take_ones_own_back(two):
    what = await stocked.sku(1)
    for who in (two.other, two.asker):
        number = await export.ask(two.asker, free(what))
        await export.refuse(who, number)
        for act in (export.approve(two.other, number), export.refuse(two.other, number)):
            with pytest.raises(Refused):
                await act
        assert ((await row(number))["state"], (await row(number))["decided_by"]) == ("refused", who.staff_id)
        with pytest.raises(Refused, match="cannot be taken"):
            await export.take(two.asker, number)


async def test_what_is_too_old_is_over(two):
    what = await stocked.sku(1)
    waiting, good = await export.ask(two.asker, free(what)), await approved(two, free(what))
    next_day = clock.now() + timedelta(hours=24, seconds=1)
    with clock.use(lambda: next_day):
        with pytest.raises(Refused, match="too old"):
            await export.take(two.asker, good)
    next_week = clock.now() + timedelta(days=7, seconds=1)
    with clock.use(lambda: next_week):
        with pytest.raises(Refused, match="while it waits"):
            await export.approve(two.other, waiting)
        assert [one["over"] for one in await export.listed(1) if one["id"] in (waiting, good)] == [True, True]


async def test_of_many_at_once_few_get_the_file(two):
    number = await approved(two, free(await stocked.sku(1)))

    async def try_it() -> bool:
        try:
            await export.take(two.asker, number)
        except Refused:
            return False
        return True

    assert sum(await asyncio.gather(*(try_it() for _ in range(12)))) == export.MOST_FILES
    assert (await row(number))["files"] == export.MOST_FILES


async def test_the_control_looking_first_and_counting_later_gives_too_many(two):
    number = await approved(two, free(await stocked.sku(1)))
    all_have_read = asyncio.Barrier(8)

    async def careless(tx: db.Tx) -> bool:
        files = await tx.fetchval("SELECT files FROM vault_export WHERE id = $1", number)
        await all_have_read.wait()
        if files >= export.MOST_FILES:
            return False
        await tx.execute("UPDATE vault_export SET files = $2 WHERE id = $1", number, files + 1)
        return True

    assert sum(await asyncio.gather(*(db.transaction(careless) for _ in range(8)))) == 8


async def test_of_two_who_decide_at_once_one_does(two):
    number = await export.ask(two.asker, free(await stocked.sku(1)))
    others = [two.other, *[await somebody() for _ in range(5)]]
    acts = [(export.approve, export.refuse)[at % 2](who, number) for at, who in enumerate(others)]
    ended = await asyncio.gather(*acts, return_exceptions=True)
    assert [type(one) for one in ended if one is not None] == [Refused] * 5
    decided = [act for act, _who in await audited(number) if act != "codes.export_asked"]
    assert decided == [f"codes.export_{(await row(number))['state']}"]


async def test_nothing_newer_than_the_question_goes_into_the_file(two):
    what = await stocked.sku(2)
    number = await export.ask(two.asker, free(what))
    await stocked.stock_up(what.id, ["LATER-0001", "LATER-0002"])
    await export.approve(two.other, number)
    rows = rows_of(await the_file(two.asker, number))
    assert sorted(one["code"] for one in rows) == sorted(what.codes)


async def test_one_batch_only(two):
    what = await stocked.sku(2)
    await stocked.stock_up(what.id, ["LATER-0003"])
    batch_id = await db.fetchval("SELECT max(id) FROM vault_batch WHERE sku_id = $1", what.id)
    rows = rows_of(await the_file(two.asker, await approved(two, free(what, batch_id))))
    assert [one["code"] for one in rows] == ["LATER-0003"]


async def test_burned_codes_keep_their_line_without_the_code(two):
    one = await sold(2)
    await one.show()
    rows = await one.rows()
    await db.execute("UPDATE vault_code SET blob = NULL, burned_at = now() WHERE id = $1", rows[0]["id"])
    number = await approved(two, Wanted(rows[0]["sku_id"], None, "delivered", REASON))
    lines = rows_of(await the_file(two.asker, number))
    assert [(line["state"], line["mask"], line["order"]) for line in lines] == [
        (export.BURNED, rows[0]["mask"], one.ref),
        ("delivered", rows[1]["mask"], one.ref),
    ]
    assert lines[0]["code"] == ""
    assert lines[1]["code"] in one.codes
    seen = await db.fetch("SELECT code_id FROM vault_reveal WHERE export_id = $1", number)
    assert [look["code_id"] for look in seen] == [rows[1]["id"]]
    await burn.burn_shown(one.ref, one.session)
    assert [line["code"] for line in rows_of(await the_file(two.asker, number))] == ["", ""]


async def test_what_is_past_its_window_is_not_exported_either(two):
    one = await sold(1, burn_hours=1)
    await one.show()
    (code,) = await one.rows()
    number = await approved(two, Wanted(code["sku_id"], None, "delivered", REASON))
    later = clock.now() + timedelta(hours=1, seconds=1)
    with clock.use(lambda: later):
        (line,) = rows_of(await the_file(two.asker, number))
    assert (line["code"], line["state"], line["mask"]) == ("", export.BURNED, code["mask"])
    assert await db.fetchval("SELECT count(*) FROM vault_reveal WHERE export_id = $1", number) == 0


async def test_codes_stand_as_they_are_and_other_text_is_no_formula(two):
    what = await stocked.sku(0)
    odd = ['=1+1,"quoted"', "+86 卡密\tTAB"]
    await stocked.stock_up(what.id, odd)
    await db.execute("UPDATE vault_code SET note = '=HYPERLINK(1)' WHERE sku_id = $1", what.id)
    rows = rows_of(await the_file(two.asker, await approved(two, free(what))))
    assert [one["code"] for one in rows] == odd
    assert {one["note"] for one in rows} == {"'=HYPERLINK(1)"}


async def test_many_codes_come_in_pieces(two):
    what = await stocked.sku(export.PIECE * 2 + 7)
    rows = rows_of(await the_file(two.asker, await approved(two, free(what))))
    assert sorted(one["code"] for one in rows) == sorted(what.codes)


async def test_refused_from_the_start(two):
    what = await stocked.sku(1)
    before = await everything()
    for wanted, why in (
        (Wanted(what.id, None, "free", " ab  "), "why"),
        (Wanted(what.id, None, "void", REASON), "which codes"),
        (Wanted(what.id, None, "delivered", REASON), "no such codes"),
        (Wanted(what.id, 999_999_999, "free", REASON), "no such codes"),
    ):
        with pytest.raises(Refused, match=why):
            await export.ask(two.asker, wanted)
    assert await everything() == before


async def test_a_locked_vault_says_so_before_anything_is_sent(two, master_key):
    number = await approved(two, free(await stocked.sku(1)))
    keys.use(Ring.locked("for this test"))
    try:
        with pytest.raises(VaultLocked):
            await export.take(two.asker, number)
    finally:
        keys.use(master_key)
    assert (await row(number))["files"] == 0


async def test_an_exported_batch_can_still_be_undone(two):
    what = await stocked.sku(2)
    number = await approved(two, free(what))
    await the_file(two.asker, number)
    await db.execute("DELETE FROM vault_code WHERE sku_id = $1", what.id)
    assert await db.fetchval("SELECT count(*) FROM vault_reveal WHERE export_id = $1", number) == 0
    assert len(await audited(number)) == 3


# -- over HTTP --------------------------------------------------------------------------


async def test_from_the_question_to_the_file_on_the_pages(address):
    what = await stocked.sku(2)
    async with console.signed_in(address, "manager") as asker, console.signed_in(address, "owner") as other:
        page = await asker.post("/admin/exports", sku=str(what.id), code_state="free", reason=REASON)
        number = int(await db.fetchval("SELECT max(id) FROM vault_export"))
        assert "Waits for a second person" in words(page)
        assert f"/admin/exports/{number}/approve" not in page
        told = await asker.post(f"/admin/exports/{number}/approve")
        assert "Only somebody else can approve it" in words(told)
        page = await other.post(f"/admin/exports/{number}/approve")
        assert "Approved" in words(page)
        assert f"/admin/exports/{number}/file" not in page
        page = await asker.get("/admin/exports")
        form = re.search(rf'action="/admin/exports/{number}/file".*?</form>', page, re.DOTALL)
        assert form
        password = unescape(re.search(r'name="password" value="([^"]+)"', form[0])[1])
        assert len(password) == 24
        answer = await asker.http.post(f"/admin/exports/{number}/file", data={"csrf": asker.csrf, "password": password})
        assert answer.status_code == 200
        assert answer.headers["content-disposition"] == f'attachment; filename="codes-{number}.zip"'
        assert answer.headers["cache-control"] == "no-store"
        assert sorted(one["code"] for one in rows_of(answer.content, password)) == sorted(what.codes)
        short = await asker.http.post(f"/admin/exports/{number}/file", data={"csrf": asker.csrf, "password": "short"})
        assert short.status_code == 422
        assert (await row(number))["files"] == 1


async def test_who_has_not_proven_who_they_are_gets_nothing(address, two):
    what = await stocked.sku(1)
    async with console.signed_in(address, "manager") as staff:
        mine = await db.fetchval("SELECT id FROM people_staff WHERE email = 'manager@example.com'")
        number = await export.ask(Person(1, mine), free(what))
        await export.approve(two.other, number)
        await db.execute("UPDATE people_session SET confirmed_at = now() - interval '1 hour' WHERE kind = 'staff'")
        before = await everything()
        page = await staff.post(f"/admin/exports/{number}/file", 403, password=PASSWORD)
        assert 'name="proof_password"' in page
        assert await everything() == before
        await db.execute(
            "UPDATE people_staff SET password_hash = $2 WHERE id = $1", mine, await passwords.hashed(SECRET)
        )
        held = re.search(r'name="proof_held" value="([^"]+)"', page)
        assert held
        proof = {"csrf": staff.csrf, "proof_held": held[1], "proof_password": SECRET}
        answer = await staff.http.post(f"/admin/exports/{number}/file", data=proof)
        assert [one["code"] for one in rows_of(answer.content)] == what.codes


async def test_without_the_right_there_is_no_page(address):
    async with console.signed_in(address, "support") as staff:
        await staff.get("/admin/exports", 403)
        assert "/admin/exports" not in await staff.get("/admin")
