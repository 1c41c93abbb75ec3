"""The SMTP plugin against real servers: the Test button, encryption, settings."""

import pytest

from core.hooks.answers import Check
from core.hooks.settings import SettingsWrong, built, fields_of

from .conftest import PASSWORD, MailServer, Running, smtp_settings, started, until_free


@pytest.fixture
async def check(desk):
    """Press the Test button with these settings."""
    await desk.runtime.start()
    plugin = desk.runtime.plugin("notifiers.smtp")

    async def press(port, **changes):
        from plugins.notifiers.smtp import plugin as smtp

        settings = built(smtp.Settings, {**smtp_settings(port), "password": PASSWORD, **changes})
        return await smtp.check(settings, desk.runtime.context_to_try("notifiers.smtp", settings))

    assert plugin.manifest
    return press


async def test_right_settings(check, server: Running, mail: MailServer):
    result = await check(server.port)
    assert (result.answer, str(result.note)) == (Check.OK, "The mail server is ready to send for shop@example.com.")
    assert mail.mails == []


async def test_wrong_password(check, server: Running):
    result = await check(server.port, password="wrong-one")
    assert result.answer is Check.CREDENTIALS_WRONG
    assert "535" in str(result.note) and "wrong-one" not in str(result.note)


async def test_nobody_there(check, mail: MailServer):
    running = started(mail)
    running.stop()
    await until_free(running.port)
    assert (await check(running.port)).answer is Check.TRY_LATER


async def test_a_name_that_does_not_exist(check):
    result = await check(25, host="mail.invalid", username="")
    assert result.answer is Check.TRY_LATER


async def test_sender_refused(check, server: Running, mail: MailServer):
    mail.at_mail = ["553 5.7.1 not your address", "451 later"]
    result = await check(server.port)
    assert result.answer is Check.WILL_NOT_WORK
    assert "553 5.7.1 not your address" in str(result.note)
    assert (await check(server.port)).answer is Check.TRY_LATER


async def test_starttls_that_is_not_offered(check, server: Running):
    assert (await check(server.port, security="starttls")).answer is Check.WILL_NOT_WORK


async def test_a_certificate_nobody_vouches_for(check, mail: MailServer, certificate):
    _path, context = certificate
    running = started(mail, tls_context=context)
    try:
        result = await check(running.port, security="starttls", host="localhost")
        assert result.answer is Check.WILL_NOT_WORK
        assert "self-signed certificate" in str(result.note)
    finally:
        running.stop()


async def test_starttls_with_a_good_certificate(check, mail: MailServer, certificate, monkeypatch):
    path, context = certificate
    monkeypatch.setenv("SSL_CERT_FILE", str(path))
    running = started(mail, tls_context=context, require_starttls=True)
    try:
        assert (await check(running.port, security="starttls", host="localhost")).answer is Check.OK
    finally:
        running.stop()


async def test_tls_from_the_start(check, mail: MailServer, certificate, monkeypatch):
    path, context = certificate
    monkeypatch.setenv("SSL_CERT_FILE", str(path))
    running = started(mail, ssl_context=context)
    try:
        assert (await check(running.port, security="tls", host="localhost")).answer is Check.OK
        assert (await check(running.port, security="starttls", host="localhost", seconds=2)).answer is Check.TRY_LATER
    finally:
        running.stop()


@pytest.mark.parametrize(
    "change",
    [
        {"from_address": "a@b.c\r\nBcc: x@y.z"},
        {"from_address": "nobody"},
        {"from_name": "Shop\nBcc: x@y.z"},
        {"host": "mail.example.com/x"},
        {"host": "mail.example.com", "security": "none"},
        {"port": 0},
        {"colour": "red"},
    ],
)
def test_settings_that_cannot_be(change):
    from plugins.notifiers.smtp import Settings

    with pytest.raises(SettingsWrong):
        built(Settings, {**smtp_settings(25), **change})


def test_the_password_is_a_secret_field():
    from plugins.notifiers.smtp import Settings

    kinds = {field.name: field.kind for field in fields_of(Settings)}
    assert kinds["password"] == "secret"
    assert "right-password" not in repr(built(Settings, {**smtp_settings(25), "password": PASSWORD}))
