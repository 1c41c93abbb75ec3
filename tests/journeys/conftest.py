"""The real program as a newcomer starts it, a gateway and a mail server beside it, and a real browser."""

import email
import email.policy
import re
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, sync_playwright

from tests.browsers import CHROMIUM, FLAGS
from tests.conftest import ROOT, free_port
from tests.gateways.running import FakeEpay, fake_epay
from tests.run.conftest import Run, Runner, forget

SCREENSHOTS = ROOT / "build" / "screenshots"
PHONE = {"viewport": {"width": 390, "height": 844}, "device_scale_factor": 2, "is_mobile": True, "has_touch": True}
DESKTOP = {"viewport": {"width": 1280, "height": 900}}


class MailServer:
    """A real SMTP server that keeps what it was given."""

    def __init__(self) -> None:
        self.mails: list[EmailMessage] = []
        self.controller = Controller(self, hostname="127.0.0.1", port=free_port())

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        self.mails.append(email.message_from_bytes(envelope.content, policy=email.policy.default))  # type: ignore[arg-type]
        return "250 OK"

    @property
    def port(self) -> int:
        return int(self.controller.port)

    def mail_to(self, address: str, seconds: float = 30) -> EmailMessage:
        until(lambda: any(mail["To"] == address for mail in self.mails), seconds, f"no mail came to {address}")
        return next(mail for mail in self.mails if mail["To"] == address)


def until(met: Callable[[], bool], seconds: float, otherwise: str) -> None:
    deadline = time.monotonic() + seconds
    while not met():
        assert time.monotonic() < deadline, otherwise
        time.sleep(0.05)


@pytest.fixture(scope="module")
def gateway() -> Iterator[FakeEpay]:
    with fake_epay() as gateway:
        yield gateway


@pytest.fixture(scope="module")
def mail() -> Iterator[MailServer]:
    server = MailServer()
    server.controller.start()
    yield server
    server.controller.stop()


@pytest.fixture(scope="module")
def run() -> Iterator[Run]:
    """`server.py run` on an empty folder, ready."""
    folder = Path(tempfile.mkdtemp(prefix="vouchsafe-newcomer-"))
    folder.chmod(0o755)
    runner = Runner([sys.executable, str(ROOT / "server.py")], None, folder)
    try:
        yield runner.start(folder / "data", VOUCHSAFE_ALLOW_PRIVATE_HOSTS="127.0.0.0/8").ready()
    finally:
        runner.clean()
        forget(folder)


@pytest.fixture(scope="module")
def setup_link(run: Run) -> str:
    return next(iter(re.findall(r"http://\S+/admin/setup\?token=\S+", run.output)))


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield chromium
        chromium.close()


class Visitor:
    """A browser window that remembers every complaint of the page, and takes pictures."""

    def __init__(self, context: BrowserContext, name: str) -> None:
        self.context, self.name = context, name
        self.page: Page = context.new_page()
        self.complaints: list[str] = []
        self.pictures = 0
        self.page.on("console", lambda said: self._complain(said) if said.type == "error" else None)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))

    def _complain(self, said: ConsoleMessage) -> None:
        self.complaints.append(f"{said.text} ({said.location['url']})")

    def picture(self, what: str) -> None:
        self.pictures += 1
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        # hiding the caret would leave style attributes behind, which htmx copies and the policy then refuses
        self.page.screenshot(
            path=SCREENSHOTS / f"{self.name}-{self.pictures:02d}-{what}.png", full_page=True, caret="initial"
        )


NewVisitor = Callable[..., Visitor]


@pytest.fixture
def visitor(browser: Browser) -> Iterator[NewVisitor]:
    contexts: list[BrowserContext] = []

    def new(name: str, **options: Any) -> Visitor:
        contexts.append(browser.new_context(**{"locale": "zh-CN", "color_scheme": "light", **options}))
        contexts[-1].set_default_timeout(20_000)
        return Visitor(contexts[-1], name)

    yield new
    for context in contexts:
        for page in context.pages:
            if page.url.startswith("http"):
                assert page.evaluate("localStorage.length + sessionStorage.length") == 0, page.url
        context.close()
