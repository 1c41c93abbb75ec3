"""The whole program as `server.py run` starts it, with EPay and mail switched on, and looks into its engines."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import redis

from core import engine_place
from tests.conftest import ROOT
from tests.faults.shop import KEY, PID, Browser, notice, tell
from tests.journeys.conftest import MailServer
from tests.run.conftest import Run, Runner, forget, until

SKU = "DEMO-MUSIC-1M"
PRICE_TEXT = "15"
OPEN_FOR_BUSINESS = """
UPDATE vault_code SET state = 'void' WHERE state = 'free';
INSERT INTO hooks_plugin (id, enabled) VALUES ('payments.epay', true), ('notifiers.smtp', true)
    ON CONFLICT (id) DO UPDATE SET enabled = true;
UPDATE hooks_revision SET revision = revision + 1;
UPDATE shops_shop SET revision = revision + 1, settings = settings || '{"mail_codes": true}';
"""


@contextmanager
def whole_shop(mail: MailServer) -> Iterator[WholeShop]:
    """On an empty folder, with a demo product whose codes are all gone."""
    folder = Path(tempfile.mkdtemp(prefix="vouchsafe-whole-"))
    folder.chmod(0o755)
    environ = {
        "VOUCHSAFE_ALLOW_PRIVATE_HOSTS": "127.0.0.0/8",
        "VOUCHSAFE_PAYMENTS_EPAY_GATEWAY": "http://127.0.0.1:9",
        "VOUCHSAFE_PAYMENTS_EPAY_PID": PID,
        "VOUCHSAFE_PAYMENTS_EPAY_KEY": KEY,
        "VOUCHSAFE_NOTIFIERS_SMTP_HOST": "127.0.0.1",
        "VOUCHSAFE_NOTIFIERS_SMTP_PORT": str(mail.port),
        "VOUCHSAFE_NOTIFIERS_SMTP_SECURITY": "none",
        "VOUCHSAFE_NOTIFIERS_SMTP_FROM_ADDRESS": "shop@example.com",
        "TMPDIR": str(folder),
    }
    runner = Runner([sys.executable, str(ROOT / "server.py")], None, folder)
    try:
        shop = WholeShop(runner.start(folder / "data", **environ).ready(), environ)
        shop.psql(OPEN_FOR_BUSINESS)
        with Browser() as passer_by:
            until(lambda: "支付宝" in passer_by.http.get(f"{shop.url}/checkout?sku={SKU}").text)
        yield shop
    finally:
        runner.clean()
        forget(folder)


class WholeShop:
    def __init__(self, run: Run, environ: dict[str, str]) -> None:
        self.run, self.environ = run, environ
        self.url = run.address.rstrip("/")
        self.place = engine_place.prepare_place(run.home, lambda said: None)

    def psql(self, statement: str) -> str:
        return self._as_owner("psql", "-XAtq", "-v", "ON_ERROR_STOP=1", "-c", statement).decode().strip()

    def dump(self) -> bytes:
        return self._as_owner("pg_dump")

    def _as_owner(self, program: str, *arguments: str) -> bytes:
        command = [f"{self.place.postgres_bin}/{program}", "-d", self.place.database_url, *arguments]
        return subprocess.run(command, capture_output=True, check=True, cwd="/").stdout

    def valkey(self) -> bytes:
        with redis.from_url(self.place.redis_url) as client:
            return b"\n".join(key + b"=" + (client.dump(key) or b"") for key in client.scan_iter())

    def empty_valkey(self) -> None:
        with redis.from_url(self.place.redis_url) as client:
            client.flushall()

    def import_codes(self, codes: list[str], folder: Path) -> None:
        file = folder / "codes.txt"
        file.write_text("\n".join(codes))
        environ = {**os.environ, **self.environ, "VOUCHSAFE_HOME": str(self.run.home)}
        command = [sys.executable, str(ROOT / "server.py"), "import-codes", str(file), "--sku", SKU]
        subprocess.run(command, env=environ, check=True, capture_output=True)
        file.unlink()


def sell(shop: WholeShop, contact: str) -> tuple[Browser, str]:
    browser = Browser(contact)
    browser.open_counter(shop.url, SKU)
    ref = browser.send(shop.url)
    assert tell(shop.url, notice(f"{ref}-1", PRICE_TEXT)).content == b"success"
    return browser, ref
