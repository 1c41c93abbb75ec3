"""The outbox and the texts, as staff sees them."""

import pytest

from core import db
from core.hooks import runtime, store
from core.messages import service, texts
from tests import console
from tests.console import words
from tests.messages.test_sending import BROKEN, MANIFEST


@pytest.fixture(scope="module")
async def address(database, redis_url, tmp_path_factory):
    async with console.running(database, redis_url, tmp_path_factory.mktemp("home")) as address:
        yield address


@pytest.fixture(scope="module")
async def pool(address):
    """The shop has opened it."""


@pytest.fixture
async def staff(address, desk):
    async with console.signed_in(address) as staff:
        yield staff


async def settled(desk, code="", **changes):
    order = await desk.order(code, **changes)

    async def work(tx):
        await service.order_settled(tx, order, delivered=True)

    await db.transaction(work)
    return order, await desk.message()


async def test_the_outbox_without_a_notifier_says_what_to_do(staff, desk):
    _order, message = await settled(desk)
    page = await staff.get("/admin/messages")
    assert "Mails stay in this outbox" in words(page)
    assert "buyer@example.net Order delivered" in words(page)
    said = words(await staff.post(f"/admin/messages/{message['id']}/send", status=409))
    assert "Nobody can send mails yet" in said
    assert (await desk.message())["state"] == "held"


async def test_where_the_notifier_is_off_in_this_shop_nobody_is_told_that_a_mail_is_on_its_way(staff, desk, server):
    await desk.use_smtp(server.port)
    _order, message = await settled(desk)
    await db.transaction(store.switch_off_in, "notifiers.smtp", [1])
    await desk.runtime.refresh()
    await desk.work()
    assert (await desk.message())["state"] == "held"
    page = words(await staff.get("/admin/messages"))
    assert "Mails stay in this outbox" in page
    assert "Send all that are held" not in page
    assert "It waits here until" in words(await staff.get(f"/admin/messages/{message['id']}"))
    assert "Nobody can send mails yet" in words(await staff.post(f"/admin/messages/{message['id']}/send", status=409))
    await staff.post("/admin/messages/send-all", status=409, state="held")
    await db.transaction(store.switch_off_in, "notifiers.smtp", [])


async def test_held_mails_go_out_together(staff, desk, server, mail):
    await settled(desk)
    await settled(desk)
    await desk.use_smtp(server.port)
    assert "Send 2 messages now?" in words(await staff.get("/admin/messages"))
    said = words(await staff.post("/admin/messages/send-all", state="held"))
    assert "2 messages are on their way." in said
    await desk.work()
    assert len(mail.mails) == 2
    assert "Send all that are held" not in words(await staff.get("/admin/messages"))


async def test_filters(staff, desk):
    order, message = await settled(desk, contact="one@example.net")
    _other, second = await settled(desk, contact="two@example.net")
    link, other = f'"/admin/messages/{message["id"]}"', f'"/admin/messages/{second["id"]}"'
    for given in ("q=one@example.net", f"q={order['ref'].lower()}"):
        page = await staff.get(f"/admin/messages?{given}")
        assert link in page and other not in page
    assert link in await staff.get("/admin/messages?state=held&event=order_delivered")
    assert "Nothing fits these filters" in words(await staff.get("/admin/messages?state=sent"))
    assert "Nothing fits these filters" in words(await staff.get("/admin/messages?event=payment_late"))


async def test_a_message_is_shown_without_its_secrets(staff, desk):
    await desk.shop(mail_codes=True)
    order, message = await settled(desk, "CANARY-1234-5678-ABCD")
    page = await staff.get(f"/admin/messages/{message['id']}")
    assert "CANARY-1234-5678-ABCD" not in page
    assert order["token"] not in page
    assert f"/o/{order['ref']}?k=" in page
    mask = await db.fetchval("SELECT mask FROM vault_code ORDER BY created_at DESC LIMIT 1")
    assert mask in words(page)
    assert f"Your order {order['ref']} is ready" in words(page)
    assert await db.fetchval("SELECT count(*) FROM orders_event WHERE order_id = $1", order["id"]) == 0


async def test_a_failed_message_shows_why_and_can_be_sent_again(staff, desk, server, mail):
    await desk.use_smtp(server.port)
    mail.at_rcpt = ["550 5.1.1 no such user"]
    _order, message = await settled(desk)
    await desk.work()
    page = words(await staff.get(f"/admin/messages/{message['id']}"))
    assert "The mail server says: 550 5.1.1 no such user" in page
    await staff.post(f"/admin/messages/{message['id']}/send")
    await desk.work()
    assert "2.0.0 Ok: queued as 1" in words(await staff.get(f"/admin/messages/{message['id']}"))
    assert len(mail.mails) == 1


PLACE = "/admin/messages/texts/order_delivered/en"
OWN_BODY = """# Mine

{% for line in lines %}
- {{ line.product }}
{% endfor %}

[Go]({{ link }})
"""
OWN = {"act": "save", "subject": "Hello {{ order.ref }}", "body": OWN_BODY}


async def test_a_text_of_ones_own_is_used_and_can_be_taken_back(staff, desk, server, mail):
    await desk.use_smtp(server.port)
    assert "Saved." in words(await staff.post(PLACE, **OWN))
    assert "yours" in words(await staff.get("/admin/messages/texts"))
    order, _message = await settled(desk)
    await desk.work()
    assert mail.mails[0]["Subject"] == f"Hello {order['ref']}"
    assert "- Music" in mail.mails[0].get_body(("plain",)).get_content()

    assert "The default text is back." in words(await staff.post(f"{PLACE}/reset"))
    assert await db.fetchval("SELECT count(*) FROM messages_template") == 0
    acts = await db.fetch("SELECT act FROM audit_entry WHERE act LIKE 'messages.%' ORDER BY id")
    assert [row["act"] for row in acts] == ["messages.text_saved", "messages.text_reset"]


async def test_preview_with_a_sample_and_with_a_real_order(staff, desk):
    await desk.shop(mail_codes=True)
    order, _message = await settled(desk, "CANARY-9999-8888-7777")
    default = texts.default("order_delivered", "en")
    page = await staff.get(PLACE)
    assert "VSAMPLE00000" in page and "SAMPLE-CODE-0001" in page
    form = {"act": "preview", "subject": default.subject, "body": default.body}
    page = await staff.post(PLACE, status=200, **form, order=order["ref"].lower())
    assert f"Your order {order['ref']} is ready" in words(page)
    assert "CANARY-9999-8888-7777" not in page and order["token"] not in page
    page = await staff.post(PLACE, status=422, **form, order="VNOTHING")
    assert "There is no such order in this shop." in words(page)
    assert await db.fetchval("SELECT count(*) FROM messages_template") == 0


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ("{{ nope }}", "Line 1: There is nothing called"),
        ("{% for line in lines %}", "unexpected end of input"),
        ("{% set a = 1 %}", "Only if and for can be used"),
        ("{{ 'a' * 1000000 }}", "The sign * cannot be used"),
        ("{{ 'a'|replace('a', 'b') }}", "There is no filter called replace"),
        ("{% include 'x' %}", "Only if and for can be used"),
        ("{{ link.__class__ }}", "Line 1: There is nothing called"),
    ],
)
async def test_a_mistake_is_told_and_nothing_saved(staff, desk, body, why):
    page = words(await staff.post(PLACE, status=422, act="save", subject="s", body=body))
    assert why in page
    assert body in page
    assert await db.fetchval("SELECT count(*) FROM messages_template") == 0


async def test_too_much_is_told(staff, desk):
    for form in (
        {"subject": "s" * 201, "body": "b"},
        {"subject": "s", "body": "b" * 10_001},
        {"subject": "", "body": "b"},
    ):
        await staff.post(PLACE, status=422, act="save", **form)
    assert await db.fetchval("SELECT count(*) FROM messages_template") == 0


async def test_markup_stays_text(staff, desk):
    body = "<script>alert(1)</script> [x](javascript:alert(1)) <b onclick=x>{{ shop.name }}</b>"
    page = await staff.post(PLACE, status=200, act="preview", subject="<i>s</i>", body=body)
    assert "<script>alert" not in page and 'href="javascript' not in page and "<b onclick" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page


async def test_a_test_mail(staff, desk, server, mail):
    form = {**OWN, "act": "test"}
    assert "No plugin that sends mails" in words(await staff.post(PLACE, status=422, **form, to="me@example.com"))
    await desk.use_smtp(server.port)
    assert "Write the address the test goes to." in words(await staff.post(PLACE, status=422, **form, to=""))
    said = words(await staff.post(PLACE, status=200, **form, to="me@example.com"))
    assert "A test mail was sent to me@example.com." in said
    assert mail.recipients == ["me@example.com"]
    assert mail.mails[0]["Subject"] == "Hello VSAMPLE00000"
    mail.at_rcpt = ["550 no"]
    assert "550 no" in words(await staff.post(PLACE, status=422, **form, to="me@example.com"))
    for bad in ("me@example.com\r\nBcc: x@example.com", "me@example.com, x@example.com"):
        await staff.post(PLACE, status=422, **form, to=bad)
    assert mail.recipients == ["me@example.com"]


async def test_a_test_with_a_notifier_that_breaks_says_so(staff, desk, tmp_path, monkeypatch):
    place = tmp_path / "breaks" / "notifiers" / "broken"
    place.mkdir(parents=True)
    (place / "plugin.toml").write_text(MANIFEST)
    (place / "__init__.py").write_text(BROKEN)
    monkeypatch.syspath_prepend(tmp_path)
    usual = runtime.current()
    runtime.use(runtime.Runtime(folder=tmp_path / "breaks", package="breaks", environ={}))
    await runtime.current().start()
    try:
        said = words(await staff.post(PLACE, status=422, **{**OWN, "act": "test"}, to="me@example.com"))
        assert "The test itself broke off (RuntimeError)." in said
    finally:
        await runtime.current().close()
        runtime.use(usual)


async def test_a_test_with_a_real_order_goes_to_oneself_and_without_secrets(staff, desk, server, mail):
    await desk.use_smtp(server.port)
    await desk.shop(mail_codes=True)
    note = {"en": "For {{ contact }}: {{ product }} × {{ quantity }}, [{{ order.ref }}]({{ link }})"}
    order, _message = await settled(desk, "CANARY-2468-1357-0000")
    await db.execute("UPDATE orders_line SET delivery_note = $2 WHERE order_id = $1", order["id"], note)
    default = texts.default("order_delivered", "en")
    form = {"act": "test", "subject": "Hello {{ order.ref }}", "body": default.body, "order": order["ref"].lower()}
    page = words(await staff.post(PLACE, status=422, **form, to="me@example.com"))
    assert "goes to your own address only" in page
    assert "There is no such order" in words(
        await staff.post(PLACE, status=422, **{**form, "order": "VNOTHING"}, to="owner@example.com")
    )
    assert mail.recipients == []
    said = words(await staff.post(PLACE, status=200, **form, to="Owner@example.com"))
    assert "A test mail was sent to Owner@example.com." in said
    (sent,) = mail.mails
    text = sent.get_body(("plain",)).get_content()
    assert sent["Subject"] == f"Hello {order['ref']}" and f"For bu•••@example.net: Music × 1, {order['ref']}" in text
    for part in (text, sent.get_body(("html",)).get_content()):
        assert "CANARY-2468" not in part and order["token"] not in part and order["contact"] not in part


async def test_a_note_in_the_mail_opens_the_order_and_a_broken_one_stands_as_typed(desk, server, mail):
    await desk.use_smtp(server.port)
    for number, note in enumerate(("[Open]({{ link }}) for {{ contact }}", "Type {{ your name }} and {% go"), 1):
        order, _message = await settled(desk)
        await db.execute("UPDATE orders_line SET delivery_note = $2 WHERE order_id = $1", order["id"], {"en": note})
        await desk.work()
        text = mail.mails[number - 1].get_body(("plain",)).get_content()
        wanted = f"/o/{order['ref']}?k={order['token']} for bu•••@example.net" if number == 1 else note
        assert wanted in text, text


async def test_a_text_that_breaks_later_does_not_keep_the_buyer_from_the_mail(desk, server, mail, staff):
    await desk.use_smtp(server.port)
    await staff.post(PLACE, **{**OWN, "body": "{{ codes[1].text }}", "act": "preview"}, status=422)
    await desk.shop(mail_codes=True)
    await staff.post(PLACE, **{**OWN, "body": "{{ codes[1].text }}"})
    order, _message = await settled(desk)
    await desk.work()
    assert mail.mails[0]["Subject"] == f"Your order {order['ref']} is ready"


async def test_chinese_pages(address, desk):
    async with console.signed_in(address, language="zh-CN") as staff:
        page = words(await staff.get("/admin/messages/texts/order_delivered/zh_CN"))
        assert "您的订单 VSAMPLE00000 已发货" in page


async def test_who_may_what(address, desk, server):
    await desk.use_smtp(server.port)
    _order, message = await settled(desk)
    async with console.signed_in(address, "readonly") as reader:
        await reader.get("/admin/messages")
        await reader.get(f"/admin/messages/{message['id']}")
        await reader.post(f"/admin/messages/{message['id']}/send", status=403)
        await reader.post("/admin/messages/send-all", status=403, state="held")
        await reader.post(PLACE, status=403, **OWN)
        await reader.post(f"{PLACE}/reset", status=403)
    async with console.signed_in(address, "stock") as other:
        await other.get("/admin/messages", status=403)
    assert await db.fetchval("SELECT count(*) FROM messages_template") == 0


async def test_what_is_not_there(staff):
    await staff.get("/admin/messages/999999", status=404)
    await staff.get("/admin/messages/texts/nothing/en", status=404)
    await staff.get("/admin/messages/texts/order_delivered/fr", status=404)
    await staff.post("/admin/messages/999999/send", status=404)
