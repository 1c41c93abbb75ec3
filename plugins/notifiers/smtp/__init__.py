"""Mails through any server that speaks SMTP."""

import asyncio
from datetime import datetime
from email.errors import MessageError
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime

import aiosmtplib

from core.api import (
    CheckResult,
    Notifier,
    NotifierRefused,
    NotifierUnavailable,
    OutgoingMessage,
    Plugin,
    PluginContext,
    Receipt,
    _,
    hookimpl,
)

from .server import GREYLISTING_SECONDS, BadCredentials, Never, NotNow, WrongSettings, conversation, hand_over, said
from .settings import Settings

FIX_SECONDS = 600.0


class Smtp(Notifier):
    key = "smtp"
    channel = "mail"
    title = {"en": "E-mail", "zh-CN": "邮件"}  # noqa: RUF012 - as the contract declares it

    def __init__(self, ctx: PluginContext[Settings]) -> None:
        self._settings = ctx.settings
        self.sender = ctx.settings.from_address
        self._clock = ctx.clock

    async def send(self, message: OutgoingMessage) -> Receipt:
        try:
            mail = composed(message, self._settings, self._clock.now())
        except (ValueError, MessageError) as error:
            raise NotifierRefused(str(_("This address cannot get mails: %(why)s", why=error))) from None
        try:
            async with asyncio.timeout(self._settings.seconds), conversation(self._settings) as smtp:
                return Receipt(await hand_over(smtp, mail))
        except NotNow as error:
            raise NotifierUnavailable(
                str(_("The mail server says: %(words)s", words=error)), _pause(str(error))
            ) from None
        except TimeoutError:
            raise NotifierUnavailable(str(_("The mail server did not answer in time."))) from None
        except WrongSettings as error:
            # Nothing is wrong with the mail: it goes out once the settings are mended.
            raise NotifierUnavailable(_wrong(error), FIX_SECONDS) from None
        except Never as error:
            raise NotifierRefused(str(_("The mail server says: %(words)s", words=error))) from None


def _wrong(error: WrongSettings) -> str:
    if isinstance(error, BadCredentials):
        return str(_("The mail server does not accept the user name or password: %(words)s", words=error))
    return str(_("These settings do not work: %(words)s", words=error))


def _pause(words: str) -> float | None:
    """A server that answers 4xx often greylists: it lets nobody in for the first five minutes."""
    return GREYLISTING_SECONDS if words[:1] == "4" else None


def composed(message: OutgoingMessage, settings: Settings, now: datetime) -> EmailMessage:
    mail = EmailMessage(policy=SMTP)
    mail["From"] = Address(settings.from_name or message.from_name, addr_spec=settings.from_address)
    mail["To"] = Address(addr_spec=message.recipient)
    mail["Subject"] = message.subject
    if message.reply_to:
        mail["Reply-To"] = Address(addr_spec=message.reply_to)
    mail["Date"] = format_datetime(now)
    mail["Message-ID"] = f"<vouchsafe.{message.id}@{settings.domain}>"
    mail["Auto-Submitted"] = "auto-generated"
    mail.set_content(message.text)
    mail.add_alternative(message.html, subtype="html")
    mail["Content-Language"] = message.locale.replace("_", "-")
    return mail


class SmtpPlugin(Plugin):
    Settings = Settings

    @hookimpl
    def register_notifiers(self, ctx: PluginContext[Settings]) -> list[Smtp]:
        return [Smtp(ctx)]

    async def check(self, settings: Settings, ctx: PluginContext[Settings]) -> CheckResult:
        """Connect, sign in and offer the sender's address; nothing is sent."""
        try:
            async with asyncio.timeout(min(settings.seconds, 14)), conversation(settings) as smtp:
                await smtp.ehlo()
                await smtp.mail(settings.from_address)
        except BadCredentials as error:
            return CheckResult.credentials_wrong(_wrong(error))
        except WrongSettings as error:
            return CheckResult.will_not_work(_wrong(error))
        except aiosmtplib.SMTPSenderRefused as error:
            answer = CheckResult.try_later if error.code < 500 else CheckResult.will_not_work
            return answer(_("The mail server does not take this sender address: %(words)s", words=said(error)))
        except (NotNow, aiosmtplib.SMTPException, OSError) as error:
            return CheckResult.try_later(_("The mail server does not answer: %(why)s", why=error))
        return CheckResult.ok(_("The mail server is ready to send for %(address)s.", address=settings.from_address))


plugin = SmtpPlugin()
