"""docs/api.md in the order it is read: what it tells to send is sent, what it says comes back."""

import json
import re
from datetime import date
from pathlib import Path

import httpx
import pytest

from core.people import api_keys
from core.redemption.redeem import Outcome
from core.redemption.rest import NO_SUCH
from core.web.errors import CODES
from tests import console, stocked
from tests.redemption.own import a_code

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "api.md").read_text()
REQUEST = re.compile(r"```http\n(\w+) (\S+)\n(.*?)\n\n(.*?)\n```", re.DOTALL)
ANSWER = re.compile(r"```json\n(.*?)\n```", re.DOTALL)
WRITTEN = re.compile(r"GIFT-7K2M9-QX41Z-0HJK3-M8RTW|gift 7k2m9 qx41z 0hjk3 m8rtw")


@pytest.fixture(scope="module")
async def api(database, redis_url, tmp_path_factory):
    async with console.running(database, redis_url, tmp_path_factory.mktemp("home")) as address:
        token = await api_keys.make(1, "Till 7", list(api_keys.SCOPES), None, await stocked.staff_member())
        headers = {"authorization": f"Bearer {token}", "accept-language": "en"}
        async with httpx.AsyncClient(base_url=address, headers=headers) as client:
            yield client


async def send(api, request, code, **changes):
    method, path, headers, body = request
    assert "Authorization: Bearer vs_…" in headers
    sent = json.loads(WRITTEN.sub(code, body))
    return await api.request(method, path, json={**sent, **changes})


def fits(told, came, at="answer"):
    """Every field that is told comes, with a value of that kind; words and numbers that matter are the same."""
    assert told.keys() <= came.keys(), at
    for name, value in told.items():
        if isinstance(value, dict):
            fits(value, came[name], f"{at}.{name}")
        else:
            assert type(value) is type(came[name]), f"{at}.{name}"
            if name in ("act", "outcome", "kind", "balance", "amount", "code", "status", "title", "detail", "reason"):
                assert value == came[name], f"{at}.{name}"


async def test_the_examples_do_what_they_say(api):
    verify, redeem, void = REQUEST.findall(TEXT)
    looked, redeemed, refused = (json.loads(text) for text in ANSWER.findall(TEXT))
    code = await a_code(face_value=10_000, prefix="GIFT", expires_on=date(2031, 12, 31))
    answer = (await send(api, verify, code.lower().replace("-", " "))).json()
    assert looked["card"].keys() == answer["card"].keys()
    fits(looked, answer)
    done = await send(api, redeem, code)
    assert done.status_code == 200
    assert looked["card"].keys() == done.json()["card"].keys()
    fits(redeemed, done.json())
    assert (await send(api, redeem, code)).json() == done.json()
    asked = re.search(r"`GET (/api/v1/redemptions/\S+)`", TEXT)[1]
    assert (await api.get(asked)).json() == done.json()
    assert (await send(api, redeem, code, amount=1)).json()["code"] == "request_id_reused"
    single = await a_code()
    for request_id, status in (("one", 200), ("two", 409)):
        answer = await api.post(redeem[1], json={"request_id": request_id, "code": single, "place": "Chengdu"})
        assert answer.status_code == status
    fits(refused, answer.json())
    voided = await send(api, void, code)
    assert voided.json()["card"]["void_reason"] == "stolen in the post"


def test_every_refusal_stands_in_the_table_with_its_status():
    told = {(int(status), code) for status, code in re.findall(r"^\| (\d{3}) \| `(\w+)` \|", TEXT, re.MULTILINE)}
    own = {(404 if one in NO_SUCH else 409, one.value) for one in Outcome if one is not Outcome.OK}
    elsewhere = ("conflict", "internal", "method_not_allowed")
    ground = {(status, code) for status, code in CODES.items() if code not in elsewhere}
    assert told == own | ground | {(409, "request_id_reused")}


def test_every_scope_is_told():
    assert set(re.findall(r"^\| `(\w+\.\w+)` \|", TEXT, re.MULTILINE)) == set(api_keys.SCOPES)
