"""What people and programs send: read strictly, answered clearly, kept nowhere."""

import asyncio
import os
from pathlib import Path

import httpx
import msgspec
import pytest

from core.web.errors import BadRequest, FormError
from core.web.forms import build, parse, repeated

from .conftest import orders
from .sample import Order


@pytest.mark.parametrize(
    ("values", "wrong"),
    [
        ({}, {"sku": "Please fill this in."}),
        ({"sku": ["  "]}, {"sku": "Please fill this in."}),
        ({"sku": ["a", "b"]}, {"sku": "This was sent more than once."}),
        ({"sku": ["a\0b"]}, {"sku": "This contains signs that cannot be used."}),
        ({"sku": ["a" * 301]}, {"sku": "At most 300 signs, please."}),
        ({"sku": ["a\r\nBcc: b@shop.test"]}, {"sku": "This does not look right."}),
        ({"sku": ["a"], "quantity": ["0"]}, {"quantity": "This must be 1 or more."}),
        ({"sku": ["a"], "quantity": ["-1"]}, {"quantity": "This must be 1 or more."}),
        ({"sku": ["a"], "quantity": ["99999999999999999999"]}, {"quantity": "This must be 10 or less."}),
        ({"sku": ["a"], "quantity": ["1.5"]}, {"quantity": "Please enter a whole number."}),
        ({"sku": ["a"], "quantity": ["NaN"]}, {"quantity": "Please enter a whole number."}),
        ({"sku": ["a"], "quantity": ["1e3"]}, {"quantity": "Please enter a whole number."}),
        ({"sku": ["a"], "quantity": ["一"]}, {"quantity": "Please enter a whole number."}),
        ({"sku": ["a"], "price": ["0"]}, {"price": "This page has no such field."}),
        ({"quantity": ["x"]}, {"sku": "Please fill this in.", "quantity": "Please enter a whole number."}),
    ],
)
def test_mistakes_are_named_each_by_its_field(values: dict[str, list[str]], wrong: dict[str, str]):
    with pytest.raises(FormError) as refused:
        build(dict(values), Order)
    assert {name: str(message) for name, message in refused.value.fields.items()} == wrong


def test_good_values():
    assert build({"sku": [" a "], "quantity": [" 3 "], "tags": ["x", "", "y"]}, Order) == Order(
        sku="a", quantity=3, tags=["x", "y"]
    )
    assert build({"sku": ["a"], "quantity": [""]}, Order).quantity == 1


class Choice(msgspec.Struct):
    yes: bool = False
    maybe: int | None = None


def test_checkboxes_and_optional_numbers():
    assert build({"yes": ["on"], "maybe": [""]}, Choice) == Choice(yes=True, maybe=None)
    assert build({"maybe": ["7"]}, Choice) == Choice(yes=False, maybe=7)
    with pytest.raises(FormError):
        build({"yes": ["perhaps"]}, Choice)


async def test_the_form_comes_back_with_what_was_typed(client: httpx.AsyncClient):
    before = await orders()
    answer = await client.post("/sample/form", data={"sku": '"><script>', "quantity": "many"})
    assert answer.status_code == 422
    assert 'value="&#34;&gt;&lt;script&gt;"' in answer.text
    assert "<script>" not in answer.text
    assert 'id="e-quantity"' in answer.text
    assert "Please enter a whole number." in answer.text
    assert await orders() == before


async def test_gathered_fields(client: httpx.AsyncClient):
    answer = await client.post("/sample/form", data={"sku": "a", "field_account": "7", "field_region": "CN"})
    assert answer.status_code == 303
    answer = await client.post("/sample/form", content="sku=a&field_x=1&field_x=2", headers=FORM)
    assert answer.status_code == 422


FORM = {"content-type": "application/x-www-form-urlencoded"}


@pytest.mark.parametrize("body", ["sku=a&sku=b", "sku=a&quantity=1&quantity=2", "sku=%ff", "sku=a&" * 2000])
async def test_ambiguous_forms_change_nothing(client: httpx.AsyncClient, body: str):
    before = await orders()
    answer = await client.post("/sample/form", content=body, headers=FORM)
    assert answer.status_code in (400, 422)
    assert await orders() == before


async def test_a_name_twice_in_the_address_is_refused(client: httpx.AsyncClient):
    assert (await client.get("/sample/mine?a=1&b=2")).status_code == 200
    for query in ("a=1&a=2", "a=1&%61=2", "a&a", "a=%00"):
        assert (await client.get(f"/sample/mine?{query}")).status_code == 400


def test_a_name_stands_twice_among_thousands():
    names = "&".join(f"{number:x}" for number in range(4096, 16_384))
    assert repeated(f"{names}&col&col".encode(), ("nothing",))
    assert not repeated(f"{names}&col&col".encode(), ("col",))
    assert not repeated(names.encode())


@pytest.mark.parametrize(
    "body",
    [b'{"sku": "a", "sku": "b"}', b'{"sku": "a"} {}', b"{", b"[1]", b"\xff", b"[" * 50_000],
)
async def test_ambiguous_json_is_refused(client: httpx.AsyncClient, body: bytes):
    answer = await client.post("/sample/json", content=body, headers={"content-type": "application/json"})
    assert answer.status_code in (400, 422)


async def test_json_types_are_not_guessed(client: httpx.AsyncClient):
    assert (await client.post("/sample/json", json={"sku": "a", "quantity": "2"})).status_code == 422
    assert (await client.post("/sample/json", json={"sku": "a", "quantity": 2.0})).status_code == 422
    assert (await client.post("/sample/json", json={"sku": "a", "quantity": 2})).status_code == 201


# -- size -------------------------------------------------------------------------------


async def chunks(count: int, size: int = 100_000):
    for _ in range(count):
        yield b"a" * size
        await asyncio.sleep(0)


async def test_bodies_have_a_limit_told_or_not(client: httpx.AsyncClient):
    before = await orders()
    told = await client.post("/sample/form", content=b"sku=" + b"a" * 1_000_000, headers=FORM)
    assert told.status_code == 413
    assert "smaller" in told.text
    untold = await client.post("/sample/form", content=chunks(11), headers=FORM)
    assert untold.status_code == 413
    gateway = await client.post("/sample/notify", content=chunks(11))
    assert gateway.status_code == 413
    assert await orders() == before


# -- uploads ----------------------------------------------------------------------------


async def test_an_upload_never_lies_on_a_disk(client: httpx.AsyncClient, environment: dict[str, str]):
    data = {"subject": "codes"}
    files = {"paper": ("..\\..\\etc/pass\nwd", b"hello" + b"x" * 2_000_000)}
    answer = await client.post("/sample/upload", data=data, files=files)
    assert answer.status_code == 201, answer.text
    told = answer.json()
    assert told["size"] == 2_000_005
    assert told["starts"] == "hello"
    assert "/" not in told["name"]
    assert "\\" not in told["name"]
    assert "\n" not in told["name"]
    assert told["in_memory"]
    kept = [path for path in Path(environment["VOUCHSAFE_HOME"]).rglob("*") if path.is_file()]
    assert not any(b"hello" in path.read_bytes() for path in kept)


async def test_no_file_chosen_is_no_file(client: httpx.AsyncClient):
    answer = await client.post("/sample/upload", data={"subject": "s"}, files={"paper": ("", b"")})
    assert answer.json() == {"size": None}


async def test_a_file_too_large(client: httpx.AsyncClient):
    answer = await client.post("/sample/upload", data={"subject": "s"}, files={"paper": ("a", b"x" * 3_000_000)})
    assert answer.status_code == 413


async def test_a_thousand_files_in_a_form_hold_nothing_open():
    """The server may have about a thousand files open at once: a form that never ends must not take them all."""
    head = 'Content-Disposition: form-data; name="f{}"; filename="a"'
    parts = "".join(f"--x\r\n{head.format(number)}\r\n\r\n1\r\n" for number in range(900))
    opened = []

    async def receive() -> dict[str, object]:
        if opened:
            opened.append(len(os.listdir("/proc/self/fd")))
            return {"type": "http.disconnect"}
        opened.append(len(os.listdir("/proc/self/fd")))
        return {"type": "http.request", "body": parts.encode(), "more_body": True}

    with pytest.raises(BadRequest):
        await parse("multipart/form-data; boundary=x", receive, 1_000_000)
    before, held = opened
    assert held < before + 10


@pytest.mark.parametrize("body", [b"", b"--x", b"--x\r\n", b"--x\r\nContent-Disposition: form-data\r\n\r\n1\r\n--x--"])
async def test_broken_multipart(client: httpx.AsyncClient, body: bytes):
    headers = {"content-type": "multipart/form-data; boundary=x"}
    assert (await client.post("/sample/upload", content=body, headers=headers)).status_code in (400, 422)


async def test_a_text_where_a_file_belongs(client: httpx.AsyncClient):
    answer = await client.post("/sample/upload", data={"subject": "s", "paper": "not a file"})
    assert answer.status_code == 422
