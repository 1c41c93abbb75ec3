"""Requests forged from other sites, and forms of another session, change nothing."""

import httpx
import pytest

from core.web import csrf

from .conftest import orders, staff_cookie

FORM = {"sku": "A"}


async def started(client: httpx.AsyncClient) -> str:
    """A session for ``client``; gives its token."""
    answer = await client.post("/sample/start")
    assert answer.status_code == 303
    return answer.headers["x-csrf-token"]


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.test"},
        {"origin": "http://127.0.0.1"},
        {"origin": "null"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"origin": "http://127.0.0.1:1", "sec-fetch-site": "same-origin"},
    ],
)
@pytest.mark.parametrize("with_session", [False, True])
async def test_another_site_is_refused_even_with_the_token(
    client: httpx.AsyncClient, headers: dict[str, str], with_session: bool
):
    form = dict(FORM)
    if with_session and headers != {"origin": "null"}:
        form["csrf"] = await started(client)
    before = await orders()
    answer = await client.post("/sample/form", data=form, headers=headers)
    assert answer.status_code == 403
    assert await orders() == before


async def test_a_page_that_hides_its_origin_needs_the_token(client: httpx.AsyncClient):
    token = await started(client)
    before = await orders()
    without = await client.post("/sample/form", data=FORM, headers={"origin": "null"})
    assert without.status_code == 403
    assert await orders() == before
    given = await client.post("/sample/form", data={**FORM, "csrf": token}, headers={"origin": "null"})
    assert given.status_code == 303
    assert await orders() == before + 1


async def test_our_own_page_gets_through(client: httpx.AsyncClient, site: str):
    before = await orders()
    for headers in ({"origin": site}, {"sec-fetch-site": "same-origin"}, {"sec-fetch-site": "none"}, {}):
        assert (await client.post("/sample/form", data=FORM, headers=headers)).status_code == 303
    assert await orders() == before + 4


async def test_with_a_session_the_token_is_needed(client: httpx.AsyncClient):
    token = await started(client)
    before = await orders()
    other = csrf.token_for("x" * 43)
    for wrong in ({}, {"csrf": ""}, {"csrf": other}, {"csrf": token[:-1]}):
        assert (await client.post("/sample/form", data={**FORM, **wrong})).status_code == 403
    assert (await client.post("/sample/json", json=FORM)).status_code == 403
    assert await orders() == before
    assert (await client.post("/sample/form", data={**FORM, "csrf": token})).status_code == 303
    answer = await client.post("/sample/form", data=FORM, headers={"x-csrf-token": token})
    assert answer.status_code == 303
    assert await orders() == before + 2


async def test_an_old_form_can_be_sent_again_from_the_page_that_says_so(client: httpx.AsyncClient):
    token = await started(client)
    answer = await client.post("/sample/form", data={"sku": '<A"'}, headers={"sec-fetch-site": "same-origin"})
    assert answer.status_code == 403
    assert '<input type="hidden" name="sku" value="&lt;A&#34;">' in answer.text
    assert f'<input type="hidden" name="csrf" value="{token}">' in answer.text


async def test_an_old_form_with_a_password_is_not_shown_back(client: httpx.AsyncClient):
    await started(client)
    data = {"email": "a@b.c", "password": "correct horse"}
    answer = await client.post("/sample/form", data=data, headers={"sec-fetch-site": "same-origin"})
    assert answer.status_code == 403
    assert "correct horse" not in answer.text


async def test_json_as_text_is_refused(client: httpx.AsyncClient):
    for content_type in ("text/plain", "text/plain;charset=utf-8", "application/xml", ""):
        answer = await client.post("/sample/json", content=b'{"sku": "A"}', headers={"content-type": content_type})
        assert answer.status_code == 415
    answer = await client.post("/sample/json", json={"sku": "A"})
    assert answer.json() == {"sku": "A", "quantity": 1}


async def test_a_gateway_may_come_from_anywhere(client: httpx.AsyncClient):
    headers = {"origin": "https://pay.test", "sec-fetch-site": "cross-site", "content-type": "text/xml"}
    answer = await client.post("/sample/notify?a=1&a=2", content="<paid/>", headers=headers)
    assert (answer.status_code, answer.text) == (200, "<paid/>")


async def test_staff_post_needs_right_and_token(client: httpx.AsyncClient):
    before = await orders()
    cookie = await staff_cookie("support")
    headers = {"x-csrf-token": csrf.token_for(cookie)}
    client.cookies.set("vs", cookie)
    assert (await client.post("/admin/sample", headers=headers)).status_code == 403
    cookie = await staff_cookie("owner")
    client.cookies.set("vs", cookie)
    assert (await client.post("/admin/sample", headers=headers)).status_code == 403
    assert await orders() == before
    answer = await client.post("/admin/sample", headers={"x-csrf-token": csrf.token_for(cookie)})
    assert answer.status_code == 303
    assert await orders() == before + 1


async def test_forwarded_host_and_scheme_only_from_the_proxy(client: httpx.AsyncClient):
    headers = {"x-forwarded-host": "evil.test", "x-forwarded-proto": "https", "origin": "https://evil.test"}
    assert (await client.post("/sample/start", headers=headers)).status_code == 403
