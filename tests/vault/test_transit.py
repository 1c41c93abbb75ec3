"""The transit engine as keeper of the master key, over real HTTP."""

import asyncio
import base64
import dataclasses
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from core import db
from core.config import Config, ConfigError, SetupProblem
from core.vault import cipher, keyring, keys, rotate
from core.vault.cipher import VaultLocked
from core.vault.keyring import Follower
from core.vault.providers import KeyAway, TransitEngine

from .bao import TOKEN, Bao, running


@pytest.fixture
def bao() -> Iterator[Bao]:
    with running() as server:
        yield server


def environ(bao: Bao, home: Path, **more: str) -> dict[str, str]:
    return {
        "VOUCHSAFE_HOME": str(home),
        "VOUCHSAFE_TRANSIT_URL": bao.url,
        "VOUCHSAFE_TRANSIT_KEY": "transit/shop",
        "VOUCHSAFE_TRANSIT_TOKEN": TOKEN,
        **more,
    }


@pytest.fixture
def config(bao: Bao, tmp_path: Path) -> Config:
    return Config.from_env(environ(bao, tmp_path))


def engine(config: Config, seconds: float = 5.0) -> TransitEngine:
    assert config.transit is not None
    return TransitEngine(config.transit, seconds)


async def test_wrap_unwrap_and_rewrap_speak_the_documented_api(bao: Bao, config: Config) -> None:
    transit = engine(config)
    wrapped = await transit.wrap([b"one", b"two"])
    assert [blob.split(b":")[:2] for blob in wrapped] == [[b"vault", b"v1"]] * 2
    bao.rotate()
    again = await transit.rewrap(wrapped)
    assert [blob.split(b":")[1] for blob in again] == [b"v2"] * 2
    assert await transit.unwrap([*wrapped, *again]) == [b"one", b"two"] * 2
    assert [(method, path) for method, path, _ in bao.calls] == [
        ("POST", "/v1/transit/encrypt/shop"),
        ("POST", "/v1/transit/rewrap/shop"),
        ("POST", "/v1/transit/decrypt/shop"),
    ]
    assert {headers["x-vault-request"] for _, _, headers in bao.calls} == {"true"}
    assert "x-vault-namespace" not in bao.calls[0][2]


async def test_a_namespace_and_a_token_file_that_an_agent_renews(bao: Bao, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(TOKEN + "\n")
    given = environ(bao, tmp_path, VOUCHSAFE_TRANSIT_TOKEN="", VOUCHSAFE_TRANSIT_TOKEN_FILE=str(file))
    transit = engine(Config.from_env({**given, "VOUCHSAFE_TRANSIT_NAMESPACE": "team/shop"}))
    (wrapped,) = await transit.wrap([b"one"])
    assert bao.calls[0][2]["x-vault-namespace"] == "team/shop"
    bao.token = "hvs.renewed"
    with pytest.raises(KeyAway, match="refuses the token for decrypt"):
        await transit.unwrap([wrapped])
    file.write_text("hvs.renewed")
    assert await transit.unwrap([wrapped]) == [b"one"]
    file.unlink()
    with pytest.raises(KeyAway, match=r"token file .* cannot be read"):
        await transit.unwrap([wrapped])


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ((503, b'{"errors":["Vault is sealed"]}'), "is sealed: unseal it"),
        ((403, b'{"errors":["permission denied"]}'), "refuses the token"),
        ((404, b'{"errors":[]}'), "no transit engine"),
        ((500, b'{"errors":["1 error occurred"]}'), "answered 500 to decrypt: 1 error occurred"),
        ((502, b"<html>bad gateway</html>"), "answered 502 to decrypt"),
        ((307, b""), "answered 307 to decrypt"),
        ((200, b"not json"), "nobody can read"),
        ((200, b'{"data":{"batch_results":[]}}'), "nobody can read"),
        ((200, b'{"data":{"batch_results":[{"plaintext":"%%%"}]}}'), "nobody can read"),
        ((200, b'{"data":{"batch_results":[{"error":"cipher: message authentication failed"}]}}'), "right transit key"),
        ((200, b'{"data":null}'), "nobody can read"),
        ((200, b"[]"), "nobody can read"),
    ],
)
async def test_every_refusal_is_one_kind_of_error(
    bao: Bao, config: Config, answer: tuple[int, bytes], words: str
) -> None:
    bao.answer = answer
    with pytest.raises(KeyAway, match=words) as refusal:
        await engine(config).unwrap([b"vault:v1:AAAA"])
    assert TOKEN not in str(refusal.value)


async def test_silence_and_a_closed_port(bao: Bao, config: Config) -> None:
    bao.hold.clear()
    with pytest.raises(KeyAway, match=r"does not answer .ReadTimeout"):
        await engine(config, 0.3).wrap([b"one"])
    bao.hold.set()
    assert config.transit is not None
    nobody = dataclasses.replace(config.transit, url="http://127.0.0.1:1")
    with pytest.raises(KeyAway, match=r"does not answer .ConnectError"):
        await TransitEngine(nobody).wrap([b"one"])


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"VOUCHSAFE_TRANSIT_URL": "http://bao.example.com:8200"}, "must be https"),
        ({"VOUCHSAFE_TRANSIT_KEY": "vouchsafe"}, "mount, slash, name"),
        ({"VOUCHSAFE_TRANSIT_TOKEN": ""}, "either VOUCHSAFE_TRANSIT_TOKEN_FILE or"),
        ({"VOUCHSAFE_TRANSIT_TOKEN_FILE": "/x"}, "either VOUCHSAFE_TRANSIT_TOKEN_FILE or"),
        ({"VOUCHSAFE_KEY_SECONDS": "0"}, "VOUCHSAFE_KEY_SECONDS"),
    ],
)
def test_settings_that_cannot_be_used_stop_the_start(
    bao: Bao, tmp_path: Path, changed: dict[str, str], words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        Config.from_env({**environ(bao, tmp_path), **changed})


def test_the_token_is_not_shown(config: Config) -> None:
    assert TOKEN not in repr(config)


# -- a keyring under it -----------------------------------------------------------------


@pytest.fixture
async def new_keyring(pool: None, master_key: keys.MasterKey) -> AsyncIterator[None]:
    """The keyring of a shop that has no stock yet."""
    await db.execute("TRUNCATE vault_rotation, vault_holder")
    await db.execute("DELETE FROM vault_batch")
    await db.execute("DELETE FROM vault_key WHERE version > 1")
    await db.execute(
        "UPDATE vault_key SET wrapped = NULL, public_key = NULL, state = 'active', replaced_at = NULL,"
        " seals = 0, provider = '' WHERE version = 1"
    )
    await db.execute("UPDATE vault_key SET wrapped = NULL, provider = '' WHERE version = 0")
    yield
    keys.use(master_key)


async def test_a_new_shop_keeps_no_key_outside_the_transit_engine(
    new_keyring: None, bao: Bao, config: Config, tmp_path: Path
) -> None:
    assert await keyring.unlock(config, create=True) is False
    assert list(tmp_path.iterdir()) == []
    rows = await db.fetch("SELECT version, provider, wrapped FROM vault_key ORDER BY version")
    assert [(row["version"], row["provider"], row["wrapped"][:9]) for row in rows] == [
        (0, "transit", b"vault:v1:"),
        (1, "transit", b"vault:v1:"),
    ]
    blob = cipher.seal_secret("totp", b"x")
    keys.use(keys.MasterKey(b"z" * 32))
    await keyring.unlock(config)
    assert cipher.open_secret("totp", blob) == b"x"


async def test_a_sealed_engine_closes_the_codes_in_time_and_all_opens_again(
    new_keyring: None, bao: Bao, config: Config
) -> None:
    follower = Follower(dataclasses.replace(config, key_seconds=2))
    await follower.look()
    wrapped, version = cipher.new_batch_key(1, 2, 3)
    code = cipher.open_batch(wrapped, version, 1, 2, 3).seal(9, "CODE")
    bao.sealed = True
    seen = keys.current()

    await until_look(follower, lambda: not seen.opens_codes())
    with pytest.raises(VaultLocked, match="is sealed: unseal it"):
        cipher.open_batch(wrapped, version, 1, 2, 3)
    assert cipher.open_secret("totp", cipher.seal_secret("totp", b"signs in")) == b"signs in"
    (problem,) = await keyring.problems()
    assert (problem["name"], problem["problem"]) == (follower.name, "the transit engine is sealed: unseal it")

    bao.sealed = False
    await until_look(follower, lambda: keys.current().opens_codes())
    assert cipher.open_batch(wrapped, version, 1, 2, 3).open(9, code).reveal() == "CODE"
    assert await keyring.problems() == []


async def until_look(follower: Follower, met: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not met():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)
        await follower.look()
    await follower.look()


async def test_a_shop_started_while_the_engine_is_sealed_takes_orders_and_opens_later(
    new_keyring: None, bao: Bao, config: Config
) -> None:
    await keyring.unlock(config)
    bao.sealed = True
    keys.use(keys.Ring.locked("not looked yet"))
    follower = Follower(dataclasses.replace(config, key_seconds=2))
    await follower.look()
    link = cipher.seal_secret("order-token", b"a link")
    with pytest.raises(VaultLocked, match="unseal it"):
        cipher.seal_secret("totp", b"x")
    bao.sealed = False
    await until_look(follower, lambda: keys.current().is_unlocked())
    assert cipher.open_secret("order-token", link) == b"a link"


async def test_moving_from_a_key_file_to_the_engine_and_renewing_its_key(
    new_keyring: None, bao: Bao, config: Config, tmp_path: Path
) -> None:
    before = dataclasses.replace(config, transit=None)
    assert await keyring.unlock(before, create=True) is True
    blob = cipher.seal_secret("totp", b"x")
    await keyring.unlock(config)
    assert bao.calls == []
    said: list[str] = []
    facts = await rotate.rotate_master(config, said.append)
    assert facts == {"provider": "transit", "keys": 2, "key_file_changed": False}
    config.master_key_file.unlink()
    await keyring.unlock(config)
    assert cipher.open_secret("totp", blob) == b"x"
    with pytest.raises(KeyAway, match="'transit', which is not set up here"):
        await keyring.unlock(before)

    bao.rotate()
    await rotate.rotate_master(config, said.append)
    assert {row["wrapped"][:9] for row in await db.fetch("SELECT wrapped FROM vault_key")} == {b"vault:v2:"}
    bao.keys[0] = b"\0" * 32
    await keyring.unlock(config)
    assert cipher.open_secret("totp", blob) == b"x"

    facts = await rotate.rotate_master(config, said.append, to_file=True)
    assert facts == {"provider": "local", "keys": 2, "key_file_changed": True}
    await keyring.unlock(before)
    assert cipher.open_secret("totp", blob) == b"x"


async def test_a_new_key_file_and_keys_from_the_environment(new_keyring: None, config: Config, tmp_path: Path) -> None:
    config = dataclasses.replace(config, transit=None)
    await keyring.unlock(config, create=True)
    blob, old = cipher.seal_secret("totp", b"x"), config.master_key_file.read_text()
    facts = await rotate.rotate_master(config, lambda text: None)
    assert facts == {"provider": "local", "keys": 2, "key_file_changed": True}
    new = config.master_key_file.read_text()
    assert len(new.split()) == 1 and new != old
    assert config.master_key_file.stat().st_mode & 0o777 == 0o600
    await keyring.unlock(config)
    assert cipher.open_secret("totp", blob) == b"x"

    # by hand, where a system hands out the key: the new one in front, then rotate, then without the old one
    third = base64.b64encode(b"3" * 32).decode()
    both = dataclasses.replace(config, master_key=f"{third}, {new.strip()}")
    await rotate.rotate_master(both, lambda text: None)
    await keyring.unlock(dataclasses.replace(config, master_key=third))
    assert cipher.open_secret("totp", blob) == b"x"
    with pytest.raises(KeyAway, match="another master key"):
        await keyring.unlock(config)


async def test_a_keyring_somebody_else_changed_is_not_overwritten(new_keyring: None, bao: Bao, config: Config) -> None:
    await keyring.unlock(config)
    rows = [(row["version"], b"not what is there", b"new") for row in await db.fetch(keyring.ROWS)]
    with pytest.raises(SetupProblem, match="changed in the meantime"):
        await db.transaction(rotate._replace_all, "transit", rows)
    await keyring.unlock(config)
