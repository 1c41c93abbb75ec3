"""The jobs pages, as staff sees them."""

import pytest

from core import db, jobs
from tests import console
from tests.console import words


@pytest.fixture(scope="module")
async def address(database, redis_url, tmp_path_factory):
    async with console.running(database, redis_url, tmp_path_factory.mktemp("home")) as address:
        yield address


@pytest.fixture
async def staff(address):
    async with console.signed_in(address) as staff:
        await db.execute("DELETE FROM jobs_job")
        yield staff


async def job(state="queued", name="messages.send", **columns):
    job_id = await db.transaction(jobs.enqueue, name, {"message": 5})
    facts = {"state": state, **columns}
    for column, value in facts.items():
        await db.execute(f"UPDATE jobs_job SET {column} = $2 WHERE id = $1", job_id, value)
    return job_id


async def row(job_id):
    return await db.fetchrow("SELECT state, tries, cancel FROM jobs_job WHERE id = $1", job_id)


async def test_the_newest_stands_first_and_filters_work(staff):
    waiting = await job()
    failed = await job("failed", error="The mail server says: 550 no", tries=10)
    await db.execute("INSERT INTO jobs_job (name, key) VALUES ('checkout.expire', 'every:checkout.expire')")
    page = await staff.get("/admin/jobs")
    assert page.index(f"/admin/jobs/{failed}") < page.index(f"/admin/jobs/{waiting}")
    assert "The mail server says: 550 no" in words(page)
    assert "Nobody works: start server.py run" in words(page)
    assert ">End unpaid orders</a>" not in page
    only = await staff.get("/admin/jobs?state=failed")
    assert f"/admin/jobs/{failed}" in only and f"/admin/jobs/{waiting}" not in only
    assert ">End unpaid orders</a>" in await staff.get("/admin/jobs?periodic=1")
    assert "Nothing fits these filters" in words(await staff.get("/admin/jobs?state=running"))


async def test_a_failed_job_is_started_again(staff):
    job_id = await job("failed", error="no", tries=10)
    said = words(await staff.post(f"/admin/jobs/{job_id}/retry"))
    assert "The job begins now." in said
    assert tuple(await row(job_id)) == ("queued", 0, False)


async def test_a_waiting_job_is_cancelled_and_a_running_one_asked(staff):
    waiting, running = await job(), await job("running")
    await staff.post(f"/admin/jobs/{waiting}/cancel")
    assert tuple(await row(waiting)) == ("cancelled", 0, True)
    said = words(await staff.post(f"/admin/jobs/{running}/cancel"))
    assert "is asked to stop" in said and "Log Asked to stop" in said
    assert tuple(await row(running)) == ("running", 0, True)


async def test_what_cannot_be_done_changes_nothing(staff):
    done = await job("done")
    for act in ("retry", "cancel"):
        assert "This cannot be done now" in words(await staff.post(f"/admin/jobs/{done}/{act}", status=409))
    assert tuple(await row(done)) == ("done", 0, False)
    await staff.post("/admin/jobs/999999/retry", status=404)


async def test_progress_is_a_fragment_of_its_own(staff):
    job_id = await job("running", progress={"done": 30, "total": 120, "note": "encrypting"})
    page = await staff.get(f"/admin/jobs/{job_id}")
    assert f'hx-get="/admin/jobs/{job_id}/progress"' in page
    part = await staff.get(f"/admin/jobs/{job_id}/progress")
    assert "<html" not in part
    assert '<progress class="job-bar" max="120" value="30">' in part
    assert "30 of 120 · encrypting" in words(part)
    await db.execute("UPDATE jobs_job SET state = 'done' WHERE id = $1", job_id)
    assert "hx-get" not in await staff.get(f"/admin/jobs/{job_id}/progress")


async def test_a_name_nobody_knows_is_marked(staff):
    job_id = await job(name="apps.gone")
    assert "unknown here" in words(await staff.get("/admin/jobs"))
    assert "Nothing here knows this kind of job" in words(await staff.get(f"/admin/jobs/{job_id}"))


async def test_others_may_not(staff, address):
    job_id = await job("failed")
    async with console.signed_in(address, "support") as other:
        for path in ("/admin/jobs", f"/admin/jobs/{job_id}"):
            await other.get(path, status=403)
        await other.post(f"/admin/jobs/{job_id}/retry", status=403)
    assert tuple(await row(job_id)) == ("failed", 0, False)
