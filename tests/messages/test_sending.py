"""From the business transaction to a real mail server, through the outbox and a job."""

import json

import pytest

from core import db
from core.hooks import runtime
from core.hooks.runtime import Runtime
from core.jobs import NewJob
from core.messages import service
from core.messages.notifier import OutgoingMessage

from .conftest import PASSWORD, SHOP, Desk, MailServer, Running, started, until_free


async def settled(order, delivered=True):
    return await db.transaction(_settled, order, delivered)


async def _settled(tx, order, delivered):
    return await service.order_settled(tx, order, delivered=delivered)


def parts(mail):
    return mail.get_body(("plain",)).get_content(), mail.get_body(("html",)).get_content()


async def test_a_delivered_order_is_mailed_once_with_its_link(desk: Desk, server: Running, mail: MailServer):
    await desk.use_smtp(server.port)
    order = await desk.order("CODE-AAAA-1111")
    assert len(await settled(order)) == 1
    assert await settled(order) == []
    await desk.work()

    [sent] = mail.mails
    assert mail.recipients == ["buyer@example.net"]
    assert sent["To"] == "buyer@example.net"
    assert sent["From"] == "Vouchsafe <shop@example.com>"
    assert sent["Subject"] == f"Your order {order['ref']} is ready"
    assert sent["Message-ID"].startswith("<vouchsafe.") and sent["Message-ID"].endswith("@example.com>")
    assert sent["Content-Language"] == "en"
    link = f"{SHOP}/o/{order['ref']}?k={order['token']}"
    text, html = parts(sent)
    assert f"Open your order: {link}" in text
    assert f'href="{link}"' in html
    assert "Music · One month × 1" in text and "Redeem it in the app." in text
    assert "Redeem it <strong>in the app</strong>." in html
    assert "CODE-AAAA-1111" not in text + html

    message = await desk.message()
    assert (message["state"], message["tries"], message["error"]) == ("sent", 1, "")
    assert message["receipt"] == "2.0.0 Ok: queued as 1"
    assert message["subject"] == sent["Subject"]
    events = await db.fetch("SELECT kind, data FROM orders_event WHERE order_id = $1", order["id"])
    sent_to = {"event": "order_delivered", "to": "buyer@example.net"}
    assert [tuple(event) for event in events] == [("mail_sent", sent_to)]


async def test_chinese_buyers_get_chinese(desk: Desk, server: Running, mail: MailServer):
    await desk.use_smtp(server.port, from_name="小店")
    order = await desk.order(locale="zh-CN")
    await settled(order)
    await desk.work()
    [sent] = mail.mails
    assert sent["Subject"] == f"您的订单 {order['ref']} 已发货"
    assert sent["From"] == "小店 <shop@example.com>"
    assert "音乐会员 · 一个月 × 1" in parts(sent)[0]


async def test_codes_are_mailed_only_if_the_merchant_wants_it_and_stored_nowhere(desk, server, mail):
    code = "CANARY_*7781*_[x](y) <b>"
    await desk.shop(mail_codes=True)
    await desk.use_smtp(server.port)
    order = await desk.order(code)
    await settled(order)
    await desk.work()
    text, html = parts(mail.mails[0])
    assert f"    {code}" in text.splitlines()
    assert "CANARY_*7781*_[x](y) &lt;b&gt;" in html
    assert "CANARY" not in mail.mails[0]["Subject"]
    stored = [dict(row) for table in ("messages_message", "jobs_job", "orders_event") for row in await _all(table)]
    assert "CANARY" not in json.dumps(stored, default=str)
    assert order["token"] not in json.dumps(stored, default=str)
    kinds = await db.fetch("SELECT kind FROM orders_event WHERE order_id = $1 ORDER BY id", order["id"])
    assert [row["kind"] for row in kinds] == ["codes_mailed", "mail_sent"]


async def _all(table):
    return await db.fetch(f"SELECT * FROM {table}")


async def test_an_order_that_waits_says_why(desk: Desk, server: Running, mail: MailServer):
    await desk.use_smtp(server.port)
    review = await desk.order("CODE-R", payment_state="unpaid")
    late = await desk.order("CODE-L", payment_state="expired")
    await settled(review, delivered=False)
    await settled(late, delivered=False)
    await desk.work()
    assert [sent["Subject"] for sent in mail.mails] == [
        f"We have your payment for order {review['ref']}",
        f"Your payment for order {late['ref']} came late",
    ]


async def test_a_phone_number_gets_no_mail(desk: Desk, server: Running, mail: MailServer):
    await desk.use_smtp(server.port)
    order = await desk.order(contact="+8613800000000", contact_kind="phone")
    assert await settled(order) == []
    assert await desk.message() is None
    with pytest.raises(service.Refused):
        await db.transaction(service.resend, order)


async def test_a_rolled_back_sale_writes_no_message(desk: Desk, server: Running):
    await desk.use_smtp(server.port)
    order = await desk.order()

    async def breaks(tx):
        await service.order_settled(tx, order, delivered=True)
        raise RuntimeError

    with pytest.raises(RuntimeError):
        await db.transaction(breaks)
    assert await desk.message() is None
    assert await desk.job() is None


async def test_without_a_notifier_messages_are_held_until_staff_sends_them(desk, server, mail):
    order = await desk.order()
    assert await settled(order) == []
    assert ((await desk.message())["state"], await desk.job()) == ("held", None)

    await desk.use_smtp(server.port)
    await desk.work()
    assert mail.mails == []

    await db.transaction(service.send_all, 1, ("held",))
    await desk.work()
    assert len(mail.mails) == 1
    assert (await desk.message())["state"] == "sent"


async def test_a_notifier_switched_off_before_the_job_holds_the_message(desk, server, mail):
    await desk.use_smtp(server.port)
    await settled(await desk.order())
    await desk.without_smtp()
    await desk.work()
    assert ((await desk.message())["state"], (await desk.job())["state"]) == ("held", "done")
    assert mail.mails == []


async def test_refused_for_good(desk: Desk, server: Running, mail: MailServer):
    await desk.use_smtp(server.port)
    mail.at_rcpt = ["550 5.1.1 no such user"]
    order = await desk.order()
    await settled(order)
    await desk.work()
    message, job = await desk.message(), await desk.job()
    assert (message["state"], message["tries"]) == ("failed", 1)
    assert message["error"] == "The mail server says: 550 5.1.1 no such user"
    assert (job["state"], job["error"]) == ("failed", message["error"])
    event = await db.fetchrow("SELECT kind, data ->> 'reason' FROM orders_event WHERE order_id = $1", order["id"])
    assert tuple(event) == ("mail_failed", message["error"])

    await db.transaction(service.send_again, 1, message["id"])
    await desk.work()
    assert (await desk.message())["state"] == "sent"
    assert len(mail.mails) == 1


async def test_come_back_later_then_taken(desk: Desk, server: Running, mail: MailServer):
    await desk.use_smtp(server.port)
    mail.at_data = ["451 4.7.1 greylisted"]
    await settled(await desk.order())
    await desk.work()
    message, job = await desk.message(), await desk.job()
    assert (message["state"], message["error"]) == ("queued", "The mail server says: 451 4.7.1 greylisted")
    assert job["state"] == "queued"
    wait = await db.fetchval("SELECT extract(epoch FROM run_at - now()) FROM jobs_job WHERE id = $1", job["id"])
    assert 290 < wait <= 300

    await db.transaction(service.send_again, 1, message["id"])
    await desk.work()
    assert ((await desk.message())["state"], len(mail.mails)) == ("sent", 1)


async def test_server_down_then_up(desk: Desk, mail: MailServer):
    running = started(mail)
    port = running.port
    running.stop()
    await until_free(port)
    await desk.use_smtp(port)
    await settled(await desk.order())
    await desk.work()
    message = await desk.message()
    assert (message["state"], message["tries"]) == ("queued", 1)
    assert message["error"].startswith("The mail server says: ")

    again = started(mail)
    await desk.use_smtp(again.port)
    await db.transaction(service.send_again, 1, message["id"])
    await desk.work()
    again.stop()
    assert ((await desk.message())["state"], len(mail.mails)) == ("sent", 1)


async def test_a_wrong_password_waits_for_better_settings(desk: Desk, server: Running, mail: MailServer):
    await desk.use_smtp(server.port, password="wrong-one")
    await settled(await desk.order())
    await desk.work()
    message = await desk.message()
    assert message["state"] == "queued"
    assert message["error"].startswith("The mail server does not accept the user name or password: 535")
    assert "wrong-one" not in message["error"] + (await desk.job())["error"]

    await desk.use_smtp(server.port, password=PASSWORD)
    await db.transaction(service.send_again, 1, message["id"])
    await desk.work()
    assert len(mail.mails) == 1


async def test_a_lost_answer_repeats_the_same_message_id(desk: Desk, server: Running, mail: MailServer):
    await desk.use_smtp(server.port)
    mail.cut_after_data = True
    await settled(await desk.order())
    await desk.work()
    assert (await desk.message())["state"] == "queued"
    await db.execute("UPDATE jobs_job SET run_at = now()")
    await desk.work()
    assert (await desk.message())["state"] == "sent"
    first, second = mail.mails
    assert first["Message-ID"] == second["Message-ID"]


async def test_words_no_database_keeps_send_no_mail_twice(desk: Desk, server: Running, mail: MailServer):
    await desk.use_smtp(server.port)
    mail.taken = b"250 ok \xd2\xd1\x00"  # as a server says it that speaks GBK
    await settled(await desk.order())
    await desk.work()
    await db.execute("UPDATE jobs_job SET run_at = now()")
    await desk.work()
    message = await desk.message()
    assert ((message["state"], message["tries"]), len(mail.mails)) == (("sent", 1), 1)
    assert message["receipt"] == "ok ??"


@pytest.mark.parametrize("code, state", [(b"550 ", "failed"), (b"450 ", "queued")])
async def test_words_no_database_keeps_are_told_as_far_as_they_can_be(desk, server, mail, code, state):
    await desk.use_smtp(server.port)
    mail.at_rcpt = [code + b"no \xce\xde\x00!"]
    await settled(await desk.order())
    await desk.work()
    message, job = await desk.message(), await desk.job()
    assert (message["state"], job["state"]) == (state, state)
    assert message["error"] == job["error"] == f"The mail server says: {code.decode()}no ??!"


async def test_staff_sends_again_under_a_new_message_id(desk: Desk, server: Running, mail: MailServer):
    await desk.use_smtp(server.port)
    order = await desk.order()
    await settled(order)
    await desk.work()
    await db.transaction(service.resend, order)
    await desk.work()
    first, second = mail.mails
    assert first["Message-ID"] != second["Message-ID"]
    assert await db.fetchval("SELECT count(*) FROM messages_message") == 1


async def test_after_ten_tries_it_has_failed(desk: Desk, mail: MailServer):
    running = started(mail)
    running.stop()
    await until_free(running.port)
    await desk.use_smtp(running.port)
    await settled(await desk.order())
    for _ in range(12):
        await db.execute("UPDATE jobs_job SET run_at = now() WHERE state = 'queued'")
        await desk.work()
    message = await desk.message()
    assert (message["state"], message["tries"]) == ("failed", 10)


async def test_a_header_cannot_be_smuggled_in(desk: Desk, server: Running, mail: MailServer):
    facts = {"id": "1", "recipient": "a@b.c", "subject": "s", "text": "", "html": "", "locale": "en", "from_name": "n"}
    for name in ("id", "recipient", "subject", "from_name", "reply_to"):
        for bad in ("x\r\nBcc: thief@example.com", "x\nBcc: thief@example.com", "x\rBcc:", "x\x00"):
            with pytest.raises(ValueError):
                OutgoingMessage(**{**facts, name: bad})

    await desk.use_smtp(server.port)
    for more in ("\r\nBcc: thief@example.com", "\nRCPT TO:<thief@example.com>", ", thief@example.com"):
        await settled(await desk.order(contact=f"a@b.c{more}"))
    await desk.work()
    assert (mail.mails, mail.recipients) == ([], [])
    assert await db.fetchval("SELECT count(*) FROM messages_message WHERE state = 'failed'") == 3


async def test_a_shop_name_cannot_smuggle_a_header_in(desk: Desk, server: Running, mail: MailServer):
    await db.execute("UPDATE shops_shop SET name = $1", "Shop\r\nBcc: thief@example.com")
    await desk.shop()
    await desk.use_smtp(server.port)
    await settled(await desk.order())
    await desk.work()
    await db.execute("UPDATE shops_shop SET name = 'Vouchsafe'")
    [sent] = mail.mails
    assert (mail.recipients, sent["Bcc"]) == (["buyer@example.net"], None)
    assert sent["From"].addresses[0].display_name == "Shop Bcc: thief@example.com"


async def test_links_by_mail_go_to_the_owner_of_the_address_only(desk: Desk, server: Running, mail: MailServer):
    await desk.use_smtp(server.port)
    mine, other = await desk.order("CODE-1"), await desk.order("CODE-2", contact="other@example.net")
    ask = {"shop_id": 1, "contact": "buyer@example.net", "ref": "", "locale": "zh-CN"}
    for _ in range(3):
        await db.transaction(_enqueue, ask)
    await db.transaction(_enqueue, {**ask, "contact": "nobody@example.net"})
    await desk.work()
    [sent] = mail.mails
    text, _html = parts(sent)
    assert sent["To"] == "buyer@example.net"
    assert f"{SHOP}/o/{mine['ref']}?k={mine['token']}" in text
    assert other["ref"] not in text
    assert await db.fetchval("SELECT count(*) FROM messages_message") == 1


async def _enqueue(tx, args):
    from core.jobs import enqueue_many

    return await enqueue_many(tx, [NewJob("orders.mail_links", args)])


BROKEN = """
from core.api import Notifier, Plugin, hookimpl


class Mute:
    key = "a_mute"
    title = {"en": "Mute"}


class Broken(Notifier):
    key = "broken"
    channel = "mail"
    title = {"en": "Broken"}

    async def send(self, message):
        raise RuntimeError(" ".join(message.text.split()))


class BrokenPlugin(Plugin):
    @hookimpl
    def register_notifiers(self, ctx):
        return [Mute(), Broken()]


plugin = BrokenPlugin()
"""

MANIFEST = """
id = "notifiers.broken"
kind = "notifiers"
version = "1.0.0"
api = 1
core = ">=0.1,<1"
default_enabled = true
[title]
en = "Broken"
[summary]
en = "Raises what no notifier should raise."
"""


@pytest.mark.parametrize("given", ["None", "Receipt(12345)", "'250 OK'"])
async def test_what_a_notifier_has_sent_is_not_sent_again_whatever_it_gives(desk: Desk, tmp_path, monkeypatch, given):
    place = tmp_path / "gives" / "notifiers" / "broken"
    place.mkdir(parents=True)
    (place / "plugin.toml").write_text(MANIFEST)
    code = BROKEN.replace('raise RuntimeError(" ".join(message.text.split()))', f"return {given}")
    (place / "__init__.py").write_text("from core.api import Receipt\n" + code)
    monkeypatch.syspath_prepend(tmp_path)
    runtime.use(Runtime(folder=tmp_path / "gives", package="gives", base_url=SHOP, environ={}))
    await runtime.current().start()
    await settled(await desk.order())
    await desk.work()
    await runtime.current().close()
    assert ((await desk.message())["state"], (await desk.job())["state"]) == ("sent", "done")


async def test_a_notifier_that_breaks_stops_no_sale_and_its_words_are_not_kept(
    desk: Desk, tmp_path, monkeypatch, caplog
):
    place = tmp_path / "posts" / "notifiers" / "broken"
    place.mkdir(parents=True)
    (place / "plugin.toml").write_text(MANIFEST)
    (place / "__init__.py").write_text(BROKEN)
    monkeypatch.syspath_prepend(tmp_path)
    broken = Runtime(folder=tmp_path / "posts", package="posts", base_url=SHOP, environ={})
    runtime.use(broken)
    await broken.start()
    await desk.shop(mail_codes=True)
    order = await desk.order("CANARY-BROKEN-1")
    assert len(await settled(order)) == 1
    await desk.work()
    await broken.close()
    message, job = await desk.message(), await desk.job()
    assert (message["state"], message["error"]) == ("queued", "broken: RuntimeError")
    assert (job["state"], job["error"]) == ("queued", "broken: RuntimeError")
    assert "the notifier broken broke: RuntimeError" in caplog.text
    assert "CANARY" not in caplog.text
