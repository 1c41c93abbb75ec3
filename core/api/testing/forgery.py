"""Calls from outside that are not what they seem: a true one with something altered, and plain garbage."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, Literal
from urllib.parse import parse_qsl, urlencode

from core.api import CallbackRequest, ChannelCall

Part = Literal["query", "body"]
PARTS: tuple[Part, ...] = ("query", "body")
MOST_PLACES = 120
FROM_THE_NETWORK = frozenset({"host", "content-length", "content-type", "connection", "accept", "accept-encoding"})

_JUNK = (
    b"",
    b"\x00",
    b"\xff\xfe\x00",
    b"{}",
    b"[]",
    b"null",
    b"1",
    b'"text"',
    b'{"a":',
    b"<xml></xml>",
    b"a=1&a=2",
    b"sign=&sign_type=MD5",
    b"%ff=%fe",
    b'{"id": {"id": []}, "sign": 7, "data": null}',
    b"[" * 5000,
    b"x" * 20_000,
)
GARBAGE_CALLS = [
    *(CallbackRequest("POST", b"", junk, {}, "198.51.100.1") for junk in _JUNK),
    *(CallbackRequest("POST", b"", junk, {"content-type": "application/json"}, "198.51.100.1") for junk in _JUNK),
    *(CallbackRequest("GET", junk, b"", {}, "198.51.100.1") for junk in _JUNK if b"\x00" not in junk),
]


def altered(call: CallbackRequest) -> Iterator[tuple[str, CallbackRequest]]:
    """Forgeries of a true call, each with a word on what was changed."""
    yield from _fields(call)
    yield from _json(call)
    for part in PARTS:
        raw = _raw(call, part)
        for place in range(0, len(raw), max(1, len(raw) // MOST_PLACES)):
            other = b"1" if raw[place : place + 1] != b"1" else b"2"
            changed = raw[:place] + other + raw[place + 1 :]
            yield f"byte {place} of the {part}", _with(call, part, changed)
        if raw:
            yield f"the {part} cut short", _with(call, part, raw[:-1])
            yield f"no {part}", _with(call, part, b"")
    for name, value in call.headers.items():
        if name in FROM_THE_NETWORK:
            continue
        without = {key: text for key, text in call.headers.items() if key != name}
        yield f"without the header {name}", replace(call, headers=without)
        changed_text = value[:-1] + ("1" if value[-1:] != "1" else "2")
        yield f"the header {name} altered", replace(call, headers={**without, name: changed_text})
        yield f"the header {name} empty", replace(call, headers={**without, name: ""})


def _fields(call: CallbackRequest) -> Iterator[tuple[str, CallbackRequest]]:
    for part in PARTS:
        raw = _raw(call, part)
        try:
            pairs = parse_qsl(raw.decode("ascii"), keep_blank_values=True, strict_parsing=True)
        except ValueError:
            continue
        for place, (name, value) in enumerate(pairs):
            rest = [*pairs[:place], *pairs[place + 1 :]]
            for word, changed in (
                (f"without {name}", rest),
                (f"{name} empty", [*rest, (name, "")]),
                (f"{name} altered", [*rest, (name, value + "1")]),
                (f"{name} twice", [*pairs, (name, value + "1")]),
                (f"{name} twice, the other first", [(name, value + "1"), *pairs]),
            ):
                yield word, _with(call, part, urlencode(changed).encode())
        yield "one field more", _with(call, part, urlencode([*pairs, ("more", "1")]).encode())


def _raw(call: CallbackRequest, part: Part) -> bytes:
    return call.query if part == "query" else call.body


def _with(call: CallbackRequest, part: Part, raw: bytes) -> CallbackRequest:
    return replace(call, query=raw) if part == "query" else replace(call, body=raw)


def _json(call: CallbackRequest) -> Iterator[tuple[str, CallbackRequest]]:
    try:
        found = json.loads(call.body)
    except ValueError:
        return
    for place, changed in _other_leaves(found):
        yield f"{place} altered", replace(call, body=json.dumps(changed).encode())


def _other_leaves(value: Any, place: str = "") -> Iterator[tuple[str, Any]]:
    """The same with one leaf changed, for every leaf."""
    if isinstance(value, dict):
        for name, inner in value.items():
            for where, changed in _other_leaves(inner, f"{place}.{name}"):
                yield where, {**value, name: changed}
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            for where, changed in _other_leaves(inner, f"{place}[{number}]"):
                yield where, [*value[:number], changed, *value[number + 1 :]]
    elif isinstance(value, bool):
        yield place, not value
    elif isinstance(value, int | float):
        yield place, value + 1
    else:
        yield place, f"{value}1"


# -- calls of partners ------------------------------------------------------------------


def altered_call(fresh: Callable[[], ChannelCall]) -> Iterator[tuple[str, ChannelCall]]:
    """Forgeries of a partner's call, each of a fresh one: a nonce that was seen would hide what is looked for."""
    first = _plain(fresh())
    for number, (what, _forged) in enumerate(altered(first)):
        call = fresh()
        forged = next((one for place, (_what, one) in enumerate(altered(_plain(call))) if place == number), None)
        if forged is not None and (forged.body, forged.headers) != (call.body, call.headers):
            yield what, replace(call, body=forged.body, headers=forged.headers)


def garbage_calls(call: ChannelCall) -> Iterator[ChannelCall]:
    """Calls to the same place that say nothing."""
    for junk in _JUNK:
        yield replace(call, body=junk)
        yield replace(call, body=junk, headers={})


def _plain(call: ChannelCall) -> CallbackRequest:
    return CallbackRequest(call.method, b"", call.body, call.headers, call.client_ip)
