"""Start the fake gateways as processes of their own and talk to them from a test."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

HERE = Path(__file__).parent
KEY = "89unJUB8HZ54Hj7x4nUj56HN4nUzUJ8i"
PID = "1001"


@dataclass(frozen=True)
class FakeEpay:
    address: str
    pid: str
    key: str
    client: httpx.Client = field(repr=False)

    def log(self) -> dict[str, Any]:
        """``trades``, ``calls`` of the merchant's notify address, ``requests`` of the merchant."""
        return self._ask("GET", "/_log")

    def trade(self, out_trade_no: str) -> dict[str, Any]:
        return next(trade for trade in self.log()["trades"] if trade["out_trade_no"] == out_trade_no)

    def script(self, **faults: Any) -> None:
        """Set what goes wrong from now on; no fault at all is a healthy gateway."""
        self._ask("POST", "/_script", json=faults)

    def pay(self, out_trade_no: str) -> None:
        """The buyer pays; returns when the merchant was called the first time."""
        self._ask("POST", "/_pay", params={"out_trade_no": out_trade_no})

    def notify_again(self, out_trade_no: str) -> bool:
        return bool(self._ask("POST", "/_notify", params={"out_trade_no": out_trade_no})["accepted"])

    def notify_address(self, out_trade_no: str) -> str:
        """The whole signed address the gateway would call."""
        return str(self._ask("GET", "/_notify", params={"out_trade_no": out_trade_no})["url"])

    def set_status(self, out_trade_no: str, status: int) -> None:
        self._ask("POST", "/_status", params={"out_trade_no": out_trade_no, "status": status})

    def _ask(self, method: str, path: str, **request: Any) -> dict[str, Any]:
        answer = self.client.request(method, path, **request)
        answer.raise_for_status()
        found: dict[str, Any] = answer.json()
        return found


@contextmanager
def fake_epay(*, pid: str = PID, key: str = KEY, retry_scale: float = 0.001) -> Iterator[FakeEpay]:
    command = [sys.executable, str(HERE / "epay.py"), "--until-eof"]
    command += ["--pid", pid, "--key", key, "--retry-scale", str(retry_scale)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin is not None and process.stdout is not None
    try:
        address = process.stdout.readline().strip()
        assert address.startswith("http://"), "the fake gateway did not start"
        with httpx.Client(base_url=address, timeout=30) as client:
            yield FakeEpay(address, pid, key, client)
    finally:
        process.stdin.close()
        process.stdout.close()
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
