"""import-linter keeps the directions; a planted breach of each proves that it looks."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LINT = Path(sys.executable).with_name("lint-imports")


def lint(folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(folder), "COLUMNS": "200"}
    return subprocess.run(
        [LINT, "--config", str(ROOT / "pyproject.toml"), "--no-cache"],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
    )


@pytest.fixture
def copy(tmp_path):
    for name in ("core", "plugins"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__", "static"))
    return tmp_path


def test_the_directions_are_kept():
    done = lint(ROOT)
    assert done.returncode == 0, done.stdout
    assert " 0 broken." in done.stdout


@pytest.mark.parametrize(
    ("file", "line", "contract"),
    [
        ("core/money.py", "import core.orders.service", "Inside core imports run downward, floor by floor"),
        ("core/catalog/service.py", "import core.checkout", "Inside core imports run downward, floor by floor"),
        ("core/new_thing.py", "", "Inside core imports run downward, floor by floor"),
        ("core/ledger/service.py", "import plugins.payments.epay", "core loads plugins by name and never imports one"),
        ("plugins/payments/epay/method.py", "import core.db", "A plugin imports only core.api"),
        ("plugins/payments/epay/method.py", "import plugins.payments.manual", "A plugin never imports another plugin"),
        ("core/ledger/service.py", "import litestar", "Only pages, console, rest, web and app know Litestar"),
        ("core/orders/service.py", "import cryptography", "Crypto primitives live in the vault"),
    ],
)
def test_a_planted_breach_is_found(copy, file, line, contract):
    with (copy / file).open("a") as target:
        target.write(f"\n{line}\n")
    done = lint(copy)
    assert done.returncode == 1
    assert any(found.startswith(contract) and "BROKEN" in found for found in done.stdout.splitlines())


def test_a_planted_circle_is_found(copy):
    for one, other in (("people", "shops"), ("shops", "people")):
        with (copy / "core" / one / "service.py").open("a") as target:
            target.write(f"\nimport core.{other}.service\n")
    assert "Nothing in core imports in a circle BROKEN" in lint(copy).stdout
