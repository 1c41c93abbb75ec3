"""Backups in the console: the plan, a key shown once, one now, and fetching it."""

import re
import socket
from datetime import timedelta

import pytest

from core import clock, db
from core.backup import service
from core.vault import sealed_file
from tests import console
from tests.console import Staff, audited, everything, newest_audit, words


@pytest.fixture(scope="module")
async def address(database, redis_url, tmp_path_factory):
    async with console.running(database, redis_url, tmp_path_factory.mktemp("home")) as address:
        yield address


@pytest.fixture
async def staff(address):
    async with console.signed_in(address) as staff:
        yield staff


async def public_key() -> str:
    return await db.fetchval("SELECT public_key FROM backup_plan")


async def test_a_key_is_shown_once_and_only_its_public_half_is_kept(staff: Staff):
    before = await newest_audit()
    assert "This shop was never backed up." in words(await staff.get("/admin/backups"))
    shown = await staff.post("/admin/backups/key", 200)
    secret = re.search(r"AGE-SECRET-KEY-1\w+", shown)
    assert secret
    assert sealed_file.is_public_key(await public_key())
    assert await public_key() in shown
    later = await staff.get("/admin/backups")
    assert secret[0] not in later and "No backups yet" in later and "Make a key," not in later
    stored = await db.fetch("SELECT t::text AS row FROM backup_plan t UNION ALL SELECT t::text FROM audit_entry t")
    assert [row["row"] for row in stored if "AGE-SECRET" in row["row"]] == []
    assert await audited(before) == [("backup.plan_changed", "backup")]


async def test_a_plan_is_saved_and_a_wrong_key_is_not(staff: Staff):
    key = sealed_file.new_key()[1]
    page = await staff.post("/admin/backups/plan", public_key=key, every_hours="6", keep="9")
    assert "Saved." in words(page)
    assert tuple(await db.fetchrow("SELECT * FROM backup_plan")) == (True, key, 6, 9)
    before = await everything()
    for wrong in ("age1nonsense", "ssh-ed25519 AAAA", sealed_file.new_key()[0].reveal()):
        page = await staff.post("/admin/backups/plan", 422, public_key=wrong, every_hours="6", keep="9")
        assert "This is no public key." in words(page)
    await staff.post("/admin/backups/plan", 422, public_key=key, every_hours="0", keep="9")
    assert await everything() == before


async def test_a_backup_that_a_wrong_clock_dated_is_not_the_last_one_for_years(staff: Staff):
    await db.execute("UPDATE backup_plan SET public_key = $1", sealed_file.new_key()[1])
    await db.execute(
        "INSERT INTO backup_file (path, host, planned, state, started_at, ended_at, size)"
        " VALUES ('x', 'x', true, 'done', $1, $1, 1)",
        clock.now() + timedelta(days=900),
    )
    job = await service.enqueue_if_due()
    standing = await service.standing()
    await db.execute("DELETE FROM jobs_job WHERE name = 'backup.take'")
    await db.execute("DELETE FROM backup_file")
    assert job is not None
    assert (standing.last_good, standing.late) == (None, True)


async def test_one_now_is_one_job_however_often_it_is_pressed(staff: Staff):
    await db.execute("UPDATE backup_plan SET public_key = ''")
    await staff.post("/admin/backups/now", 409)
    assert await db.fetchval("SELECT count(*) FROM jobs_job WHERE name = 'backup.take'") == 0
    await staff.post("/admin/backups/key", 200)
    for _press in range(2):
        await staff.post("/admin/backups/now")
    assert await db.fetchval("SELECT count(*) FROM jobs_job WHERE name = 'backup.take'") == 1


async def test_fetching_one(staff: Staff, tmp_path):
    file = tmp_path / "vouchsafe-1.backup"
    file.write_bytes(b"sealed" * 1000)
    add = (
        "INSERT INTO backup_file (path, host, planned, state, ended_at)"
        " VALUES ($1, $2, true, 'done', now()) RETURNING id"
    )
    here = await db.fetchval(add, str(file), socket.gethostname())
    elsewhere = await db.fetchval(add, str(file), "another machine")
    answer = await staff.http.post(f"/admin/backups/{here}/fetch", data={"csrf": staff.csrf})
    assert (answer.status_code, answer.content) == (200, file.read_bytes())
    assert 'filename="vouchsafe-1.backup"' in answer.headers["content-disposition"]
    assert (await audited())[-1] == ("backup.fetched", f"backup:{here}")
    assert "vouchsafe-1.backup" in words(await staff.get("/admin/backups"))

    before = await newest_audit()
    await staff.post(f"/admin/backups/{elsewhere}/fetch", 404)
    await db.execute("UPDATE people_session SET confirmed_at = now() - interval '1 day'")
    answer = await staff.http.post(f"/admin/backups/{here}/fetch", data={"csrf": staff.csrf})
    assert b"sealedsealed" not in answer.content
    assert await audited(before) == []
