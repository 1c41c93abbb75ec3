"""A real mail server to send to, a shop with an order, and the runtime with the real plugins."""

import asyncio
import ssl
import threading
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from core import db
from core.hooks import runtime, store
from core.hooks.runtime import Runtime
from core.ids import new_ref, new_token, token_hash
from core.jobs import runner as jobs_runner
from core.messages import jobs as message_jobs  # noqa: F401 - makes the jobs known
from core.shops import service as shops
from core.vault import cipher, keys

SHOP = "https://shop.example.com"
MASTER_KEY = b"m" * 32
USER, PASSWORD = "shop", "right-password"


@dataclass
class MailServer:
    """What it was sent, and the next answers it gives instead of taking a mail."""

    mails: list[EmailMessage] = field(default_factory=list)
    recipients: list[str] = field(default_factory=list)
    at_rcpt: list[str | bytes] = field(default_factory=list)
    at_data: list[str] = field(default_factory=list)
    at_mail: list[str] = field(default_factory=list)
    cut_after_data: bool = False
    taken: bytes | None = None
    lock: threading.Lock = field(default_factory=threading.Lock)

    async def handle_MAIL(self, server: SMTP, session: Session, envelope: Envelope, address: str, options: Any) -> str:
        if self.at_mail:
            return self.at_mail.pop(0)
        envelope.mail_from = address
        return "250 OK"

    async def handle_RCPT(self, server: SMTP, session: Session, envelope: Envelope, address: str, options: Any) -> Any:
        if self.at_rcpt:
            return self.at_rcpt.pop(0)
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> Any:
        if self.at_data:
            return self.at_data.pop(0)
        with self.lock:
            self.mails.append(message_from_bytes(envelope.content or b"", policy=policy.default))  # type: ignore[arg-type]
            self.recipients += envelope.rcpt_tos
        if self.cut_after_data:
            self.cut_after_data = False
            assert server.transport is not None
            server.transport.abort()
        return self.taken or f"250 2.0.0 Ok: queued as {len(self.mails)}"

    def authenticate(self, server: SMTP, session: Session, envelope: Envelope, mechanism: str, data: Any) -> AuthResult:
        good = isinstance(data, LoginPassword) and (data.login, data.password) == (USER.encode(), PASSWORD.encode())
        return AuthResult(success=good, handled=False)


class Running(Controller):
    """The server on a port of its own."""

    def __init__(self, mail: MailServer, **options: Any) -> None:
        super().__init__(mail, hostname="127.0.0.1", port=0, authenticator=mail.authenticate, **options)

    def _trigger_server(self) -> None:
        """The port is known only now; the controller's own trial connection would ask for port 0."""
        assert self.server is not None
        self.port = self.server.sockets[0].getsockname()[1]
        super()._trigger_server()


def started(mail: MailServer, **options: Any) -> Running:
    running = Running(mail, auth_require_tls=False, **options)
    running.start()
    return running


@pytest.fixture
def mail() -> MailServer:
    return MailServer()


@pytest.fixture
def server(mail: MailServer) -> Iterator[Running]:
    running = started(mail)
    yield running
    running.stop()


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A certificate for ``localhost`` that its own authority signed, and a context that shows it."""
    from datetime import UTC, datetime, timedelta

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    folder = tmp_path_factory.mktemp("tls")
    (folder / "cert.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    return folder / "cert.pem", context


def smtp_settings(port: int, **changes: Any) -> dict[str, Any]:
    return {
        "host": "127.0.0.1",
        "port": port,
        "security": "none",
        "username": USER,
        "from_address": "shop@example.com",
        **changes,
    }


class Desk:
    """The merchant's side: plugins, settings, orders, and a worker that runs what is due."""

    def __init__(self) -> None:
        self.runtime = Runtime(base_url=SHOP, environ={})
        self.runner = jobs_runner.Runner(4)

    async def use_smtp(self, port: int, password: str = PASSWORD, **changes: Any) -> None:
        settings = smtp_settings(port, **changes)
        await db.transaction(store.save, "notifiers.smtp", True, settings, {"password": password})
        await self.runtime.refresh()

    async def without_smtp(self) -> None:
        await db.transaction(store.enable, "notifiers.smtp", False)
        await self.runtime.refresh()

    async def work(self) -> None:
        """Run every job that is due, as a worker does, until none is."""
        while ids := await db.fetch("SELECT id FROM jobs_job WHERE state = 'queued' AND run_at <= now() ORDER BY id"):
            for row in ids:
                await (await self.runner.start(row["id"]))

    async def order(self, code: str = "", **changes: Any) -> Any:
        """A delivered order of one code."""
        return await db.transaction(_order, code or new_ref("CODE-"), changes)

    async def message(self) -> Any:
        return await db.fetchrow("SELECT * FROM messages_message ORDER BY id DESC LIMIT 1")

    async def job(self) -> Any:
        return await db.fetchrow("SELECT * FROM jobs_job WHERE name = 'messages.send' ORDER BY id DESC LIMIT 1")

    async def shop(self, **settings: Any) -> Any:
        await db.execute("UPDATE shops_shop SET settings = $1, locale = 'en', revision = revision + 1", settings)
        shops.forget()
        return await shops.main_shop()


async def _order(tx: db.Tx, code: str, changes: dict[str, Any]) -> Any:
    token = new_token()
    buyer = {"contact": "buyer@example.net", "contact_kind": "email", "locale": "en", "payment_state": "paid"}
    facts = {**buyer, **changes}
    ref = new_ref("V")
    product = await tx.fetchval(
        "INSERT INTO catalog_product (shop_id, slug, title) VALUES (1, lower($1), $2) RETURNING id",
        ref,
        {"en": "Music", "zh-CN": "音乐会员"},
    )
    sku = await tx.fetchval(
        "INSERT INTO catalog_sku (shop_id, product_id, code, title, price, currency)"
        " VALUES (1, $1, $2, $3, 1990, 'CNY') RETURNING id",
        product,
        ref,
        {"en": "One month", "zh-CN": "一个月"},
    )
    order = await tx.fetchrow(
        "INSERT INTO orders_order (shop_id, ref, key, contact, contact_kind, locale, currency, total, token_hash,"
        " token_sealed, expires_at, payment_state, fulfilment_state, delivered_at)"
        " VALUES (1, $1, $1, $2, $3, $4, 'CNY', 1990, $5, $6, now(), $7, 'delivered', now()) RETURNING *",
        ref,
        facts["contact"],
        facts["contact_kind"],
        facts["locale"],
        token_hash(token),
        cipher.seal_secret("order-token", token.encode()),
        facts["payment_state"],
    )
    line = await tx.fetchval(
        "INSERT INTO orders_line (order_id, sku_id, product_id, product_title, sku_title, sku_code, delivery_note,"
        " quantity, unit_price, total, state)"
        " VALUES ($1, $2, $3, $4, $5, $6, $7, 1, 1990, 1990, 'delivered') RETURNING id",
        order["id"],
        sku,
        product,
        {"en": "Music", "zh-CN": "音乐会员"},
        {"en": "One month", "zh-CN": "一个月"},
        ref,
        {"en": "Redeem it **in the app**.", "zh-CN": "在应用中兑换。"},
    )
    await _code(tx, sku, line, code)
    return {**order, "token": token}


async def _code(tx: db.Tx, sku: int, line: int, code: str) -> None:
    batch = await tx.fetchval("SELECT nextval(pg_get_serial_sequence('vault_batch', 'id'))")
    code_id = await tx.fetchval("SELECT nextval(pg_get_serial_sequence('vault_code', 'id'))")
    wrapped, version = cipher.new_batch_key(1, sku, batch)
    await tx.execute(
        "INSERT INTO vault_batch (id, shop_id, sku_id, name, state, wrapped_key, key_version)"
        " OVERRIDING SYSTEM VALUE VALUES ($1, 1, $2, 'b', 'ready', $3, $4)",
        batch,
        sku,
        wrapped,
        version,
    )
    await tx.execute(
        "INSERT INTO vault_code (id, shop_id, sku_id, batch_id, slot, state, line_id, blob, fingerprint, mask,"
        " delivered_at)"
        " VALUES ($1, 1, $2, $3, 0, 'delivered', $4, $5, $6, $7, now())",
        code_id,
        sku,
        batch,
        line,
        cipher.open_batch(wrapped, version, 1, sku, batch).seal(code_id, code),
        cipher.fingerprint(1, code),
        cipher.mask(code),
    )


@pytest.fixture
async def desk(pool: None) -> AsyncIterator[Desk]:
    for table in ("messages_template", "messages_message", "jobs_job", "hooks_plugin"):
        await db.execute(f"DELETE FROM {table}")
    keys.use(keys.MasterKey(MASTER_KEY))
    desk = Desk()
    runtime.use(desk.runtime)
    await desk.shop()
    await desk.runtime.start()
    yield desk
    await desk.runtime.close()


async def until_free(port: int) -> None:
    """Nobody listens on ``port`` any more."""
    while True:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            return
        writer.close()
