import base64
import multiprocessing
import os
import pickle
from dataclasses import dataclass
from pathlib import Path

import pytest

from core.vault import cipher, keys
from core.vault.keys import KeyFileError, MasterKey


@dataclass(frozen=True)
class Config:
    master_key_file: Path
    master_key: str | None = None


def test_the_first_start_makes_a_key_that_only_its_owner_reads(tmp_path: Path) -> None:
    config = Config(tmp_path / "home" / "master.key")
    assert keys.create(config.master_key_file)
    [made] = keys.load(config)
    assert config.master_key_file.stat().st_mode & 0o777 == 0o600
    assert base64.b64decode(config.master_key_file.read_text()) == made.secret
    assert [path.name for path in config.master_key_file.parent.iterdir()] == ["master.key"]
    assert not keys.create(config.master_key_file)
    assert keys.load(config)[0].secret == made.secret


def made_or_found(path: Path) -> bytes:
    keys.create(path)
    return keys.load(Config(path))[0].secret


def test_processes_that_start_together_get_one_key(tmp_path: Path) -> None:
    with multiprocessing.get_context("spawn").Pool(4) as pool:
        found = pool.map(made_or_found, [tmp_path / "master.key"] * 8)
    assert len(set(found)) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["master.key"]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644, 0o620, 0o601])
def test_a_key_file_others_can_touch_is_refused(tmp_path: Path, mode: int) -> None:
    config = Config(tmp_path / "master.key")
    keys.create(config.master_key_file)
    before = config.master_key_file.read_bytes()
    config.master_key_file.chmod(mode)
    with pytest.raises(KeyFileError, match="chmod 600"):
        keys.load(config)
    assert config.master_key_file.read_bytes() == before


@pytest.mark.parametrize("written", [bytes(range(32)).hex(), base64.b64encode(bytes(range(32))).decode()])
def test_a_key_from_the_environment(tmp_path: Path, written: str) -> None:
    [master] = keys.load(Config(tmp_path / "master.key", written))
    assert master.secret == bytes(range(32))
    assert list(tmp_path.iterdir()) == []


def test_a_url_safe_key(tmp_path: Path) -> None:
    secret = bytes([255] * 32)
    [master] = keys.load(Config(tmp_path / "k", base64.urlsafe_b64encode(secret).decode()))
    assert master.secret == secret


@pytest.mark.parametrize("written", ["short", "A" * 43, "zz" * 32, "密" * 32, base64.b64encode(bytes(31)).decode()])
def test_a_wrong_key_is_refused_without_being_shown(tmp_path: Path, written: str) -> None:
    with pytest.raises(KeyFileError) as refusal:
        keys.load(Config(tmp_path / "master.key", written))
    assert written not in str(refusal.value)
    file = tmp_path / "master.key"
    file.write_text(written)
    file.chmod(0o600)
    with pytest.raises(KeyFileError) as refusal:
        keys.load(Config(file))
    assert written not in str(refusal.value)
    assert file.read_text() == written


def test_a_key_is_never_printed_or_pickled() -> None:
    master = MasterKey(b"\x41" * 32)
    assert repr(master) == "MasterKey(version=1)"
    assert "A" * 32 not in f"{master} {master!r}"
    with pytest.raises(TypeError):
        pickle.dumps(master)


def test_a_folder_in_place_of_the_file(tmp_path: Path) -> None:
    with pytest.raises(KeyFileError):
        keys.load(Config(tmp_path))


def test_two_purposes_two_keys() -> None:
    names = [os.urandom(4).hex() for _ in range(20)]
    assert len({cipher.derive(name) for name in names}) == 20
    assert cipher.derive("x") == cipher.derive("x")
    assert len(cipher.derive("x")) == 32
