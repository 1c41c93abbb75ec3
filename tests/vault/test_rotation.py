"""Keys are rotated while the real shop sells, killed at every step, and go on where they stopped."""

import asyncio
import json
import signal
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import pytest

from core import db
from core.config import Config, SetupProblem
from core.vault import cipher, keyring, keys, rotate
from core.vault.import_run import IMPORT_LOCK
from core.vault.providers import Local
from tests import warm
from tests.conftest import Start, TestEngines
from tests.payments.real_shop import ROOT, RealShop
from tests.payments.test_test_sale import Visit

CODES = [f"ROTATE-{number:04d}-CODE-WXYZ" for number in range(650)]
SKUS = ("ROTATE-A", "ROTATE-B")
# Who seals small secrets, and the column it goes to; nothing where it is kept for minutes in a page or a session.
SEALERS = {
    "core/checkout/correcting.py": "orders_order.token_sealed",
    "core/checkout/giving.py": "orders_gift.token_sealed",
    "core/checkout/place.py": "orders_order.token_sealed",
    "core/hooks/store.py": "hooks_plugin.secrets",
    "core/partners/accounts.py": "partners_partner.secret_sealed",
    "core/people/console.py": "",
    "core/people/step_up.py": "",
    "core/people/totp.py": "people_staff.totp_secret",
    "core/supply/answers.py": "supply_answer.blob",
    "core/vault/import_staging.py": "vault_import.sealed_key",
}

VERSIONS = """
SELECT coalesce(string_agg(DISTINCT version::text, ','), '') FROM (
    SELECT key_version AS version FROM vault_batch
    UNION ALL SELECT ('x' || encode(substring(token_sealed FROM 3 FOR 4), 'hex'))::bit(32)::int FROM orders_order
    UNION ALL SELECT ('x' || encode(substring(secrets FROM 3 FOR 4), 'hex'))::bit(32)::int
    FROM hooks_plugin WHERE secrets IS NOT NULL) AS all_of_them
"""


@pytest.fixture(scope="module")
def shop(
    engines: TestEngines, database: str, start: Start, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RealShop]:
    name = urlsplit(database).path[1:]
    engines.sql("UPDATE shops_shop SET test_mode = true", name)
    web = start("web", "--no-demo")
    real = RealShop(web.url, web.environ, lambda statement: engines.sql(statement, name))
    for place, sku in enumerate(SKUS):
        real.stock(sku, CODES[place * 300 : place * 300 + 300], tmp_path_factory.mktemp("codes"))
    real.sql("UPDATE shops_shop SET settings = settings || '{\"open_orders_per_address\": 1000}'")
    with real.opened:
        yield real


@dataclass
class Load:
    """Buyers who buy, pay and look at their code, one after the other, until told to stop."""

    shop: RealShop
    sold: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> "Load":
        self.threads = [threading.Thread(target=self.buy, args=(sku,)) for sku in SKUS]
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.over.set()
        for thread in self.threads:
            thread.join()

    def buy(self, sku: str) -> None:
        while not self.over.is_set():
            try:
                visit = Visit(self.shop, sku)
                visit.press("paid")
                visit.go_back()
                self.sold += visit.buyer.reveal(visit.ref)
            except Exception as error:  # noqa: BLE001 - whatever it is, the test shows it
                self.wrong.append(repr(error))
                return


def rotate_keys(shop: RealShop, *arguments: str, crash_at: str = "") -> Any:
    return warm.run("rotate-keys", "--json", *arguments, env={**shop.environ, "VOUCHSAFE_CRASH_AT": crash_at})


def test_every_key_is_replaced_under_load_through_kills_and_nobody_notices(shop: RealShop, start: Start) -> None:
    first = Visit(shop, SKUS[0])
    first.press("paid")
    first.go_back()
    code = first.buyer.reveal(first.ref)
    with Load(shop) as load:
        shop.until(lambda: len(load.sold) >= 4)
        for point in ("rotate.added", "rotate.active", "rotate.chunk", "rotate.swept"):
            killed = rotate_keys(shop, crash_at=point)
            assert killed.returncode == -signal.SIGKILL, killed.stderr
            assert shop.sql("SELECT count(*) FROM vault_rotation WHERE finished_at IS NULL") == "1"
        done = rotate_keys(shop)
        assert done.returncode == 0, done.stderr
        facts = json.loads(done.stdout)
        assert (facts["version"], facts["unopened"], facts["old_versions"]) == (2, 0, {"1": 0})
        during = len(load.sold)
        shop.until(lambda: len(load.sold) >= during + 4)
    assert load.wrong == []
    assert len(load.sold) == len(set(load.sold)) and set(load.sold) <= set(CODES)
    assert shop.sql(VERSIONS) == "2"
    assert first.buyer.reveal(first.ref) == code
    assert facts["rewrapped"] >= len(SKUS)

    # an old key stays for an hour, then the worker takes it out
    assert shop.sql("SELECT version FROM vault_key WHERE state = 'old'") == "1"
    shop.sql("UPDATE vault_key SET replaced_at = now() - interval '2 hours' WHERE state = 'old'")
    start("worker")
    shop.until(lambda: shop.sql("SELECT version FROM vault_key ORDER BY version") == "0\n2")
    assert first.buyer.reveal(first.ref) == code


def test_the_master_key_is_renewed_under_load_and_through_kills(shop: RealShop) -> None:
    key = Path(shop.environ["VOUCHSAFE_HOME"]) / "master.key"
    old = key.read_text()
    with Load(shop) as load:
        for point in ("rotate.master_written", "rotate.master_stored"):
            killed = rotate_keys(shop, "--master", crash_at=point)
            assert killed.returncode == -signal.SIGKILL, killed.stderr
        done = rotate_keys(shop, "--master")
        assert done.returncode == 0, done.stderr
        during = len(load.sold)
        shop.until(lambda: len(load.sold) >= during + 2)
    assert load.wrong == []
    assert len(key.read_text().split()) == 1 and key.read_text() != old
    key_now = key.read_text()
    key.write_text(old)
    closed = rotate_keys(shop)
    assert (closed.returncode, closed.stdout) == (1, "")
    assert "another master key" in closed.stderr
    key.write_text(key_now)


# -- rules ------------------------------------------------------------------------------


@pytest.fixture
def ring(pool: None, shop: RealShop) -> Iterator[None]:
    before = keys.current()
    yield
    keys.use(before)


def test_whatever_is_sealed_and_stored_is_known_to_the_rotation() -> None:
    files = [file for folder in ("core", "plugins") for file in (ROOT / folder).rglob("*.py")]
    own = {"core/vault/cipher.py", "core/vault/rotate.py"}
    found = {str(file.relative_to(ROOT)) for file in files if "seal_secret(" in file.read_text()} - own
    assert found == set(SEALERS), "say where it is stored in SEALED of core/vault/rotate.py, and here"
    assert {f"{one.table}.{one.column}" for one in rotate.SEALED} == set(SEALERS.values()) - {""}


async def test_a_key_that_wraps_a_batch_cannot_go(ring: None) -> None:
    active = await db.fetchval(rotate.ACTIVE)
    with pytest.raises(asyncpg.ForeignKeyViolationError):
        await db.execute("DELETE FROM vault_key WHERE version = $1", active)


async def test_old_keys_wait_for_what_is_under_way_and_for_their_hour(ring: None) -> None:
    await db.execute("INSERT INTO vault_key (version, state, wrapped, replaced_at) VALUES (50, 'old', 'x', now())")
    assert await rotate.retire() == []
    sku = await db.fetchval("SELECT min(id) FROM catalog_sku")
    batch = await db.fetchval(
        "INSERT INTO vault_batch (shop_id, sku_id, name, wrapped_key, key_version) VALUES (1, $1, 'b', 'x', 50)"
        " RETURNING id",
        sku,
    )
    assert await rotate.retire(grace_seconds=0) == []
    assert (await rotate.wrapped_by_version())[50] == 1
    await db.execute("DELETE FROM vault_batch WHERE id = $1", batch)
    assert await rotate.retire(grace_seconds=0) == [50]


async def test_blocks_of_encryptions_are_counted_before_they_are_used(ring: None, shop: RealShop) -> None:
    await keyring.unlock(Config.from_env(shop.environ))
    active = await db.fetchval(rotate.ACTIVE)
    before = await db.fetchval("SELECT seals FROM vault_key WHERE version = $1", active)
    await keyring.unlock(Config.from_env(shop.environ))
    assert keys.current().seals_left == keyring.BLOCK
    assert await db.fetchval("SELECT seals FROM vault_key WHERE version = $1", active) == before + keyring.BLOCK
    cipher.seal_secret("totp", b"x")
    assert keys.current().seals_left == keyring.BLOCK - 1

    await db.execute("UPDATE vault_key SET seals = $2 WHERE version = $1", active, cipher.MOST_SEALS - 1)
    await keyring.unlock(Config.from_env(shop.environ))
    with pytest.raises(cipher.KeyWorn):
        cipher.seal_secret("totp", b"x")
    assert await db.fetchval(rotate.TO_DO, rotate.STALLED_SECONDS, rotate.NEW_KEY_AT) is True
    await db.execute("UPDATE vault_key SET seals = $2 WHERE version = $1", active, before)


async def test_who_was_killed_while_its_clock_was_wrong_holds_up_no_rotation(ring: None) -> None:
    await db.execute(
        "INSERT INTO vault_holder (name, active, newest, problem, seen_at)"
        " VALUES ('dead', 0, 0, 'away', now() + interval '2 hours')"
    )
    behind = await rotate._behind("newest", keys.current().newest)
    troubled = {row["name"] for row in await keyring.problems()}
    await db.execute("DELETE FROM vault_holder WHERE name = 'dead'")
    assert behind == []
    assert "dead" not in troubled


async def test_only_one_key_is_active_and_only_one_rotation_runs(ring: None) -> None:
    for statement in (
        "INSERT INTO vault_key (version, state) VALUES (60, 'active')",
        "UPDATE vault_key SET seals = 3865470567 WHERE state = 'active'",
    ):
        with pytest.raises(asyncpg.IntegrityConstraintViolationError):
            await db.execute(statement)


async def test_a_long_import_and_a_rotation_do_not_stop_each_other(shop: RealShop, pool: None, tmp_path: Path) -> None:
    file = tmp_path / "long.txt"
    file.write_text("ROTATE-LONG-CODE-1\n")
    import_codes = partial(warm.run, "import-codes", str(file), "--sku", SKUS[0], env=shop.environ)
    holding = asyncio.Event()

    async def hold(tx: db.Tx) -> Any:
        await tx.execute("SELECT pg_advisory_xact_lock($1, 1)", IMPORT_LOCK)
        holding.set()
        while not await tx.fetchval("SELECT EXISTS (SELECT 1 FROM pg_locks WHERE NOT granted)"):
            await asyncio.sleep(0.05)
        return await asyncio.to_thread(rotate_keys, shop)

    held = asyncio.create_task(db.transaction(hold))
    await holding.wait()
    imported = await asyncio.to_thread(import_codes)
    rotated = await held
    assert rotated.returncode == 0, rotated.stderr
    assert imported.returncode == 0, imported.stderr
    assert shop.sql("SELECT key_version FROM vault_batch ORDER BY id DESC LIMIT 1") == shop.sql(rotate.ACTIVE)
    assert rotate_keys(shop).returncode == 0


async def test_no_version_is_left_under_a_master_key_that_goes(
    ring: None, shop: RealShop, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = Config.from_env(shop.environ)
    await keyring.unlock(config)
    wrap, anew = Local.wrap, rotate._wrapped_anew

    async def slow_wrap(local: Local, secrets: Sequence[bytes]) -> list[bytes]:
        wrapped = await wrap(local, secrets)
        patch.undo()
        await rotate.rotate_master(config, print)
        return wrapped

    async def slow_anew(*given: Any) -> Any:
        rows = await anew(*given)
        await rotate._begin(config)
        return rows

    with monkeypatch.context() as patch:
        patch.setattr(Local, "wrap", slow_wrap)
        with pytest.raises(SetupProblem, match="changed in the meantime"):
            await rotate.rotate(config, print)
    await keyring.unlock(config)
    with monkeypatch.context() as patch:
        patch.setattr(rotate, "_wrapped_anew", slow_anew)
        with pytest.raises(SetupProblem, match="changed in the meantime"):
            await rotate.rotate_master(config, print)
    await keyring.unlock(config)
    done = await asyncio.to_thread(rotate_keys, shop)
    assert done.returncode == 0, done.stderr
