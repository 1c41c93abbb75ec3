"""Copy-and-burn: the first showing fixes to whom and until when; then only fingerprint, mask and times are left."""

from __future__ import annotations

import asyncio
import subprocess
from dataclasses import dataclass
from datetime import timedelta
from urllib.parse import urlsplit

import asyncpg
import pytest

from core import clock, db
from core.checkout.settle import Outcome, settle
from core.hooks import runtime
from core.ids import new_token, token_hash
from core.jobs.runner import Runner
from core.messages import compose
from core.orders import service as orders
from core.orders.view import order_view
from core.refused import Refused
from core.shops import service as shops
from core.vault import burn, cipher, jobs, reveal
from tests import stocked

HOURS = 24


@pytest.fixture(scope="module", autouse=True)
async def plugins(pool: None, master_key: object) -> None:
    plugins = runtime.Runtime(safe_mode=True)
    runtime.use(plugins)
    await plugins.start()


@pytest.fixture(autouse=True)
async def nothing_due(plugins: None) -> None:
    await db.execute("UPDATE vault_code SET burn_at = NULL, shown_to = NULL WHERE burned_at IS NULL")
    await shop_erases_after(HOURS)


@dataclass
class Sold:
    ref: str
    order_id: int
    cookie: str
    codes: list[str]

    @property
    def session(self) -> bytes:
        return token_hash(self.cookie)

    async def show(self, session: bytes | None = None, hours: int = HOURS) -> list[str]:
        await shop_erases_after(hours)
        shown = await orders.reveal(self.ref, session or self.session, "127.0.0.1", "test")
        assert shown is not None
        return sorted(code.text for code in shown[1])

    async def second_browser(self) -> bytes:
        """A session that the link of the mail let in."""
        session = await _session()
        await db.execute(
            "INSERT INTO orders_access (order_id, session_hash, how) VALUES ($1, $2, 'link')", self.order_id, session
        )
        return session

    async def rows(self) -> list[asyncpg.Record]:
        return await db.fetch(
            "SELECT code.* FROM vault_code code JOIN orders_line line ON line.id = code.line_id"
            " WHERE line.order_id = $1 ORDER BY code.id",
            self.order_id,
        )

    async def steps(self) -> list[tuple[str, str, int]]:
        rows = await db.fetch(
            "SELECT kind, actor, data FROM orders_event WHERE order_id = $1 AND kind IN ('revealed', 'burned')"
            " ORDER BY id",
            self.order_id,
        )
        return [(row["kind"], row["actor"], row["data"]["codes"]) for row in rows]


async def shop_erases_after(hours: int) -> None:
    await db.execute("UPDATE shops_shop SET settings = settings || jsonb_build_object('burn_hours', $1::int)", hours)


async def _session() -> bytes:
    session = token_hash(new_token())
    await db.execute(
        "INSERT INTO people_session (id_hash, kind, expires_at) VALUES ($1, 'buyer', now() + interval '30 days')",
        session,
    )
    return session


async def sold(quantity: int = 1, burn_hours: int | None = None) -> Sold:
    what = await stocked.sku(quantity)
    await db.execute("UPDATE catalog_sku SET burn_hours = $2 WHERE id = $1", what.id, burn_hours)
    token = new_token()
    placed = await stocked.order(what, quantity, stocked.buyer(session=token))
    settled = await settle("epay", stocked.paid(placed, amount=1990 * quantity), "callback")
    assert settled.outcome is Outcome.DELIVERED
    return Sold(placed.ref, placed.order_id, token, sorted(what.codes))


def later(hours: float) -> object:
    at = clock.now() + timedelta(hours=hours)
    return clock.use(lambda: at)


async def burn_what_is_due() -> int:
    return await db.transaction(burn.burn_due, clock.now())


async def test_without_burning_it_can_be_seen_for_ever_by_all_who_may_see_the_order():
    one = await sold(2)
    other = await one.second_browser()
    assert await one.show(hours=0) == await one.show(other, hours=0) == one.codes
    with later(600):
        assert await burn_what_is_due() == 0
        assert await one.show(hours=0) == one.codes
    assert {(row["shown_to"], row["burn_at"], row["burned_at"]) for row in await one.rows()} == {(None, None, None)}


async def test_the_first_showing_begins_the_window_and_repeats_do_not_prolong_it():
    one = await sold(2)
    assert await burn_what_is_due() == 0
    before = clock.now()
    assert await one.show() == one.codes
    begun = {row["burn_at"] for row in await one.rows()}
    assert before + timedelta(hours=HOURS) <= begun.pop() <= clock.now() + timedelta(hours=HOURS)
    assert begun == set()
    first = await one.rows()
    with later(HOURS - 0.1):
        assert await burn_what_is_due() == 0
        assert await one.show() == one.codes
    assert await one.rows() == first


async def test_after_the_window_it_is_not_shown_and_the_timer_erases_it():
    one = await sold(2)
    await one.show()
    before = await one.rows()
    with later(HOURS + 0.1):
        assert await one.show() == []
        assert [row["blob"] is None for row in await one.rows()] == [False, False]
        assert await burn_what_is_due() == 2
        assert await burn_what_is_due() == 0
        now = clock.now()
        assert await one.show() == []
    after = await one.rows()
    for old, new in zip(before, after, strict=True):
        assert dict(new) == {**dict(old), "blob": None, "burned_at": now}
    assert await one.steps() == [("revealed", "buyer", 2), ("burned", "system", 2)]
    assert [cipher.fingerprint(1, code) in {row["fingerprint"] for row in after} for code in one.codes] == [True, True]


async def test_what_was_never_shown_is_kept():
    one = await sold()
    with later(600):
        assert await burn_what_is_due() == 0
        assert await one.show() == one.codes


async def test_a_sku_may_say_otherwise_than_the_shop():
    never, soon = await sold(burn_hours=0), await sold(burn_hours=1)
    assert await never.show() == never.codes
    assert await soon.show(hours=0) == soon.codes
    with later(1.1):
        assert await burn_what_is_due() == 1
        assert await never.show() == never.codes
        assert await soon.show(hours=0) == []


async def test_a_promise_made_is_kept_when_the_setting_changes():
    one = await sold()
    await one.show()
    with later(HOURS + 0.1):
        assert await one.show(hours=0) == []
        assert await burn_what_is_due() == 1


async def test_another_browser_is_refused_and_nothing_changes():
    one = await sold()
    other = await one.second_browser()
    await one.show()
    before, looks = await one.rows(), await db.fetchval("SELECT count(*) FROM vault_reveal")
    assert await one.show(other) == []
    with pytest.raises(Refused, match="nothing here to erase"):
        await burn.burn_shown(one.ref, other)
    assert await one.rows() == before
    assert await db.fetchval("SELECT count(*) FROM vault_reveal") == looks
    assert await one.show() == one.codes


async def test_of_many_browsers_at_once_one_gets_it_however_often_it_asks():
    one = await sold(3)
    browsers = [one.session, *[await one.second_browser() for _ in range(3)]]
    answers = await asyncio.gather(*(one.show(browser) for _ in range(10) for browser in browsers))
    got = {browser: [answers[at] for at in range(index, 40, 4)] for index, browser in enumerate(browsers)}
    winner = {row["shown_to"] for row in await one.rows()}.pop()
    assert got.pop(winner) == [one.codes] * 10
    assert [answer for answers in got.values() for answer in answers] == [[]] * 30
    assert await db.fetchval("SELECT count(*) FROM vault_reveal WHERE session_hash = $1", winner) == 30


async def test_the_control_reading_before_writing_shows_it_to_several():
    one = await sold()
    browsers = [one.session, *[await one.second_browser() for _ in range(3)]]
    all_have_read = asyncio.Barrier(4)

    async def careless(browser: bytes) -> bool:
        (row,) = await one.rows()
        await all_have_read.wait()
        if row["shown_to"] in (None, browser):
            await db.execute("UPDATE vault_code SET shown_to = $2, burn_at = now() WHERE id = $1", row["id"], browser)
            return True
        return False

    assert await asyncio.gather(*(careless(browser) for browser in browsers)) == [True] * 4


async def test_the_buyers_word_erases_at_once():
    one = await sold(2)
    with pytest.raises(Refused, match="nothing here to erase"):
        await burn.burn_shown(one.ref, one.session)
    await one.show()
    assert await burn.burn_shown(one.ref, one.session, "127.0.0.1") == 2
    assert await one.show() == []
    assert [row["blob"] for row in await one.rows()] == [None, None]
    assert await one.steps() == [("revealed", "buyer", 2), ("burned", "buyer", 2)]
    entry = await db.fetchrow("SELECT * FROM audit_entry WHERE act = 'codes.burned' ORDER BY id DESC LIMIT 1")
    assert entry is not None
    assert (entry["actor"], entry["object"], entry["detail"]) == ("buyer", f"order:{one.ref}", {"codes": 2})
    with pytest.raises(Refused, match="nothing here to erase"):
        await burn.burn_shown(one.ref, one.session)
    assert len(await one.steps()) == 2


async def test_the_timer_goes_in_small_batches_past_what_is_held():
    one, held = await sold(3), await sold(1)
    await one.show()
    await held.show()
    (row,) = await held.rows()
    with later(HOURS + 0.1):
        now = clock.now()

        async def while_held(tx: db.Tx) -> None:
            await tx.execute("SELECT FROM vault_code WHERE id = $1 FOR UPDATE", row["id"])
            connection = await asyncpg.connect(db.engine.config["dsn"])
            try:
                assert await connection.fetchval(burn.BURN_DUE, now, 2) == 2
                assert await connection.fetchval(burn.BURN_DUE, now, 2) == 1
                assert await connection.fetchval(burn.BURN_DUE, now, 2) == 0
            finally:
                await connection.close()

        await db.transaction(while_held)
        assert await burn_what_is_due() == 1
    assert await one.steps() == [("revealed", "buyer", 3), ("burned", "system", 2), ("burned", "system", 1)]


async def test_the_job_goes_on_until_nothing_is_due():
    orders_of_many = [await sold(100) for _ in range(6)]
    for one in orders_of_many:
        await one.show()
    assert 100 * len(orders_of_many) > jobs.burn.AT_ONCE
    job_id = await db.fetchval("INSERT INTO jobs_job (name) VALUES ('vault.burn') RETURNING id")
    before = await db.fetchval("SELECT coalesce(max(id), 0) FROM audit_entry")
    with later(HOURS + 0.1):
        await (await Runner(1).start(job_id))
    assert [{row["blob"] for row in await one.rows()} for one in orders_of_many] == [{None}] * 6
    told = await db.fetch("SELECT actor, act, detail FROM audit_entry WHERE id > $1 ORDER BY id", before)
    assert [tuple(row) for row in told] == [
        ("system", "codes.burned", {"codes": 500}),
        ("system", "codes.burned", {"codes": 100}),
    ]


async def test_the_database_itself_holds_burned_and_empty_together():
    one = await sold()
    (row,) = await one.rows()
    for half in ("blob = NULL", "burned_at = now()", "burn_at = now()", "shown_to = 'x'"):
        with pytest.raises(asyncpg.CheckViolationError):
            await db.execute(f"UPDATE vault_code SET {half} WHERE id = $1", row["id"])
    assert await one.show(hours=0) == one.codes


async def test_the_page_tells_how_it_stands():
    one = await sold()

    async def page() -> tuple[int, bool, bool]:
        row = await orders.for_session(one.ref, one.session)
        assert row is not None
        view = order_view(row)
        return view.burn_hours, view.burn_at is not None, view.all_burned

    assert await page() == (HOURS, False, False)
    await one.show()
    assert await page() == (0, True, False)
    with later(HOURS + 0.1):
        assert await page() == (0, False, True)
        await burn_what_is_due()
        assert await page() == (0, False, True)


async def test_burned_codes_go_into_no_mail():
    kept, one = await sold(), await sold()
    await shop_erases_after(0)
    assert [code.text for code in await reveal.codes_for_mail(kept.order_id)] == kept.codes
    await shop_erases_after(HOURS)
    assert await reveal.codes_for_mail(one.order_id) == []
    await one.show()
    await burn.burn_shown(one.ref, one.session)
    assert await reveal.codes_for_mail(one.order_id) == []
    mailed = await db.fetch("SELECT order_id FROM orders_event WHERE kind = 'codes_mailed'")
    assert [row["order_id"] for row in mailed] == [kept.order_id]


async def test_a_mail_with_codes_names_the_burned_ones_by_their_mask():
    await db.execute("UPDATE shops_shop SET settings = settings || '{\"mail_codes\": true}'")
    shops.forget()
    one, plain = await sold(2, burn_hours=HOURS), await sold(1)
    await one.show()
    first, second = await one.rows()
    await db.execute("UPDATE vault_code SET blob = NULL, burned_at = now() WHERE id = $1", first["id"])

    async def mail(sale: Sold) -> str:
        facts = {"id": 1, "shop_id": 1, "order_id": sale.order_id, "event": "order_delivered", "locale": "en"}
        facts |= {"data": {}}
        message = {**facts, "recipient": "b@example.com", "created_at": clock.now()}
        return (await compose.outgoing(message, 1, "http://shop.test")).text

    await shop_erases_after(0)
    text = await mail(one)
    assert f"{first['mask']} (erased for good)" in text
    assert f"{second['mask']} (only on the order page)" in text
    assert not any(code in text for code in one.codes)
    assert plain.codes[0] in await mail(plain)


async def test_a_dump_has_neither_the_code_nor_its_sealed_text(engines, database):
    one, control = await sold(), await sold()
    sealed = {sale.ref: (await sale.rows())[0] for sale in (one, control)}
    await one.show()
    await burn.burn_shown(one.ref, one.session)
    name = urlsplit(database).path[1:]
    dump = subprocess.run(
        [f"{engines.programs}/pg_dump", "--inserts", engines.url_of(name)], capture_output=True, check=True
    ).stdout
    assert sealed[control.ref]["blob"].hex().encode() in dump
    assert sealed[one.ref]["blob"].hex().encode() not in dump
    for sale in (one, control):
        assert sealed[sale.ref]["fingerprint"].hex().encode() in dump
        assert sealed[sale.ref]["mask"].encode() in dump
        assert sale.codes[0].encode() not in dump
