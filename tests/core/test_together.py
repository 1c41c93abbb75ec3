"""One run of a statement for several who want it at once, against a real server."""

import asyncio
import contextlib
import threading

import asyncpg
import pytest

from core import db, together
from core.together import MOST, Together

pytestmark = pytest.mark.usefixtures("thing")

# `run` tells which rows went together: they have the same transaction.
ADD = """
WITH asked AS (SELECT * FROM jsonb_to_recordset($1) AS asked (place int, name text, n int))
INSERT INTO thing (name, n, run) SELECT name, n, pg_current_xact_id()::text FROM asked WHERE n IS DISTINCT FROM 13
RETURNING name, run, (SELECT place FROM asked WHERE asked.name = thing.name) AS place
"""
OTHER = f"{ADD} -- said by another"


@pytest.fixture
async def thing(pool):
    await db.execute("CREATE TABLE IF NOT EXISTS thing (name text PRIMARY KEY, n int NOT NULL, run text NOT NULL)")
    await db.execute("TRUNCATE thing")


def row(name, n=1):
    return {"name": name, "n": n}


async def names():
    return {row["name"] for row in await db.fetch("SELECT name FROM thing")}


async def test_those_who_come_meanwhile_go_together():
    add = Together(ADD)
    done = await asyncio.gather(*(add.run(row(f"{number:03}")) for number in range(3 * MOST)))
    assert [one["name"] for one in done] == [f"{number:03}" for number in range(3 * MOST)]
    assert len({one["run"] for one in done}) == 3


async def test_who_is_alone_is_run_at_once():
    add = Together(ADD)
    assert len({(await add.run(row(name)))["run"] for name in "abc"}) == 3


async def test_a_row_the_statement_has_nothing_to_say_about_gets_nothing():
    add = Together(ADD)
    first, none, last = await asyncio.gather(add.run(row("a")), add.run(row("b", 13)), add.run(row("c")))
    assert (first["name"], none, last["name"]) == ("a", None, "c")
    assert await names() == {"a", "c"}


async def test_one_that_fails_fails_alone():
    add = Together(ADD)
    await add.run(row("taken"))
    tries = [add.run(row("a")), add.run(row("taken")), add.run(row("empty", None)), add.run(row("b"))]
    first, taken, empty, last = await asyncio.gather(*tries, return_exceptions=True)
    assert (first["name"], last["name"]) == ("a", "b")
    assert isinstance(taken, asyncpg.UniqueViolationError) and isinstance(empty, asyncpg.NotNullViolationError)
    assert await names() == {"taken", "a", "b"}


async def test_a_value_that_cannot_be_sent_is_the_trouble_of_its_row_alone():
    add = Together(ADD)
    first, wrong = await asyncio.gather(add.run(row("a")), add.run(row("\ud800")), return_exceptions=True)
    assert first["name"] == "a"
    assert isinstance(wrong, UnicodeEncodeError)
    assert await names() == {"a"}


async def test_a_value_json_has_no_form_for_is_refused_at_once():
    with pytest.raises(TypeError, match="complex does not go into JSON"):
        await Together(ADD).run(row("a", 1j))
    assert await names() == set()


async def test_a_kind_of_text_is_text():
    class Name(str):
        __slots__ = ()

    assert (await Together(ADD).run({Name("name"): Name("a"), "n": 1}))["name"] == "a"


async def test_rows_that_must_not_meet_are_run_apart():
    add = Together(ADD)
    tries = [add.run(row("a"), "one"), add.run(row("b"), "one"), add.run(row("c"), "two"), add.run(row("d"), "one")]
    runs = [one["run"] for one in await asyncio.gather(*tries)]
    assert runs[0] == runs[2] and len({runs[0], runs[1], runs[3]}) == 3


async def test_what_nobody_waits_for_any_more_is_done_and_the_others_hear_of_theirs():
    add = Together(ADD)
    gone, stays = asyncio.create_task(add.run(row("gone"))), asyncio.create_task(add.run(row("stays")))
    await asyncio.sleep(0)
    gone.cancel()
    assert (await stays)["name"] == "stays"
    assert await names() == {"gone", "stays"}


@pytest.mark.parametrize("of", [lambda add: add, lambda add: Together(OTHER)], ids=["its own", "another statement's"])
async def test_a_run_that_waits_for_a_lock_holds_nobody_up(of):
    add = Together(ADD)
    holder, let_go = await held("locked")
    stalled = asyncio.create_task(of(add).run(row("locked")))
    await somebody_waits()
    assert (await add.run(row("free")))["name"] == "free"
    assert not stalled.done()
    let_go.set()
    await holder
    with pytest.raises(asyncpg.UniqueViolationError):
        await stalled


async def test_rows_gather_while_another_statement_runs(monkeypatch):
    monkeypatch.setattr(together, "STALLED_SECONDS", 60)
    add, other = Together(ADD), Together(OTHER)
    holder, let_go = await held("locked")
    first = asyncio.create_task(other.run(row("locked")))
    await somebody_waits()
    gathering = []
    for name in "abc":
        gathering.append(asyncio.create_task(add.run(row(name))))
        await db.fetchval("SELECT 1")
    let_go.set()
    await holder
    with pytest.raises(asyncpg.UniqueViolationError):
        await first
    assert len({one["run"] for one in await asyncio.gather(*gathering)}) == 1


async def test_the_next_run_is_under_way_while_the_answers_of_one_are_used(database, monkeypatch):
    monkeypatch.setattr(together, "STALLED_SECONDS", 60)
    add = Together(ADD)
    elsewhere = threading.Thread(target=asyncio.run, args=(arrived(database, "next"),), daemon=True)

    async def use_the_first():
        await add.run(row("first"))
        elsewhere.start()
        elsewhere.join(20)  # this process does nothing else meanwhile
        return not elsewhere.is_alive()

    async with locked_table():
        using = asyncio.create_task(use_the_first())
        await somebody_waits()
        follows = asyncio.create_task(add.run(row("next")))
        await db.fetchval("SELECT 1")
    assert await using
    await follows


async def test_closing_waits_for_all_that_was_asked_for(database, monkeypatch):
    monkeypatch.setattr(together, "STALLED_SECONDS", 60)
    statements = [Together(ADD), Together(OTHER), Together(f"{ADD} -- said by a third")]
    async with locked_table():
        asked = []
        for name, statement in zip("abc", statements, strict=True):
            asked.append(asyncio.create_task(statement.run(row(name))))
            await db.fetchval("SELECT 1")
        await somebody_waits()
        for one in asked:
            one.cancel()
        closing = asyncio.create_task(db.close_pool())
        await asyncio.sleep(0)
    async with asyncio.timeout(20):
        await closing
    await db.open_pool(database)
    assert await names() == {"a", "b", "c"}


@contextlib.asynccontextmanager
async def locked_table():
    async def hold(tx):
        await tx.execute("LOCK TABLE thing")
        locked.set()
        await let_go.wait()

    locked, let_go = asyncio.Event(), asyncio.Event()
    holder = asyncio.create_task(db.transaction(hold))
    await locked.wait()
    yield
    let_go.set()
    await holder


async def arrived(database, name):
    connection = await asyncpg.connect(database)
    while not await connection.fetchval("SELECT count(*) FROM thing WHERE name = $1", name):
        await asyncio.sleep(0)
    await connection.close()


async def held(name):
    """Somebody who is adding ``name`` and has not made up their mind."""

    async def hold(tx, inserted, let_go):
        await tx.execute("INSERT INTO thing VALUES ($1, 1, '')", name)
        inserted.set()
        await let_go.wait()

    inserted, let_go = asyncio.Event(), asyncio.Event()
    holder = asyncio.create_task(db.transaction(hold, inserted, let_go))
    await inserted.wait()
    return holder, let_go


async def somebody_waits():
    while not await db.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"):
        await asyncio.sleep(0)


async def test_inside_a_transaction_it_is_refused():
    add = Together(ADD)

    async def work(tx):
        await add.run(row("a"))

    with pytest.raises(db.NestedTransaction):
        await db.transaction(work)
    assert await names() == set()
