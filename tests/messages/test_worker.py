"""The real worker program sends, also when it is killed in the middle of it."""

import asyncio
import base64
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from core import db
from core.jobs import bell, ring
from core.messages import service

from .conftest import MASTER_KEY

ROOT = Path(__file__).resolve().parents[2]


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

    def start():
        with (tmp_path / "worker.log").open("ab") as log:
            command = [sys.executable, "server.py", "worker"]
            running.append(subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log))
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


async def test_a_worker_killed_while_the_server_listens_to_the_mail(desk, server, mail, start_worker):
    taken, go_on = threading.Event(), threading.Event()

    async def stall(smtp, session, envelope, address, options):
        """Take the sender's name and then say nothing for as long as the first worker lives."""
        taken.set()
        while not go_on.is_set():
            await asyncio.sleep(0.05)
        envelope.mail_from = address
        return "250 OK"

    mail.handle_MAIL = stall
    await desk.use_smtp(server.port)
    first = start_worker()
    await settled(desk)
    assert await asyncio.to_thread(taken.wait, 60)
    assert await state_is("sending")
    first.kill()
    first.wait()
    go_on.set()
    start_worker()
    await db.execute("UPDATE jobs_job SET lease_until = now() WHERE name = 'messages.send'")
    await until(lambda: state_is("sent"))
    assert len(mail.mails) == 1
    row = await db.fetchrow("SELECT state, tries FROM jobs_job WHERE name = 'messages.send'")
    assert tuple(row) == ("done", 2)
