"""Every answer carries the security headers, whatever happened inside."""

import httpx
import pytest

from core.web.headers import content_security_policy

from .conftest import staff_cookie

CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
ALWAYS = {
    "content-security-policy": CSP,
    "x-content-type-options": "nosniff",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "x-frame-options": "DENY",
}


def assert_safe(answer: httpx.Response) -> None:
    for name, value in ALWAYS.items():
        assert answer.headers.get_list(name) == [value], (name, answer.url)
    assert "camera=()" in answer.headers["permissions-policy"]
    assert answer.headers["referrer-policy"] in ("same-origin", "no-referrer")
    assert len(answer.headers["x-request-id"]) == 16
    assert "server" not in answer.headers
    assert "access-control-allow-origin" not in answer.headers
    assert "x-vouchsafe-cache" not in answer.headers


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/sample", 200),
        ("HEAD", "/sample", 200),
        ("GET", "/sample/form", 200),
        ("GET", "/sample/part", 200),
        ("GET", "/sample/boom", 500),
        ("GET", "/nothing", 404),
        ("GET", "/api/v1/nothing", 404),
        ("GET", "/api/v1/sample", 200),
        ("GET", "/static/market-0000000000000000/css/shop.css", 200),
        ("GET", "/static/market-0000000000000000/nothing.css", 404),
        ("GET", "/admin/sample", 303),
        ("POST", "/admin/sample", 303),
        ("DELETE", "/sample", 405),
        ("TRACE", "/sample", 405),
        ("OPTIONS", "/sample", 204),
        ("POST", "/sample/json", 415),
        ("POST", "/sample/mine", 401),
        ("GET", "/healthz", 200),
        ("GET", "/schema", 404),
        ("GET", "/schema/openapi.json", 404),
    ],
)
async def test_on_every_answer(client: httpx.AsyncClient, method: str, path: str, status: int):
    content = b"x" if path == "/sample/json" else None
    answer = await client.request(method, path, headers={"origin": str(client.base_url)}, content=content)
    assert answer.status_code == status
    assert_safe(answer)


async def test_private_pages_are_not_kept_anywhere(client: httpx.AsyncClient):
    public = await client.get("/sample/style")
    assert public.headers["cache-control"] == "no-cache"
    assert public.headers["content-encoding"] == "gzip"
    assert "Cookie" in public.headers["vary"]
    assert (await client.get("/sample/form")).headers["cache-control"] == "no-store"
    await client.post("/sample/start")
    for path in ("/sample/style", "/sample/form", "/sample", "/sample/mine", "/nothing"):
        private = await client.get(path)
        assert private.headers["cache-control"] == "no-store", path
        assert private.headers["referrer-policy"] == "no-referrer", path
        assert private.headers["x-robots-tag"] == "noindex", path
        assert "content-encoding" not in private.headers, path
    client.cookies.clear()
    client.cookies.set("vs", await staff_cookie())
    console = await client.get("/admin/sample")
    assert console.status_code == 200
    assert console.headers["cache-control"] == "no-store"
    assert "content-encoding" not in console.headers


async def test_an_answer_that_sets_a_cookie_is_private(client: httpx.AsyncClient):
    answer = await client.post("/preferences", data={"language": "en"})
    assert answer.headers["cache-control"] == "no-store"


async def test_head_is_get_without_the_body(client: httpx.AsyncClient):
    full, head = await client.get("/sample/style"), await client.head("/sample/style")
    assert head.status_code == 200
    assert head.content == b""
    assert head.headers["content-type"] == full.headers["content-type"]
    assert head.headers["content-length"] == full.headers["content-length"]


async def test_gateways_may_receive_forms():
    policy = content_security_policy(["https://pay.test", "https://b.test", "https://pay.test"])
    assert "form-action 'self' https://b.test https://pay.test;" in policy
