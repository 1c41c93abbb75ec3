"""What went wrong, for browsers, for htmx, for programs and for the log."""

import base64
import logging

import asyncpg
import httpx
import pytest

from core import db
from core.web.errors import answer_for
from core.web.logs import OneLine, one_line, told


async def test_a_page_for_people_in_their_language(client: httpx.AsyncClient):
    english = await client.get("/nothing")
    assert english.status_code == 404
    assert "<h1>This page does not exist</h1>" in english.text
    assert "start again from the home page" in english.text
    assert f"<code>{english.headers['x-request-id']}</code>" in english.text
    chinese = await client.get("/nothing", headers={"accept-language": "zh-CN,zh;q=0.9,en;q=0.8"})
    assert '<html lang="zh-CN"' in chinese.text
    assert "<h1>没有这个页面</h1>" in chinese.text


async def test_a_toast_for_htmx(client: httpx.AsyncClient):
    headers = {"hx-request": "true", "hx-request-type": "partial"}
    answer = await client.get("/sample/boom", headers=headers)
    assert answer.status_code == 500
    assert answer.text.startswith('<div class="toast toast-error" role="alert">')
    assert "<html" not in answer.text


async def test_problem_json_for_programs(client: httpx.AsyncClient):
    answer = await client.get("/api/v1/nothing")
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["status"] == 404
    assert problem["request_id"] == answer.headers["x-request-id"]


async def test_our_mistakes_are_logged_in_one_line_and_not_shown(
    client: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
):
    answer = await client.get("/sample/boom?k=secret")
    assert answer.status_code == 500
    assert "boiler" not in answer.text
    record = next(record for record in caplog.records if record.levelno == logging.ERROR)
    line = OneLine().format(record)
    assert "\n" not in line
    assert "GET /sample/boom failed" in line
    assert "RuntimeError: the boiler at " in line
    assert "sample.py:" in line
    assert "burst" not in line
    assert "secret" not in line


def test_no_line_can_be_forged():
    assert one_line("a\r\nb\x1b[2Jc\u2028d\x85e") == "a\\r\\nb\\x1b[2Jc\\u2028d\\x85e"
    record = logging.LogRecord("x", logging.INFO, "f", 1, "user %s", ("bob\nADMIN",), None)
    assert "\n" not in OneLine().format(record)


def test_the_cause_is_told_but_no_values():
    try:
        try:
            int("SECRET-CODE\nin the second line")
        except ValueError as error:
            raise RuntimeError("could not read the file") from error
    except RuntimeError as error:
        text = told(error)
    assert text.startswith("RuntimeError: could not read the file at ")
    assert " | caused by ValueError: " in text


async def test_methods_and_their_allow_header(client: httpx.AsyncClient):
    answer = await client.put("/sample")
    assert answer.status_code == 405
    assert set(answer.headers["allow"].split(", ")) == {"GET", "OPTIONS"}
    assert "not for this kind of request" in answer.text


async def test_doubled_slashes_are_the_same_page(client: httpx.AsyncClient):
    url = httpx.URL(client.base_url, raw_path=b"//evil.test//sample")
    assert (await client.get(url)).status_code == 404
    console = await client.get(httpx.URL(client.base_url, raw_path=b"//admin//sample"))
    assert (console.status_code, console.headers["location"]) == (303, "/admin/sign-in?next=/admin/sample")
    assert console.headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (asyncpg.AdminShutdownError("terminating connection"), 503),
        (asyncpg.ConnectionDoesNotExistError("gone"), 503),
        (asyncpg.QueryCanceledError("statement timeout"), 503),
        (FileNotFoundError("no socket"), 503),
        (db.DatabaseBusy("full"), 503),
        (db.CommitUnknown("broke"), 503),
        (asyncpg.UniqueViolationError("our mistake"), 500),
        (ValueError("our mistake"), 500),
    ],
)
def test_the_database_away_is_not_a_mistake_of_the_program(error: Exception, status: int):
    answer = answer_for(error)
    assert answer.status == status
    assert answer.headers == ({"Retry-After": "10"} if status == 503 else {})


@pytest.mark.parametrize("planted", [b"[" * 3000, b'["a", "b", "c"]', b'{"a": 1, "b": 2}', b"\xff", b""])
async def test_a_message_that_is_none_of_ours_is_no_trouble(client: httpx.AsyncClient, planted: bytes):
    cookie = base64.urlsafe_b64encode(planted).decode().rstrip("=")
    assert (await client.get("/sample", headers={"cookie": f"flash={cookie}"})).status_code == 200
