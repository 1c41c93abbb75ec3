"""The till over HTTP with keys, as another program uses it."""

import asyncio
import json
from datetime import timedelta
from urllib.parse import urlsplit

import httpx
import pytest

from core import clock, db
from core.ids import token_hash
from core.people import api_keys
from core.vault import own_code
from core.web import limits
from tests import console, stocked
from tests.redemption.own import a_code, new_id, own_batch, texts, tries, voucher
from tests.windows import one_window

ALL = list(api_keys.SCOPES)


@pytest.fixture(scope="module")
async def address(database, redis_url, tmp_path_factory):
    async with console.running(database, redis_url, tmp_path_factory.mktemp("home")) as address:
        yield address


@pytest.fixture(scope="module")
async def keys(address):
    """A key for each scope alone, and one for all."""
    staff = await stocked.staff_member()
    made = {scope: await api_keys.make(1, scope, [scope], None, staff) for scope in ALL}
    return {**made, "all": await api_keys.make(1, "Counter 7", ALL, 30, staff)}


@pytest.fixture
async def api(address, keys):
    headers = {"authorization": f"Bearer {keys['all']}"}
    async with httpx.AsyncClient(base_url=f"{address}/api/v1", headers=headers, timeout=20) as client:
        yield client


@pytest.fixture(autouse=True)
async def nobody_missed(address):
    await db.execute("DELETE FROM web_limit")


def bearer(token):
    return {"authorization": f"Bearer {token}"}


async def send(api, path="", status=200, headers=None, **body):
    answer = await api.post(f"/redemptions{path}", json=body, headers=headers)
    assert answer.status_code == status, answer.text
    kind = "application/json" if status == 200 else "application/problem+json"
    assert answer.headers["content-type"] == kind
    assert answer.headers["cache-control"] == "no-store"
    return answer.json()


# -- acts -------------------------------------------------------------------------------


async def test_a_value_card_over_the_api(api):
    code = await a_code(face_value=5000, prefix="GIFT", expires_on=clock.now().date() + timedelta(days=400))
    seen = await send(api, "/verify", code=code.lower())
    assert (seen["redeemable"], seen["reason"]) == (True, None)
    assert seen["card"]["balance"] == 5000 and seen["card"]["currency"] == "CNY"
    assert code[-4:] in seen["card"]["mask"] and code not in json.dumps(seen)
    request = new_id()
    done = await send(api, request_id=request, code=code, amount=1200, currency="CNY")
    assert (done["act"], done["outcome"], done["amount"], done["card"]["balance"]) == ("redeem", "ok", 1200, 3800)
    assert done["card"]["first_used_place"] == "Counter 7"
    assert await send(api, request_id=request, code=code, amount=1200, currency="CNY") == done
    assert (await api.get(f"/redemptions/{request}")).json() == done
    assert (await voucher(code))["balance"] == 3800


async def test_every_refusal_has_a_code_that_stays(api):
    used, void, card = await a_code(), await a_code(), await a_code(face_value=100)
    unsold = await a_code(on_paper=False)
    first = await send(api, request_id=new_id(), code=used, place="Chengdu")
    await send(api, "/void", request_id=new_id(), code=void, reason="stolen")
    wrong = used[:-1] + ("2" if used[-1] != "2" else "3")
    for body, status, said in (
        ({"code": wrong}, 404, "code_mistyped"),
        ({"code": own_code.new_body()}, 404, "code_unknown"),
        ({"code": used}, 409, "code_used"),
        ({"code": void}, 409, "code_void"),
        ({"code": unsold}, 409, "code_not_sold"),
        ({"code": card}, 409, "amount_needed"),
        ({"code": card, "amount": 101, "currency": "CNY"}, 409, "balance_too_low"),
        ({"code": card, "amount": 1, "currency": "USD"}, 409, "wrong_currency"),
    ):
        answer = await send(api, status=status, request_id=new_id(), **body)
        assert (answer["code"], answer["status"]) == (said, status)
        assert answer["redemption"]["outcome"] == said
        assert (await send(api, "/verify", code=body["code"]))["reason"] in (said, None)
    again = await send(api, status=409, request_id=new_id(), code=used)
    assert again["redemption"]["card"]["first_used_at"] == first["at"]
    assert again["redemption"]["card"]["first_used_place"] == "Chengdu"
    assert (await voucher(card))["balance"] == 100


async def test_an_id_stands_for_one_wish(api):
    one, other = await texts(await own_batch(2))
    request = new_id()
    await send(api, request_id=request, code=one)
    answer = await send(api, status=409, request_id=request, code=other)
    assert answer["code"] == "request_id_reused"
    assert (await voucher(other))["balance"] == 1
    assert (await api.get("/redemptions/never-sent")).status_code == 404


async def test_fifty_programs_at_once_redeem_one_code_once(api):
    code = await a_code()
    answers = await asyncio.gather(
        *(api.post("/redemptions", json={"request_id": new_id(), "code": code}) for _ in range(50))
    )
    assert sorted(answer.status_code for answer in answers) == [200] + [409] * 49
    assert {answer.json()["code"] for answer in answers if answer.status_code == 409} == {"code_used"}
    assert (await voucher(code))["balance"] == 0


# -- bodies -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "status", "field"),
    [
        ('{"request_id": "a", "code": "b", "amount": "5"}', 422, "amount"),
        ('{"request_id": "a", "code": "b", "amount": 0}', 422, "amount"),
        ('{"request_id": "a", "code": "b", "amount": 1e30}', 422, "amount"),
        ('{"request_id": "a", "code": "b", "amount": true}', 422, "amount"),
        ('{"request_id": "", "code": "b"}', 422, "request_id"),
        ('{"request_id": "a b", "code": "b"}', 422, "request_id"),
        ('{"request_id": "a"}', 422, "body"),
        ('{"request_id": "a", "code": "b", "balance": 1}', 422, "body"),
        ('{"request_id": "a", "code": "b", "code": "c"}', 400, None),
        ('{"request_id": "a", "code": "b\\u0000"}', 400, None),
        ('{"request_id": "a", "code": "\\ud800"}', 400, None),
        ('{"request_id": "a", "code": "b"} more', 400, None),
        ("[1]", 422, "body"),
        ("", 422, None),
        ("{", 400, None),
    ],
)
async def test_a_body_that_is_not_exactly_right_is_refused(api, body, status, field):
    before = await tries()
    answer = await api.post("/redemptions", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == status, answer.text
    assert answer.json()["code"] == ("invalid_fields" if status == 422 else "bad_request")
    assert field is None or list(answer.json()["errors"]) == [field]
    assert await tries() == before


@pytest.mark.parametrize("amount", ["5", 658.5, 658.0])
async def test_an_amount_is_asked_for_as_a_whole_number(api, amount):
    answer = await api.post(
        "/redemptions", json={"request_id": "a", "code": "b", "amount": amount}, headers={"accept-language": "en"}
    )
    assert answer.json()["errors"] == {"amount": "Please enter a whole number."}


async def test_only_json_is_read(api):
    code = await a_code()
    body = json.dumps({"request_id": new_id(), "code": code})
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", ""):
        answer = await api.post("/redemptions", content=body, headers={"content-type": kind})
        assert (answer.status_code, answer.json()["code"]) == (415, "wrong_content_type"), kind
    answer = await api.post("/redemptions", content="x" * 30_000, headers={"content-type": "application/json"})
    assert (answer.status_code, answer.json()["code"]) == (413, "too_large")
    assert (await voucher(code))["balance"] == 1


# -- keys -------------------------------------------------------------------------------


async def test_a_key_that_is_withdrawn_while_a_request_comes_does_nothing(address):
    staff, code = await stocked.staff_member(), await a_code()
    token = await api_keys.make(1, "slow", ALL, None, staff)
    key_id = await db.fetchval("SELECT id FROM people_api_key WHERE name = 'slow'")
    body = json.dumps({"request_id": new_id(), "code": code}).encode()

    async def slowly():
        yield body[:10]
        async with asyncio.timeout(20):  # until the key was looked at
            while not await db.fetchval("SELECT last_used_at FROM people_api_key WHERE id = $1", key_id):
                pass
        await api_keys.revoke(1, key_id, staff)
        yield body[10:]

    before = await tries()
    headers = {**bearer(token), "content-type": "application/json"}
    async with httpx.AsyncClient(base_url=f"{address}/api/v1", headers=headers) as client:
        assert (await client.post("/redemptions", content=slowly())).status_code == 401
    assert await tries() == before


async def test_without_a_good_key_nothing_is_done(address, keys):
    staff, code = await stocked.staff_member(), await a_code()
    over = await api_keys.make(1, "over", ALL, 1, staff)
    await db.execute("UPDATE people_api_key SET expires_at = now() WHERE name = 'over'")
    gone = await api_keys.make(1, "gone", ALL, None, staff)
    await api_keys.revoke(1, await db.fetchval("SELECT id FROM people_api_key WHERE name = 'gone'"), staff)
    other_shop = await db.fetchval("INSERT INTO shops_shop (code, name, host) VALUES ('b', 'B', 'b.test') RETURNING id")
    foreign = await api_keys.make(other_shop, "foreign", ALL, None, staff)
    before = await tries()
    body = {"request_id": new_id(), "code": code}
    wrong = [
        {},
        {"authorization": "Bearer"},
        bearer("x"),
        bearer("vs_" + "A" * 43),
        {"authorization": f"Basic {keys['all']}"},
    ]
    wrong += [bearer(token) for token in (over, gone, foreign)]
    wrong += [{"x-api-key": keys["all"]}, {"cookie": f"vs={keys['all']}"}]
    async with httpx.AsyncClient(base_url=f"{address}/api/v1") as client:
        for headers in wrong:
            answer = await client.post("/redemptions", json=body, headers=headers)
            assert (answer.status_code, answer.json()["code"]) == (401, "no_key"), headers
            assert answer.headers["www-authenticate"] == "Bearer"
    assert await tries() == before
    assert (await voucher(code))["balance"] == 1


async def test_a_key_opens_only_what_it_is_good_for(address, keys):
    code = await a_code()
    acts = {
        "codes.verify": ("/verify", {"code": code}),
        "codes.redeem": ("", {"code": own_code.new_body(), "request_id": new_id()}),
        "codes.void": ("/void", {"code": own_code.new_body(), "request_id": new_id(), "reason": "x"}),
    }
    async with httpx.AsyncClient(base_url=f"{address}/api/v1/redemptions") as client:
        for scope in ALL:
            for needed, (path, body) in acts.items():
                answer = await client.post(path, json=body, headers=bearer(keys[scope]))
                assert (answer.status_code == 403) is (scope != needed), (scope, needed, answer.text)
    assert await voucher(code) == {"balance": 1, "first_used_place": None, "void_reason": None, "state": "staged"}


async def test_a_key_is_kept_as_a_hash_and_remembers_its_last_use(api, keys):
    await send(api, "/verify", code=await a_code())
    rows = await db.fetchval("SELECT string_agg(k::text, ' ') FROM people_api_key k")
    assert keys["all"] not in rows and keys["all"].removeprefix("vs_") not in rows
    row = await db.fetchrow("SELECT * FROM people_api_key WHERE token_hash = $1", token_hash(keys["all"]))
    assert row["shown"] == keys["all"][-4:]
    assert clock.now() - row["last_used_at"] < timedelta(minutes=2)


async def test_guessing_keys_is_stopped(address, keys):
    async with httpx.AsyncClient(base_url=f"{address}/api/v1") as client:
        with one_window():
            for _ in range(limits.LIMITS["bad-key"].hits):
                assert (await client.get("/redemptions/x", headers=bearer("vs_" + "B" * 43))).status_code == 401
            answer = await client.get("/redemptions/x", headers=bearer("vs_" + "B" * 43))
            assert (answer.status_code, answer.json()["code"]) == (429, "too_many")
            assert int(answer.headers["retry-after"]) > 0
            # whoever holds a key is not held up by it
            assert (await client.get("/redemptions/x", headers=bearer(keys["all"]))).status_code == 404


# -- limits -----------------------------------------------------------------------------


async def test_guessing_codes_is_stopped_and_alarms_once(api, keys):
    code = await a_code()
    before = await db.fetchval("SELECT count(*) FROM audit_alarm")
    with one_window():
        for _ in range(limits.LIMITS["code-misses"].hits):
            await send(api, "/verify", code=own_code.new_body())
        for _ in range(3):
            answer = await send(api, status=429, request_id=new_id(), code=code)
            assert answer["code"] == "too_many"
        assert (await voucher(code))["balance"] == 1
        assert await db.fetchval("SELECT count(*) FROM audit_alarm") == before + 1
        assert await db.fetchval("SELECT kind FROM audit_alarm ORDER BY id DESC LIMIT 1") == "redemption.guessing"
        # another key goes on
        await send(api, headers=bearer(keys["codes.redeem"]), request_id=new_id(), code=code)


async def test_when_nobody_can_count_nobody_redeems(api):
    code, request = await a_code(), new_id()
    before = await tries()
    await db.execute("ALTER TABLE web_limit RENAME TO web_limit_away")
    try:
        answer = await send(api, status=503, request_id=request, code=code)
        assert answer["code"] == "unavailable"
        assert (await send(api, "/verify", status=503, code=code))["code"] == "unavailable"
    finally:
        await db.execute("ALTER TABLE web_limit_away RENAME TO web_limit")
    assert (await voucher(code))["balance"] == 1
    assert await tries() == before
    assert (await send(api, request_id=request, code=code))["outcome"] == "ok"


# -- the document -----------------------------------------------------------------------


async def test_the_document_tells_exactly_the_api(address, keys):
    async with httpx.AsyncClient(base_url=address) as client:
        answer = await client.get("/api/openapi.json")
        document = answer.json()
        assert document["openapi"].startswith("3.1")
        assert set(document["paths"]) == {
            "/api/v1/health",
            "/api/v1/redemptions",
            "/api/v1/redemptions/verify",
            "/api/v1/redemptions/void",
            "/api/v1/redemptions/{request_id}",
        }
        assert "://" not in answer.text.replace("https://json-schema.org", "")
        for name in ("Look", "Redeem", "Void"):
            assert document["components"]["schemas"][name]["additionalProperties"] is False
        for path, operations in document["paths"].items():
            for operation in operations.values():
                assert {"200", "400", "401", "403", "429", "503"} <= set(operation["responses"]), path
        assert (await client.get("/schema")).status_code == 404
    assert urlsplit(address).hostname == "127.0.0.1"
