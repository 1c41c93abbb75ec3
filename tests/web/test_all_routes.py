"""The whole application: every route says who may use it, refuses everybody else, and is safe to answer."""

import re
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from litestar import Litestar, get

from core import db
from core.app import StartRefused, create_app, handlers
from core.config import Config
from core.people import rights
from core.shops import service as shops
from core.web import csrf
from core.web.feature import BadRoute, Feature
from server import with_plugins
from tests import plugged

from .conftest import served, staff_cookie
from .test_headers import assert_safe

ASK_FOR_MORE = (
    "/account/erase",
    "/account/open",
    "/checkout",
    "/balance/open",
    "/admin/setup",
    "/admin/themes/draft",
    "/admin/themes/preview",
    "/admin/books/account",
    "/admin/books/account.csv",
)
"""Pages that open only with something in their query."""

VALUES = {"int": "1", "str": "x", "path": "x"}


@pytest.fixture(scope="module")
def whole(environment: dict[str, str]) -> Litestar:
    return create_app(Config.from_env(environment), load_plugins=with_plugins)


@pytest.fixture(scope="module")
async def site(whole: Litestar) -> AsyncIterator[str]:
    shops.forget()
    async with served(whole) as address:
        await plugged.all_on()
        yield address


def routes(app: Litestar) -> list[tuple[str, str, dict[str, Any]]]:
    """(method, an address that leads there, opt)"""
    return [
        (method, re.sub(r"\{\w+:(\w+)\}", lambda match: VALUES[match[1]], path), dict(handler.opt))
        for path, handler in [*handlers(app), *plugged.routes()]
        for method in sorted(handler.http_methods)
    ]


async def rows_of_everything() -> dict[str, int]:
    names = await db.fetch(
        "SELECT relname FROM pg_stat_user_tables WHERE relname NOT IN ('web_limit', 'people_session') ORDER BY relname"
    )
    return {row["relname"]: await db.fetchval(f'SELECT count(*) FROM "{row["relname"]}"') for row in names}


async def test_every_answer_is_safe(site: str, whole: Litestar):
    async with httpx.AsyncClient(base_url=site) as client:
        for method, path, opt in routes(whole):
            answer = await _first_part(client, method, path)
            assert_safe(answer)
            assert answer.status_code < 500, (method, path, answer.status_code)
            if opt["who"] != "anyone" or "set-cookie" in answer.headers:
                assert answer.headers["cache-control"] == "no-store", (method, path)
            for cookie in answer.headers.get_list("set-cookie"):
                assert "httponly" in cookie.lower(), (method, path)
                assert "samesite=lax" in cookie.lower(), (method, path)


async def _first_part(client: httpx.AsyncClient, method: str, path: str, **more: Any) -> httpx.Response:
    """Streams are answered for ever: the head is enough."""
    async with client.stream(method, path, **more) as answer:
        if not answer.headers.get("content-type", "").startswith("text/event-stream"):
            await answer.aread()
        return answer


async def test_no_right_no_entrance(site: str, whole: Litestar):
    """Staff routes: strangers go to the sign-in, roles without the right are told so, and nothing changes."""
    cookies = {role: await staff_cookie(role) for role in rights.ROLES}
    before = await rows_of_everything()
    refused = 0
    async with httpx.AsyncClient(base_url=site) as client:
        for method, path, opt in routes(whole):
            if not opt["who"].startswith("staff:"):
                continue
            right = opt["who"].removeprefix("staff:")
            stranger = await client.request(method, path)
            assert stranger.status_code == 303, (method, path)
            assert stranger.headers["location"].startswith("/admin/sign-in"), (method, path)
            for role, cookie in cookies.items():
                if right == "any" or rights.may(role, right):
                    continue
                headers = {"cookie": f"vs={cookie}", "x-csrf-token": csrf.token_for(cookie)}
                assert (await client.request(method, path, headers=headers)).status_code == 403, (role, method, path)
                refused += 1
    assert refused > 50
    assert await rows_of_everything() == before


PARTIAL = {"hx-request": "true", "hx-request-type": "partial"}
"""As htmx asks, so that what refuses need not draw a whole page each time; a page is asked for in the first two."""


async def test_every_change_needs_our_origin_our_token_and_a_known_format(site: str, whole: Litestar):
    owner = await staff_cookie("owner")
    token = csrf.token_for(owner)
    before = await rows_of_everything()
    tried = 0
    async with httpx.AsyncClient(base_url=site, headers={"cookie": f"vs={owner}"}) as client:
        for method, path, opt in routes(whole):
            if method in ("GET", "HEAD") or opt["who"] == "gateway" or path == "/admin/sign-out":
                continue
            for status, headers, content in (
                (403, {"origin": "https://evil.test", "x-csrf-token": token}, b""),
                (403, {"sec-fetch-site": "cross-site", "x-csrf-token": token}, b""),
                (403, {**PARTIAL, "sec-fetch-site": "same-site", "x-csrf-token": token}, b""),
                (403, {**PARTIAL, "origin": site}, b""),
                (403, {**PARTIAL, "origin": site, "x-csrf-token": csrf.token_for("x" * 43)}, b""),
                (415, {**PARTIAL, "origin": site, "content-type": "text/plain", "x-csrf-token": token}, b'{"a": 1}'),
            ):
                answer = await client.request(method, path, headers=headers, content=content)
                expected = (status, 401, 429) if opt["who"] == "buyer" or opt.get("limit") else (status,)
                assert answer.status_code in expected, (method, path, headers, answer.status_code)
                tried += 1
    assert tried > 100
    assert await rows_of_everything() == before


async def test_only_declared_methods(site: str, whole: Litestar):
    declared: dict[str, set[str]] = {}
    for method, path, _opt in routes(whole):
        declared.setdefault(path, set()).add(method)
    async with httpx.AsyncClient(base_url=site) as client:
        for path, methods in declared.items():
            for method in {"PUT", "PATCH", "DELETE", "TRACE"} - methods:
                assert (await client.request(method, path)).status_code == 405, (method, path)


async def test_bodies_and_addresses_out_of_bounds(site: str, whole: Litestar):
    before = await rows_of_everything()
    form = {"content-type": "application/x-www-form-urlencoded"}
    async with httpx.AsyncClient(base_url=site) as client:
        for method, path, opt in routes(whole):
            if method == "POST" and not opt["who"].startswith("staff:"):
                size = opt.get("max_body", 1_000_000) + 1
                answer = await client.post(path, content=b"a" * size, headers=form)
                assert answer.status_code in (413, 401, 429), (path, answer.status_code)
            if method == "GET" and opt["who"] == "anyone":
                assert (await client.get(path + "?a=1&a=2")).status_code == 400, path
                assert (await client.get(path + "?a=%00")).status_code == 400, path
    assert await rows_of_everything() == before


async def test_no_page_is_an_error_for_the_owner(site: str, whole: Litestar):
    """Every page without a value in its address opens, in both languages, for the owner of an empty shop."""
    owner = await staff_cookie("owner")
    async with httpx.AsyncClient(base_url=site, headers={"cookie": f"vs={owner}"}) as client:
        for path, handler in [*handlers(whole), *plugged.routes()]:
            if "GET" not in handler.http_methods or "{" in path or handler.opt["who"].startswith("key:"):
                continue
            for language in ("zh-CN", "en"):
                answer = await client.get(path, headers={"accept-language": language})
                assert answer.status_code < (500 if path in ASK_FOR_MORE else 400), (path, answer.status_code)


# -- a start that is refused ------------------------------------------------------------


@get("/open", opt={"who": "everybody"})
async def unclear() -> str:
    return ""


@get("/open")
async def unsaid() -> str:
    return ""


@get("/open", opt={"who": "staff:"})
async def no_right() -> str:
    return ""


@get("/open", opt={"who": "anyone", "limit": "nothing"})
async def no_such_limit() -> str:
    return ""


@get("/open", opt={"who": "staff:orders.eat"})
async def no_such_act() -> str:
    return ""


@pytest.mark.parametrize("route", [unclear, unsaid, no_right, no_such_limit, no_such_act])
def test_a_route_that_does_not_say_who_stops_the_start(environment: dict[str, str], route: Any):
    bad = Feature(name="bad", buyer_routes=[route])
    with pytest.raises((BadRoute, ValueError)):
        create_app(Config.from_env(environment), names=(), extra_features=[bad])


def test_a_console_page_for_buyers_stops_the_start(environment: dict[str, str]):
    @get("/open", opt={"who": "buyer"})
    async def page() -> str:
        return ""

    with pytest.raises(BadRoute):
        create_app(Config.from_env(environment), names=(), extra_features=[Feature("bad", console_routes=[page])])


@pytest.mark.parametrize("name", ["LITESTAR_DEBUG", "LITESTAR_PDB"])
def test_debug_switches_stop_the_start(environment: dict[str, str], name: str):
    import os

    os.environ[name] = "1"
    try:
        with pytest.raises(StartRefused, match=name):
            create_app(Config.from_env(environment), names=())
    finally:
        del os.environ[name]


def test_debug_is_off(whole: Litestar):
    assert whole.debug is False
    assert whole.pdb_on_exception is False
    # of the API there is a document, and no page that would fetch scripts from elsewhere
    assert whole.openapi_config is not None
    assert [plugin.paths for plugin in whole.openapi_config.render_plugins] == [["/openapi.json"]]
