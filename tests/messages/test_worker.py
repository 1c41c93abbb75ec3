"""The real worker program sends, also when it is killed in the middle of it."""

import asyncio
import base64
import os
import signal
import time

import pytest

from core import db
from core.jobs import bell, ring
from core.messages import service
from tests import warm

from .conftest import MASTER_KEY


@pytest.fixture
async def start_worker(database, redis_url, tmp_path):
    """Start `server.py worker` on this module's database; killed at the end."""
    running = []
    environment = {
        **os.environ,
        "VOUCHSAFE_HOME": str(tmp_path),
        "VOUCHSAFE_BASE_URL": "https://shop.example.com",
        "VOUCHSAFE_MASTER_KEY": base64.b64encode(MASTER_KEY).decode(),
        "DATABASE_URL": database,
        "REDIS_URL": redis_url,
    }

    def start(crash_at=""):
        with (tmp_path / "worker.log").open("ab") as log:
            running.append(warm.Process(["worker"], {**environment, "VOUCHSAFE_CRASH_AT": crash_at}, log, log))
        return running[-1]

    bell.open(redis_url)
    yield start
    await bell.close()
    for process in running:
        process.kill()
        process.wait()


async def until(met, seconds=60):
    deadline = time.monotonic() + seconds
    while not await met():
        assert time.monotonic() < deadline, f"not within {seconds} s"
        await asyncio.sleep(0.02)


async def settled(desk):
    order = await desk.order()

    async def work(tx):
        return await service.order_settled(tx, order, delivered=True)

    await ring(*await db.transaction(work))


async def state_is(state):
    return await db.fetchval("SELECT state = $1 FROM messages_message ORDER BY id DESC LIMIT 1", state)


async def test_a_mail_leaves_soon_after_the_sale(desk, server, mail, start_worker):
    await desk.use_smtp(server.port)
    start_worker()
    await until(lambda: db.fetchval("SELECT count(*) = 1 FROM jobs_worker"))
    await settled(desk)
    await until(lambda: state_is("sent"))
    [message] = await db.fetch("SELECT sent_at - created_at AS took FROM messages_message")
    assert message["took"].total_seconds() < 2
    assert len(mail.mails) == 1


async def test_a_refusal_is_told_in_the_merchant_s_language(desk, server, mail, start_worker):
    await desk.use_smtp(server.port)
    await db.execute("UPDATE shops_shop SET locale = 'zh-CN', revision = revision + 1")
    mail.at_rcpt = ["550 5.1.1 no such user"]
    start_worker()
    await settled(desk)
    await until(lambda: state_is("failed"))
    assert (await desk.message())["error"] == "邮件服务器返回：550 5.1.1 no such user"


async def test_workers_killed_at_every_step_lose_no_mail(desk, server, mail, start_worker):
    await desk.use_smtp(server.port)
    for point in ("jobs.taken:messages.send", "messages.handed_over", "jobs.worked:messages.send"):
        await settled(desk)
        killed = start_worker(point)
        assert await asyncio.to_thread(killed.wait, 60) == -signal.SIGKILL
        await db.execute("UPDATE jobs_job SET lease_until = now() + interval '1 hour' WHERE state = 'running'")
    assert len(mail.mails) == 2
    start_worker()
    await db.execute("UPDATE jobs_job SET lease_until = now() WHERE state = 'running'")
    done = "SELECT count(*) = 3 FROM jobs_job WHERE name = 'messages.send' AND state = 'done'"
    await until(lambda: db.fetchval(done))
    assert await db.fetchval("SELECT count(*) = 3 FROM messages_message WHERE state = 'sent'")
    ids = [sent["Message-ID"] for sent in mail.mails]
    assert (len(ids), len(set(ids))) == (4, 3)  # the one handed over but not written down came twice, recognisably
