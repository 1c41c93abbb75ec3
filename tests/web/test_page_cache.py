import gzip
import re
import time

import httpx

from core.web import once
from core.web.page_cache import PageCache


def key_of(answer: httpx.Response) -> str:
    return re.search(r'name="key" value="([^"]+)"', answer.text)[1]


def test_keys_go_into_the_packed_page_as_into_the_plain_one():
    body = ("begin " * 300 + once.MARK + " middle " * 300 + once.MARK + " end").encode()
    page = PageCache().put("k", [], body)
    sizes = {len(page.body())}
    for _ in range(50):
        text = gzip.decompress(page.gzipped()).decode()
        assert once.MARK not in text
        sizes.add(len(text.encode()))
    assert sizes == {len(body)}
    assert gzip.decompress(page.gzipped()) != gzip.decompress(page.gzipped())


def test_a_page_is_forgotten_after_its_time():
    cache = PageCache(ttl=0.05)
    cache.put("k", [], b"x")
    assert cache.get("k").body() == b"x"
    deadline = time.monotonic() + 5
    while cache.get("k") is not None:
        assert time.monotonic() < deadline
    assert cache.get("k") is None


def test_the_cache_cannot_be_filled_up():
    cache = PageCache()
    for number in range(5000):
        cache.put(number, [], b"x")
    assert len(cache) <= 512
    cache.put("large", [], b"x" * 600_000)
    assert cache.get("large") is None


async def test_the_same_page_with_a_key_for_each(client: httpx.AsyncClient, app):
    app.state.pages.clear()
    answers = [await client.get("/sample", headers={"accept-encoding": kind}) for kind in ("gzip", "gzip", "identity")]
    assert len(app.state.pages) == 1
    assert {answer.headers["cache-control"] for answer in answers} == {"no-cache"}
    assert len({key_of(answer) for answer in answers}) == 3
    assert len({answer.headers["x-request-id"] for answer in answers}) == 3
    assert len({answer.text.replace(key_of(answer), "") for answer in answers}) == 1
    assert not any(once.MARK in answer.text for answer in answers)


async def test_language_colours_query_and_host_make_another_page(client: httpx.AsyncClient, app):
    app.state.pages.clear()
    await client.get("/sample")
    await client.get("/sample?page=2")
    await client.get("/sample", headers={"accept-language": "zh-CN"})
    await client.get("/sample", headers={"cookie": "colours=dark"})
    await client.get("/sample", headers={"host": "other.test"})
    assert len(app.state.pages) == 5
    dark = await client.get("/sample", headers={"cookie": "colours=dark"})
    assert 'data-theme="dark"' in dark.text
    assert "data-theme" not in (await client.get("/sample")).text


async def test_long_addresses_fill_no_memory(client: httpx.AsyncClient, app):
    app.state.pages.clear()
    assert (await client.get(f"/sample?page={'x' * 600}")).status_code == 200
    assert len(app.state.pages) == 0


async def test_visitors_with_a_session_or_a_message_get_their_own(client: httpx.AsyncClient, app):
    app.state.pages.clear()
    assert (await client.post("/sample/form", data={"sku": "a"})).status_code == 303
    with_flash = await client.get("/sample")
    assert "Saved" in with_flash.text
    assert len(app.state.pages) == 0
    assert "Saved" not in (await client.get("/sample")).text
    assert len(app.state.pages) == 1
    token = (await client.post("/sample/start")).headers["x-csrf-token"]
    answer = await client.get("/sample")
    assert f'name="csrf" value="{token}"' in answer.text
    assert answer.headers["cache-control"] == "no-store"
    assert len(key_of(answer)) == once.SIZE
    async with httpx.AsyncClient(base_url=client.base_url, headers={"accept-language": "en"}) as stranger:
        assert token not in (await stranger.get("/sample")).text


async def test_an_answer_with_a_cookie_is_nobody_elses(client: httpx.AsyncClient, app):
    app.state.pages.clear()
    first = await client.get("/sample/cookie")
    assert "flash=" in first.headers["set-cookie"]
    assert first.headers["cache-control"] == "no-store"
    assert once.MARK not in first.text
    assert len(app.state.pages) == 0
