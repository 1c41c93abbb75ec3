"""The contract of notifiers, against a mail server that speaks SMTP. Its faults are tried in the suite of the shop."""

import asyncio
from email import message_from_bytes, policy

import pytest
from aiosmtpd.smtp import SMTP

from core.api.testing import FakeReceiver, NotifierContract


class MailServer(FakeReceiver):
    """Takes any mail but those to one address; the mails lie in ``mails``."""

    nobody = "nobody@example.com"
    faults = ()

    def __init__(self):
        super().__init__()
        self.mails = []
        self.server = None

    async def up(self, port=0):
        loop = asyncio.get_running_loop()
        self.server = await loop.create_server(lambda: SMTP(self, loop=loop), "127.0.0.1", port or self._port)
        self._port = self.server.sockets[0].getsockname()[1]

    async def down(self):
        if self.server is not None:
            self.server.close()
            await self.server.wait_closed()
            self.server = None

    async def handle_RCPT(self, server, session, envelope, address, options):
        if address == self.nobody:
            return "550 5.1.1 nobody of this name"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        self.mails.append(message_from_bytes(envelope.content, policy=policy.default))
        return "250 OK"

    def settings(self):
        return {"host": "127.0.0.1", "port": self._port, "security": "none", "from_address": "shop@example.com"}

    def received(self, id):
        mine = [mail for mail in self.mails if mail["Message-ID"] == f"<vouchsafe.{id}@example.com>"]
        return [mail.get_body(("plain",)).get_content() for mail in mine]


class TestContract(NotifierContract):
    plugin = "notifiers.smtp"

    @pytest.fixture
    async def other_side(self):
        async with MailServer() as server:
            yield server
