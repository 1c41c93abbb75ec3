"""A real worker program over a real PostgreSQL and Valkey."""

import asyncio
import os
import signal
import time

import pytest

from core import clock, db, jobs
from core.jobs import bell
from tests.jobs.conftest import until

pytestmark = pytest.mark.usefixtures("traces")


@pytest.fixture(scope="module", autouse=True)
async def worker(traces, redis_url, workers):
    bell.open(redis_url)
    yield await workers.start()
    await bell.close()


async def put(name, args=None, **options):
    async def work(tx):
        return await jobs.enqueue(tx, name, args or {}, **options)

    job_id = await db.transaction(work)
    await jobs.ring(job_id)
    return job_id


async def ended(job_id, state="done", seconds=15):
    await until(lambda: db.fetchval("SELECT state = $2 FROM jobs_job WHERE id = $1", job_id, state), seconds)
    return await db.fetchrow("SELECT * FROM jobs_job WHERE id = $1", job_id)


async def runs(job_id):
    return [row["fence"] for row in await db.fetch("SELECT fence FROM test_run WHERE job_id = $1 ORDER BY at", job_id)]


async def test_a_rung_job_starts_at_once_and_ends_done():
    await ended(await put("test.quick"))
    started = time.monotonic()
    job = await ended(await put("test.quick"))
    assert time.monotonic() - started < 0.9  # the sweeper alone would need a second
    assert (job["tries"], job["fence"], job["error"]) == (1, 1, "")
    assert job["finished_at"] is not None


async def test_a_job_nobody_rang_for_is_found():
    job_id = await db.transaction(jobs.enqueue, "test.quick", {})
    await ended(job_id)
    assert await runs(job_id) == [1]


async def test_ringing_twenty_times_runs_it_once():
    job_id = await db.transaction(jobs.enqueue, "test.quick", {})
    for _ in range(20):
        await jobs.ring(job_id)
    await ended(job_id)
    await jobs.ring(job_id)
    await ended(await put("test.quick"))
    assert await runs(job_id) == [1]


async def test_a_job_for_later_waits():
    row = await db.fetchrow(
        "INSERT INTO jobs_job (name, run_at) VALUES ('test.quick', now() + interval '2 seconds') RETURNING id, run_at"
    )
    await jobs.ring(row["id"])
    await ended(row["id"])
    assert await db.fetchval("SELECT at FROM test_run WHERE job_id = $1", row["id"]) >= row["run_at"]
    assert await runs(row["id"]) == [1]


async def test_a_broken_job_is_tried_with_growing_pauses_then_given_up():
    job_id = await put("test.broken", {"order": 7})
    job = await ended(job_id, "failed")
    assert await runs(job_id) == [1, 2, 3]
    assert job["error"] == "ValueError: the third wheel"
    at = [row["at"] for row in await db.fetch("SELECT at FROM test_run WHERE job_id = $1 ORDER BY at", job_id)]
    assert (at[1] - at[0]).total_seconds() >= 0.4
    assert (at[2] - at[1]).total_seconds() >= 0.8
    given_up = await db.fetch("SELECT args, error FROM test_given_up WHERE args ->> 'order' = '7'")
    assert [tuple(row) for row in given_up] == [({"order": 7}, "ValueError: the third wheel")]


async def test_giving_up_needs_no_second_try():
    job_id = await put("test.give_up", {"order": 8})
    job = await ended(job_id, "failed")
    assert (await runs(job_id), job["error"]) == ([1], "the number does not exist")
    assert await db.fetchval("SELECT error FROM test_given_up WHERE args ->> 'order' = '8'") == job["error"]


async def log(job_id):
    rows = await db.fetch("SELECT kind, text FROM jobs_log WHERE job_id = $1 ORDER BY id", job_id)
    return [tuple(row) for row in rows]


async def test_a_job_says_itself_when_to_try_again():
    job_id = await put("test.flaky")
    job = await ended(job_id)
    assert await runs(job_id) == [1, 2, 3]
    assert (job["tries"], job["error"]) == (3, "")
    assert await log(job_id) == [("again", "not yet"), ("again", "not yet")]


async def test_a_job_over_its_time_is_stopped():
    job = await ended(await put("test.too_slow"), "failed")
    assert job["error"].startswith("TimeoutError")


async def test_a_job_that_ends_as_if_it_was_cancelled_is_not_tried_for_ever():
    job_id = await put("test.cancels_itself")
    job = await ended(job_id, "failed")
    assert job["error"] == "Misbehaved: it cancelled itself"
    assert await runs(job_id) == [1, 2]


async def test_a_job_that_would_end_the_program_ends_itself_alone():
    job_id = await put("test.exits")
    job = await ended(job_id, "failed")
    assert job["error"] == "Misbehaved: it tried to end the program (exit 3)"
    assert await runs(job_id) == [1, 2]


async def test_progress_is_seen_and_told():
    heard = asyncio.Event()
    job_id = await db.transaction(jobs.enqueue, "test.counting", {"total": 30, "pause": 0.05})

    async def listen():
        async for _ in bell.listen(f"job:{job_id}"):
            heard.set()

    listener = asyncio.create_task(listen())
    await jobs.ring(job_id)
    await asyncio.wait_for(heard.wait(), 10)
    listener.cancel()
    job = await ended(job_id)
    began = job["progress"].pop("since")
    assert job["progress"] == {"done": 30, "total": 30, "note": "counting"}
    assert 0 < began <= clock.now().timestamp()
    assert await log(job_id) == [("begun", ""), ("note", "counting"), ("done", "")]
    assert await log((await ended(await put("test.quick")))["id"]) == []


async def test_a_running_job_can_be_cancelled():
    job_id = await put("test.counting", {"total": 100000, "pause": 0.05})
    await until(lambda: runs(job_id))
    await db.execute("UPDATE jobs_job SET cancel = true WHERE id = $1", job_id)
    job = await ended(job_id, "cancelled")
    assert job["progress"]["done"] < 1000
    assert (await log(job_id))[-1] == ("cancelled", "")


async def test_a_name_nobody_knows_stays_in_the_queue():
    job_id = await put("plugin.gone", {"n": 1})
    await ended(await put("test.quick"))
    assert await db.fetchval("SELECT (state, fence) = ('queued', 0) FROM jobs_job WHERE id = $1", job_id)


async def test_the_worker_shows_that_it_lives(worker):
    first = await db.fetchval("SELECT beat_at FROM jobs_worker WHERE name LIKE $1", f"%-{worker.pid}")
    await until(lambda: db.fetchval("SELECT max(beat_at) > $1 FROM jobs_worker", first), 12)


async def test_the_log_names_jobs_but_not_their_arguments(workers):
    job_id = await put("test.quick", {"secret": "CANARY-7781"})
    await ended(job_id)
    await until(lambda: _logged(workers, f"job {job_id} test.quick done"))
    assert "CANARY-7781" not in workers.log.read_text()


async def _logged(workers, text):
    return text in workers.log.read_text()


async def test_two_workers_run_a_periodic_job_one_at_a_time(workers):
    second = await workers.start()
    await db.execute("DELETE FROM test_run WHERE name = 'test.tick'")
    await until(lambda: db.fetchval("SELECT count(*) >= 4 FROM test_run WHERE name = 'test.tick'"), 20)
    gaps = await db.fetch(
        "SELECT extract(epoch FROM at - lag(at) OVER (ORDER BY at)) AS gap FROM test_run WHERE name = 'test.tick'"
    )
    assert all(row["gap"] is None or row["gap"] >= 0.99 for row in gaps)
    second.terminate()
    assert await asyncio.to_thread(second.wait, 10) == 0


async def test_a_turn_that_a_wrong_clock_put_off_comes_soon():
    """PostgreSQL's clock was a year ahead when the job ended, and was then set right."""
    off = "UPDATE jobs_job SET run_at = now() + interval '1 year' WHERE name = 'test.tick' AND state = 'queued'"
    await until(lambda: _changed(off))
    await db.execute("DELETE FROM test_run WHERE name = 'test.tick'")
    await until(lambda: db.fetchval("SELECT count(*) >= 2 FROM test_run WHERE name = 'test.tick'"), 40)


async def _changed(sql):
    return await db.execute(sql) == "UPDATE 1"


async def test_a_stopped_worker_finishes_what_it_has(workers):
    await db.execute("UPDATE test_gate SET open = false")
    job_id = await put("test.gated")
    await until(lambda: runs(job_id))
    pid = await db.fetchval("SELECT pid FROM test_run WHERE job_id = $1", job_id)
    os.kill(pid, signal.SIGTERM)
    await db.execute("UPDATE test_gate SET open = true")
    job = await ended(job_id)
    stopped = next(process for process in workers.running if process.pid == pid)
    assert await asyncio.to_thread(stopped.wait, 10) == 0
    assert (job["tries"], await runs(job_id)) == (1, [1])
    assert await db.fetchval("SELECT count(*) = 0 FROM jobs_worker WHERE name LIKE $1", f"%-{pid}")


async def test_a_stopped_worker_hands_back_what_does_not_end(workers):
    workers.stop()
    worker = await workers.start()
    await db.execute("UPDATE test_gate SET open = false")
    job_id = await put("test.gated")
    await until(lambda: runs(job_id))
    worker.terminate()
    assert await asyncio.to_thread(worker.wait, 12) == 0
    row = await db.fetchrow("SELECT state, tries, fence FROM jobs_job WHERE id = $1", job_id)
    assert tuple(row) == ("queued", 0, 1)
    assert await db.fetchval("SELECT count(*) FROM test_write WHERE job_id = $1", job_id) == 0
