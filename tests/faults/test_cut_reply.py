"""The connection to PostgreSQL is cut after it committed and before it could say so: nobody knows, nothing is lost."""

import contextlib
import socket
import threading
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from tests.faults.shop import SEED, SETTINGS, Books, Browser, Ledger, notice, tell
from tests.payments.real_shop import PRICE, RealShop

SKU = "CUT"
CODES = [f"CUT-{number:04d}-CODE" for number in range(10)]
DONE = b"Z\x00\x00\x00\x05I"
"""ReadyForQuery, idle: what PostgreSQL says when nothing is left open, so after a commit."""

IN_TRANSACTION = b"Z\x00\x00\x00\x05T"


class Scissors:
    """Between a shop and PostgreSQL. Once it is armed, the connection that names ``word`` never hears of its commit."""

    def __init__(self, socket_path: str) -> None:
        self.path, self.word, self.cuts = socket_path, b"", 0
        self.after_begin = False
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _address = self.listener.accept()
                server = socket.socket(socket.AF_UNIX)
                server.connect(self.path)
                marked = threading.Event()
                for work in (self._to_server, self._to_client):
                    threading.Thread(target=work, args=(client, server, marked), daemon=True).start()

    def _to_server(self, client: socket.socket, server: socket.socket, marked: threading.Event) -> None:
        with contextlib.suppress(OSError):
            while data := client.recv(1 << 16):
                if self.word and self.word in data:
                    marked.set()
                server.sendall(data)
        self._close(client, server)

    def _to_client(self, client: socket.socket, server: socket.socket, marked: threading.Event) -> None:
        began = False
        with contextlib.suppress(OSError):
            while data := server.recv(1 << 16):
                began = began or (marked.is_set() and IN_TRANSACTION in data)
                if marked.is_set() and DONE in data and (began or not self.after_begin):
                    self.word, self.cuts = b"", self.cuts + 1
                    break
                client.sendall(data)
        self._close(client, server)

    def _close(self, *ends: socket.socket) -> None:
        for end in ends:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()


@pytest.fixture(scope="module")
def sql(engines, database):
    name = urlsplit(database).path[1:]
    engines.sql(SEED, name)
    return lambda statement: engines.sql(statement, name)


@pytest.fixture(scope="module")
def healthy(sql, start, tmp_path_factory):
    web = start("web", "--no-demo", **SETTINGS)
    RealShop(web.url, web.environ, sql).stock(SKU, CODES, tmp_path_factory.mktemp("codes"))
    with Browser() as first:
        first.open_counter(web.url, SKU)
        # the first sale opens the accounts of the books and takes the longer road
        assert tell(web.url, notice(f"{first.send(web.url)}-1")).content == b"success"
    return web


@pytest.fixture(scope="module")
def scissors(database):
    (folder,) = parse_qs(urlsplit(database).query)["host"]
    scissors = Scissors(f"{folder}/.s.PGSQL.5432")
    yield scissors
    scissors.listener.close()


@pytest.fixture(scope="module")
def behind(scissors, healthy, start, database):
    """A web process that reaches PostgreSQL through the scissors."""
    name = urlsplit(database).path
    url = f"postgresql://vouchsafe@127.0.0.1:{scissors.port}{name}?sslmode=disable"
    return start("web", "--no-demo", **{**SETTINGS, "DATABASE_URL": url})


@pytest.mark.parametrize("late", [False, True], ids=["in one statement", "step by step"])
def test_a_payment_whose_commit_nobody_heard_of(late, scissors, behind, healthy, sql):
    with Browser() as browser:
        browser.open_counter(healthy.url, SKU)
        ref = browser.send(healthy.url)
        origin = {"Origin": healthy.url}
        if late:
            browser.http.post(f"{healthy.url}/o/{ref}/cancel", data={"csrf": browser.form["csrf"]}, headers=origin)
            assert Books(sql).order(ref) == ("cancelled", "released", "0")
        scissors.word, scissors.after_begin = f"T{ref}-1".encode(), late
        before = scissors.cuts
        first = tell(behind.url, notice(f"{ref}-1"))
        assert scissors.cuts == before + 1
        assert first.content != b"success"
        assert Books(sql).order(ref) == ("paid", "delivered", str(PRICE))

        assert tell(behind.url, notice(f"{ref}-1")).content == b"success"
        assert tell(healthy.url, notice(f"{ref}-1")).content == b"success"
        ledger = Ledger({f"{ref}-1": PRICE}, {ref: browser.reveal(healthy.url, ref)})
    assert ledger.differences(sql) == []
    assert Books(sql).problems() == []


def test_a_checkout_whose_commit_nobody_heard_of(scissors, behind, healthy, sql):
    with Browser() as browser:
        browser.open_counter(behind.url, SKU)
        scissors.word, scissors.after_begin = browser.contact.encode(), False
        before = scissors.cuts
        first = httpx.post(
            f"{behind.url}/checkout", data=browser.form, headers={"Origin": behind.url}, cookies=browser.http.cookies
        )
        assert scissors.cuts == before + 1
        placed = f"SELECT count(*) FROM orders_order WHERE contact = '{browser.contact}'"
        assert (first.status_code >= 500, sql(placed)) == (True, "1")
        ref = browser.send(behind.url)
        assert sql(placed) == "1"
        assert tell(behind.url, notice(f"{ref}-1")).content == b"success"
        ledger = Ledger({f"{ref}-1": PRICE}, {ref: browser.reveal(behind.url, ref)})
    assert ledger.differences(sql) == []
    assert Books(sql).problems() == []
