"""What the shop stands on is stopped, full, locked or used up while buyers buy; then it is there again."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import httpx
import pytest
import redis

from core import processes
from core.vault import cipher, keys
from tests.faults.shop import Books, Browser, Ledger, notice, tell
from tests.faults.whole import PRICE_TEXT, SKU, whole_shop
from tests.journeys.conftest import MailServer
from tests.run.conftest import until

CODES = [f"SQUEEZED-{number:04d}-CODE" for number in range(60)]
BUYERS = 8
POSTGRES = "postgres"


@pytest.fixture(scope="module")
def mail():
    server = MailServer()
    server.controller.start()
    yield server
    server.controller.stop()


@pytest.fixture(scope="module")
def shop(mail, tmp_path_factory):
    with whole_shop(mail) as shop:
        shop.import_codes(CODES, tmp_path_factory.mktemp("import"))
        yield shop


@pytest.fixture
def ledger(shop):
    """What the gateway told and what the buyers saw; compared with the database at the end of each test."""
    ledger = Ledger()
    yield ledger
    until(lambda: Books(shop.psql).problems() == [])
    assert ledger.differences(shop.psql) == []


def persist(act, seconds: float = 60):
    """As a browser or a gateway does: try until there is an answer that is no excuse."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            return act()
        except (httpx.TransportError, AssertionError):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


def told(shop, ref: str) -> None:
    assert tell(shop.url, notice(f"{ref}-1", PRICE_TEXT)).content == b"success"


def buy(shop, ledger: Ledger) -> str:
    """A buyer who does not give up."""
    with Browser() as browser:
        persist(lambda: browser.open_counter(shop.url, SKU))
        ref = persist(lambda: browser.send(shop.url))
        ledger.took(f"{ref}-1", 1500)
        persist(lambda: told(shop, ref))
        ledger.saw(ref, persist(lambda: browser.reveal(shop.url, ref)))
        return ref


def test_postgresql_stopped_at_once_in_the_middle_of_sales(shop, ledger):
    """``pg_ctl -m immediate stop``: no transaction may end; what was not answered is asked again."""
    with ThreadPoolExecutor(BUYERS) as crowd:
        sales = [crowd.submit(buy, shop, ledger) for _ in range(BUYERS)]
        until(lambda: shop.psql("SELECT count(*) FROM orders_order") != "0")
        (postmaster,) = (pid for pid in shop.run.processes("bin/postgres -D") if _leads(pid))
        os.kill(postmaster, signal.SIGQUIT)
        until(lambda: postmaster not in shop.run.processes())
        refs = [sale.result() for sale in sales]
    assert len(set(refs)) == BUYERS


def _leads(pid: int) -> bool:
    with open(f"/proc/{pid}/stat") as file:
        parent = int(file.read().rpartition(")")[2].split()[1])
    with open(f"/proc/{parent}/cmdline") as file:
        return "server.py" in file.read()


def test_valkey_full(shop, ledger, mail):
    """Nobody can ring: the sweeper finds the work."""
    with redis.from_url(shop.place.redis_url) as client:
        client.config_set("maxmemory", "1")
        try:
            with Browser() as browser:
                browser.open_counter(shop.url, SKU)
                ref = browser.send(shop.url)
                ledger.took(f"{ref}-1", 1500)
                told(shop, ref)
                ledger.saw(ref, browser.reveal(shop.url, ref))
                assert ref in mail.mail_to(browser.contact).as_string()
        finally:
            client.config_set("maxmemory", "128mb")


def test_no_room_on_the_disk(shop, ledger):
    """PostgreSQL can write nothing any more, its log of changes included; then there is room again."""
    with Browser() as browser:
        browser.open_counter(shop.url, SKU)
        ref = browser.send(shop.url)
        ledger.took(f"{ref}-1", 1500)
        with full_disk(shop):
            answers = [_answer(lambda: tell(shop.url, notice(f"{ref}-1", PRICE_TEXT))) for _ in range(3)]
            assert all(status >= 500 and b"Traceback" not in body for status, body in answers), answers
        persist(lambda: told(shop, ref))
        ledger.saw(ref, persist(lambda: browser.reveal(shop.url, ref)))
    assert Books(shop.psql).order(ref)[:2] == ("paid", "delivered")


def _answer(ask) -> tuple[int, bytes]:
    answer = ask()
    return answer.status_code, answer.content


@contextmanager
def full_disk(shop):
    """No file of PostgreSQL may be written beyond its first page: every write fails as on a full disk."""
    _allow(shop, "8192")
    try:
        yield
    finally:
        _allow(shop, "unlimited")


def _allow(shop, size: str) -> None:
    """Also for those that PostgreSQL starts meanwhile: they have it from their parent."""
    done: set[int] = set()
    while left := shop.run.processes(POSTGRES) - done:
        for pid in left:
            command = ["prlimit", "--pid", str(pid), f"--fsize={size}:"]
            subprocess.run(command, capture_output=True, **processes.as_user(shop.place.user))
        done |= left


def test_a_lock_that_is_held_too_long(shop, ledger):
    """Waiting is bounded: the gateway gets its no within seconds, and its yes when the lock is gone."""
    with Browser() as browser:
        browser.open_counter(shop.url, SKU)
        ref = browser.send(shop.url)
        ledger.took(f"{ref}-1", 1500)
        held = threading.Event()
        with _lock_held(shop, "LOCK TABLE payments_attempt IN ACCESS EXCLUSIVE MODE", held):
            began = time.monotonic()
            answer = tell(shop.url, notice(f"{ref}-1", PRICE_TEXT))
            assert answer.content != b"success"
            assert answer.status_code >= 500
            assert time.monotonic() - began < 12
        persist(lambda: told(shop, ref))
        ledger.saw(ref, browser.reveal(shop.url, ref))


@contextmanager
def _lock_held(shop, statement: str, held: threading.Event):
    psql = [f"{shop.place.postgres_bin}/psql", "-XAtq", "-d", shop.place.database_url]
    process = subprocess.Popen(psql, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd="/")
    assert process.stdin and process.stdout
    process.stdin.write(f"BEGIN; {statement}; SELECT 'held';\n")
    process.stdin.flush()
    assert process.stdout.readline() == "held\n"
    try:
        yield
    finally:
        process.communicate("ROLLBACK;\n")


def test_no_file_descriptor_is_left(shop, ledger):
    """The web process can open nothing more, not even a connection; then it can."""
    (web,) = shop.run.processes("server.py web")
    soft, hard = resource.prlimit(web, resource.RLIMIT_NOFILE)
    resource.prlimit(web, resource.RLIMIT_NOFILE, (3, hard))
    try:
        with pytest.raises((httpx.TransportError, AssertionError)):
            with Browser(http=httpx.Client(timeout=2)) as browser:
                browser.open_counter(shop.url, SKU)
    finally:
        resource.prlimit(web, resource.RLIMIT_NOFILE, (soft, hard))
    buy(shop, ledger)
    assert shop.run.processes("server.py web") == {web}


def test_a_forked_process_repeats_no_nonce():
    """Two processes that were one a moment ago seal under the same key with numbers of their own."""
    keys.use(keys.MasterKey(bytes(range(32))))
    batch = cipher.BatchCipher(bytes(32), 1, 1, 1)
    batch.seal(1, "before")
    nonces = set()
    for _child in range(4):
        reading, writing = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.write(writing, b"".join(batch.seal(1, "after")[2:14] for _ in range(50)))
            os._exit(0)
        os.close(writing)
        with os.fdopen(reading, "rb") as output:
            sealed = output.read()
        os.waitpid(pid, 0)
        nonces |= {sealed[at : at + 12] for at in range(0, len(sealed), 12)}
    assert len(nonces) == 200
