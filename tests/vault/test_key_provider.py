"""A key provider that an installed package brings: what it keeps, and every way it can fail."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from core.config import Config, ConfigError
from core.vault import cipher, keyring, keys, rotate
from core.vault.providers import GROUP, Installed, KeyAway
from tests.vault.test_transit import new_keyring

__all__ = ["new_keyring"]

KEEPER = """
import asyncio
from core.api import KeyAway

class Keeper:
    name = "acme-kms"
    mask = 0x5C
    async def wrap(self, secrets):
        return [b"acme:" + bytes(byte ^ self.mask for byte in secret) for secret in secrets]
    async def unwrap(self, wrapped):
        return [bytes(byte ^ self.mask for byte in blob[5:]) for blob in wrapped]
    async def rewrap(self, wrapped):
        return await self.wrap(await self.unwrap(wrapped))

class Away(Keeper):
    async def unwrap(self, wrapped):
        raise KeyAway("the account is closed: pay its bill")

class Broken(Keeper):
    async def unwrap(self, wrapped):
        raise ValueError("secret-5c5c is no key")

class Short(Keeper):
    async def unwrap(self, wrapped):
        return (await super().unwrap(wrapped))[1:]

class Text(Keeper):
    async def unwrap(self, wrapped):
        return ["text" for _ in wrapped]

def nothing():
    raise RuntimeError("secret-5c5c")
"""
NAMES = {
    "acme-kms": "Keeper",
    "away": "Away",
    "broken": "Broken",
    "short": "Short",
    "text": "Text",
    "nothing": "nothing",
}
TRANSIT = {"VOUCHSAFE_TRANSIT_URL": "https://bao.example", "VOUCHSAFE_TRANSIT_TOKEN": "t"}


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "vouchsafe_acme.py").write_text(KEEPER)
    about = tmp_path / "vouchsafe_acme-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: vouchsafe-acme\nVersion: 1.0\n")
    points = "".join(f"{name} = vouchsafe_acme:{make}\n" for name, make in NAMES.items())
    (about / "entry_points.txt").write_text(f"[{GROUP}]\n{points}")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "vouchsafe_acme", raising=False)


def config(home: Path, name: str) -> Config:
    return Config.from_env({"VOUCHSAFE_HOME": str(home), "VOUCHSAFE_KEY_PROVIDER": name})


async def test_a_new_shop_keeps_no_key_of_its_own(new_keyring: None, package: None, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    assert await keyring.unlock(config(home, "acme-kms"), create=True) is False
    assert list(home.iterdir()) == []
    blob = cipher.seal_secret("totp", b"x")
    keys.use(keys.MasterKey(b"z" * 32))
    await keyring.unlock(config(home, "acme-kms"))
    assert cipher.open_secret("totp", blob) == b"x"
    said: list[str] = []
    facts = await rotate.rotate_master(config(home, "acme-kms"), said.append, to_file=True)
    assert facts == {"provider": "local", "keys": 2, "key_file_changed": True}
    assert await rotate.rotate_master(config(home, "acme-kms"), said.append) == {
        "provider": "acme-kms", "keys": 2, "key_file_changed": False
    }  # fmt: skip
    for name in ("away", "broken"):
        with pytest.raises(KeyAway, match="'acme-kms', which is not set up here"):
            await keyring.unlock(config(home, name))


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("away", "the account is closed: pay its bill"),
        ("broken", "the key provider broken failed at unwrap (ValueError)"),
        ("nothing", "the key provider nothing failed at unwrap (RuntimeError)"),
        ("short", "the key provider short gave an answer to unwrap that nobody can read"),
        ("text", "the key provider text gave an answer to unwrap that nobody can read"),
        ("other", "no key provider other is installed; installed are: acme-kms, away, broken, nothing, short, text"),
    ],
)
async def test_whatever_fails_leaves_the_shop_without_its_key_and_says_so(package: None, name: str, said: str) -> None:
    with pytest.raises(KeyAway) as away:
        await Installed(name).unwrap([b"acme:one", b"acme:two"])
    assert str(away.value) == said


@pytest.mark.parametrize(("name", "more"), [("local", {}), ("transit", {}), ("A B", {}), ("acme-kms", TRANSIT)])
def test_names_that_cannot_be_used_stop_the_start(tmp_path: Path, name: str, more: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match="VOUCHSAFE_KEY_PROVIDER"):
        Config.from_env({"VOUCHSAFE_HOME": str(tmp_path), "VOUCHSAFE_KEY_PROVIDER": name, **more})
