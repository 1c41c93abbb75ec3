import asyncio
from datetime import UTC, datetime

import httpx
import pytest

from core import clock, db
from core.web import csrf, limits
from core.web.errors import TooMany


def at(second: int):
    return clock.use(lambda: datetime.fromtimestamp(1_800_000_000 + second, UTC))


async def test_so_many_and_no_more(site: str):
    with at(30):
        for _ in range(10):
            await limits.hit("sign-in", "203.0.113.1")
        with pytest.raises(TooMany) as refused:
            await limits.hit("sign-in", "203.0.113.1")
        assert refused.value.headers == {"Retry-After": "270"}
        await limits.hit("sign-in", "203.0.113.2")
        await limits.hit("lookup", "203.0.113.1")
    with at(300):
        await limits.hit("sign-in", "203.0.113.1")


async def test_whoever_has_a_whole_ipv6_network_counts_as_one(site: str):
    with at(30):
        for number in range(10):
            await limits.hit("sign-in", f"2001:db8::{number:x}:{number:x}")
        with pytest.raises(TooMany):
            await limits.hit("sign-in", "2001:db8::ffff:1")
        await limits.hit("sign-in", "2001:db8:0:1::1")


async def test_many_at_once_are_counted_each(site: str):
    with at(0):
        answers = await asyncio.gather(*(_try("203.0.113.9") for _ in range(60)))
    assert answers.count(True) == 10


async def _try(who: str) -> bool:
    try:
        await limits.hit("lookup", who)
    except TooMany:
        return False
    return True


async def test_old_windows_are_swept(site: str):
    with at(0):
        await limits.hit("api", "203.0.113.5")
        await limits.hit("account-code", "203.0.113.5")
        await db.execute("UPDATE web_limit SET bucket = 'gone:1' WHERE bucket = 'account-code:203.0.113.5'")
        await limits.hit("account-code", "203.0.113.5")
    with at(4000):
        await limits.hit("api", "203.0.113.5")
        await limits.sweep()
    rows = await db.fetch("SELECT window_start FROM web_limit WHERE bucket = 'api:203.0.113.5'")
    assert [int(row["window_start"].timestamp()) for row in rows] == [1_800_003_960]
    # a day is counted by the day, and what nobody knows is kept as long
    assert await db.fetchval("SELECT count(*) FROM web_limit WHERE bucket = 'account-code:203.0.113.5'") == 1
    assert await db.fetchval("SELECT count(*) FROM web_limit WHERE bucket = 'gone:1'") == 1
    with at(90_000):
        await limits.sweep()
    assert await db.fetchval("SELECT count(*) FROM web_limit WHERE window_start < to_timestamp(1800090000)") == 0


async def test_a_strict_limit_that_cannot_count_refuses(client: httpx.AsyncClient):
    token = (await client.post("/sample/start")).headers["x-csrf-token"]
    await db.execute("ALTER TABLE web_limit RENAME TO web_limit_away")
    try:
        answer = await client.post("/sample/mine", headers={"x-csrf-token": token})
        await limits.hit("api", "203.0.113.7")  # not strict: lets through
    finally:
        await db.execute("ALTER TABLE web_limit_away RENAME TO web_limit")
    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "10"
    assert (await client.post("/sample/mine", headers={"x-csrf-token": token})).json() == {"changed": True}


async def test_the_route_is_limited_per_session(client: httpx.AsyncClient):
    with at(9000):
        assert await _change(client, times=61) == [200] * 60 + [429]
        async with httpx.AsyncClient(base_url=client.base_url) as other:
            assert await _change(other, times=1) == [200]


async def _change(client: httpx.AsyncClient, times: int) -> list[int]:
    await client.post("/sample/start")
    headers = {"x-csrf-token": csrf.token_for(client.cookies["vs"])}
    return [(await client.post("/sample/mine", headers=headers)).status_code for _ in range(times)]
