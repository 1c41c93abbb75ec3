"""A shop that sells, and the command line around its backups."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from core.vault import sealed_file
from core.vault.cipher import Secret
from tests import warm
from tests.conftest import Child
from tests.faults.shop import SEED, SETTINGS
from tests.payments.real_shop import RealShop

SKU = "SAFE"
CODES = [f"CANARY-8W3N-{number:04d}-CODE" for number in range(400)]


@pytest.fixture(scope="module")
def sql(engines, database):
    name = urlsplit(database).path[1:]
    engines.sql(SEED, name)
    return lambda statement: engines.sql(statement, name)


@pytest.fixture(scope="module")
def web(sql, start, tmp_path_factory) -> Child:
    web = start("web", "--no-demo", **SETTINGS)
    RealShop(web.url, web.environ, sql).stock(SKU, CODES, tmp_path_factory.mktemp("codes"))
    return web


@dataclass
class Room:
    """A folder for backups, with databases and data folders to restore into."""

    folder: Path
    environ: dict[str, str]
    new_database: Callable[[], str]
    public_key: str

    @property
    def key_file(self) -> Path:
        return self.folder / "backup.key"

    @property
    def key(self) -> Secret:
        return Secret(self.key_file.read_text().strip())

    def call(self, *arguments: str, text: str = "", **environ: str) -> subprocess.CompletedProcess[str]:
        return warm.run(*arguments, env={**self.environ, **environ}, cwd=self.folder, text=text)

    def backup(self, name: str, *options: str, **environ: str) -> Path:
        file = self.folder / name
        done = self.call("backup", str(file), "--to", self.public_key, *options, **environ)
        assert done.returncode == 0, done.stderr
        return file

    def restore(
        self, file: Path, home: Path, database: str, *options: str, **environ: str
    ) -> subprocess.CompletedProcess[str]:
        arguments = ("restore", str(file), "--key-file", str(self.key_file), "--json", *options)
        return self.call(*arguments, VOUCHSAFE_HOME=str(home), DATABASE_URL=database, **environ)


@pytest.fixture(scope="module")
def room(web: Child, engines) -> Iterator[Room]:
    folder = Path(tempfile.mkdtemp(prefix="vouchsafe-backup-"))
    folder.chmod(0o755)
    names: list[str] = []

    def new_database() -> str:
        names.append(f"restored_{os.getpid()}_{len(names)}")
        engines.sql(f"CREATE DATABASE {names[-1]}")
        return engines.url_of(names[-1])

    secret, public = sealed_file.new_key()
    (folder / "backup.key").write_text(f"{secret.reveal()}\n")
    yield Room(folder, web.environ, new_database, public)
    for name in names:
        engines.sql(f"DROP DATABASE {name} WITH (FORCE)")
    shutil.rmtree(folder)
