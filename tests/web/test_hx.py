import json

import httpx
import pytest
from litestar import Response

from core.web.hx import hx_response, own_path, safe_next, toast


def test_instructions_for_htmx():
    response = hx_response(
        Response("x"), push="/a?b=1", retarget="#x", reswap="none", reselect="#y", triggers={"e": {"n": 1}}
    )
    assert response.headers == {
        "HX-Push-Url": "/a?b=1",
        "HX-Retarget": "#x",
        "HX-Reswap": "none",
        "HX-Reselect": "#y",
        "HX-Trigger": '{"e": {"n": 1}}',
        "Vary": "HX-Request, HX-Request-Type",
    }


def test_a_toast_can_say_anything():
    header = toast(Response("x"), 'a "b"\r\n中').headers["HX-Trigger"]
    assert "\n" not in header
    assert header.isascii()
    assert json.loads(header) == {"toast": {"text": 'a "b"\r\n中', "kind": "success"}}


@pytest.mark.parametrize("path", ["https://evil.test", "//evil.test", "/\\evil.test", "evil", "", "/a\nb", "/a\\b"])
def test_no_way_off_the_site(path: str):
    with pytest.raises(ValueError, match="path of this site"):
        own_path(path)
    assert safe_next(path, "/home") == "/home"
    for name in ("push", "replace", "redirect", "location"):
        with pytest.raises(ValueError, match="path of this site"):
            hx_response(Response("x"), **{name: path})


@pytest.mark.parametrize(
    ("path", "sent"),
    [("/c/游戏?q=a%20b&x=é", "/c/%E6%B8%B8%E6%88%8F?q=a%20b&x=%C3%A9"), ("/a#b", "/a#b"), ("/\u2028", "/%E2%80%A8")],
)
def test_an_address_in_any_language_fits_into_a_header(path: str, sent: str):
    assert safe_next(path, "/home") == sent
    assert hx_response(Response("x"), push=path).headers["HX-Push-Url"] == sent


async def test_a_fragment_alone(client: httpx.AsyncClient):
    answer = await client.get("/sample/part", headers={"hx-request": "true", "hx-request-type": "partial"})
    assert answer.text.strip() == '<p id="part">/sample/part</p>'
    assert answer.headers["hx-push-url"] == "/sample?x=1"
    assert "HX-Request" in ", ".join(answer.headers.get_list("vary"))
