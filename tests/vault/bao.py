"""A transit engine on loopback HTTP, as the documentation of OpenBao and Vault describes it."""

from __future__ import annotations

import base64
import json
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

TOKEN = "hvs.a-token-of-the-test"


class Server(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), ConnectionError):  # a test that waited for no answer
            super().handle_error(request, client_address)


class Bao:
    """One mount ``transit`` with one key ``shop``. The test changes its mood while it runs."""

    def __init__(self) -> None:
        self.keys = [AESGCM.generate_key(256)]
        self.sealed = False
        self.token = TOKEN
        self.answer: tuple[int, bytes] | None = None
        self.hold = threading.Event()
        self.hold.set()
        self.calls: list[tuple[str, str, dict[str, str]]] = []
        self.url = ""

    def rotate(self) -> None:
        """POST /v1/transit/keys/shop/rotate"""
        self.keys.append(AESGCM.generate_key(256))

    def handle(self, method: str, path: str, headers: dict[str, str], body: bytes) -> tuple[int, Any]:
        self.calls.append((method, path, headers))
        self.hold.wait(30)
        if self.answer is not None:
            return self.answer
        if self.sealed:
            return 503, {"errors": ["Vault is sealed"]}
        if headers.get("x-vault-token") != self.token:
            return 403, {"errors": ["permission denied"]}
        if method != "POST" or not path.startswith("/v1/transit/"):
            return 404, {"errors": [f"no handler for route {path!r}"]}
        act, _, key = path.removeprefix("/v1/transit/").partition("/")
        work = {"encrypt": self.encrypt, "decrypt": self.decrypt, "rewrap": self.rewrap}.get(act)
        if work is None or key != "shop":
            return 400, {"errors": ["encryption key not found"]}
        results = [work(item) for item in json.loads(body)["batch_input"]]
        failed = [result["error"] for result in results if "error" in result]
        return (400 if failed else 200), {
            "request_id": "1",
            "data": {"batch_results": results},
            "errors": failed or None,
        }

    def encrypt(self, item: dict[str, str]) -> dict[str, Any]:
        version, nonce = len(self.keys), os.urandom(12)
        data = AESGCM(self.keys[-1]).encrypt(nonce, base64.b64decode(item["plaintext"]), None)
        return {"ciphertext": f"vault:v{version}:{base64.b64encode(nonce + data).decode()}", "key_version": version}

    def decrypt(self, item: dict[str, str]) -> dict[str, Any]:
        try:
            _, version, text = item["ciphertext"].split(":")
            raw = base64.b64decode(text)
            plain = AESGCM(self.keys[int(version[1:]) - 1]).decrypt(raw[:12], raw[12:], None)
        except (ValueError, IndexError, InvalidTag):
            return {"error": "cipher: message authentication failed"}
        return {"plaintext": base64.b64encode(plain).decode()}

    def rewrap(self, item: dict[str, str]) -> dict[str, Any]:
        plain = self.decrypt(item)
        return plain if "error" in plain else self.encrypt(plain)


@contextmanager
def running() -> Iterator[Bao]:
    bao = Bao()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            headers = {name.lower(): value for name, value in self.headers.items()}
            status, answer = bao.handle("POST", self.path, headers, body)
            raw = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(raw)))
            self.end_headers()
            self.wfile.write(raw)

        def log_message(self, *args: Any) -> None:
            pass

    server = Server(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    bao.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield bao
    finally:
        bao.hold.set()
        server.shutdown()
        thread.join()
        server.server_close()
