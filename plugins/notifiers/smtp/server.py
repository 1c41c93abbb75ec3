"""One conversation with a mail server, and what its answers mean."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from email.message import EmailMessage

import aiosmtplib
from aiosmtplib import SMTPResponseException

from .settings import Settings

GREYLISTING_SECONDS = 300.0


class NotNow(Exception):
    """The server cannot be reached, or asks to come back later."""


class WrongSettings(Exception):
    """No mail can be sent with these settings; the text says why."""


class BadCredentials(WrongSettings):
    """The server does not accept the user name or password."""


class Never(Exception):
    """The server refuses this mail for good."""


@contextlib.asynccontextmanager
async def conversation(settings: Settings) -> AsyncIterator[aiosmtplib.SMTP]:
    """Connected and signed in."""
    smtp = aiosmtplib.SMTP(
        hostname=settings.host,
        port=settings.port,
        use_tls=settings.security == "tls",
        start_tls=settings.security == "starttls",
        timeout=settings.seconds,
        # otherwise the machine's own name is looked up, which blocks
        local_hostname=settings.domain,
    )
    try:
        await _sign_in(smtp, settings)
        yield smtp
        with contextlib.suppress(aiosmtplib.SMTPException, OSError):
            await smtp.quit()
    finally:
        smtp.close()


async def _sign_in(smtp: aiosmtplib.SMTP, settings: Settings) -> None:
    try:
        await smtp.connect()
        if settings.username:
            await smtp.login(settings.username, settings.password.reveal() if settings.password else "")
    except aiosmtplib.SMTPAuthenticationError as error:
        raise (NotNow if error.code < 500 else BadCredentials)(said(error)) from None
    except aiosmtplib.SMTPNotSupported as error:
        raise WrongSettings(str(error)) from None
    except (aiosmtplib.SMTPException, OSError) as error:
        raise _cannot_connect(error) from None


def _cannot_connect(error: Exception) -> Exception:
    if isinstance(error, SMTPResponseException):
        return (NotNow if error.code < 500 else WrongSettings)(said(error))
    if type(error) is aiosmtplib.SMTPException:
        return WrongSettings(_one_line(str(error)))
    reason = error.__cause__ or error
    if isinstance(reason, ssl.SSLCertVerificationError):
        return WrongSettings(f"TLS: {reason.verify_message}")
    if isinstance(reason, ssl.SSLError):
        return WrongSettings(f"TLS: {reason.reason or 'no common ground'}")
    if isinstance(reason, asyncio.TimeoutError):
        return NotNow("no answer in time")
    return NotNow(_one_line(str(reason)) or type(reason).__name__)


async def hand_over(smtp: aiosmtplib.SMTP, mail: EmailMessage) -> str:
    """Gives what the server said when it took the mail."""
    try:
        _, answer = await smtp.send_message(mail)
    except aiosmtplib.SMTPRecipientsRefused as error:
        raise _by_code(error.recipients[0]) from None
    except SMTPResponseException as error:
        raise _by_code(error) from None
    except aiosmtplib.SMTPNotSupported as error:
        raise Never(_one_line(str(error))) from None
    except (aiosmtplib.SMTPException, OSError) as error:
        raise NotNow(_one_line(str(error)) or "no answer in time") from None
    return _one_line(answer)


def _by_code(error: SMTPResponseException) -> Exception:
    return (NotNow if error.code < 500 else Never)(said(error))


def said(error: SMTPResponseException) -> str:
    return f"{error.code} {_one_line(error.message)}"


def _one_line(text: str) -> str:
    return " ".join(text.split())[:300]
