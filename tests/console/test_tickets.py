"""Help for buyers and tickets for staff on a real order: whose they are, what they show, and what is done in them."""

import base64
import itertools
import json
import re

import httpx
import pytest

from core import db
from core.checkout.settle import settle
from core.hooks import store
from core.ids import new_token
from core.people import sessions
from core.vault import masking
from core.web import csrf
from tests import plugged, stocked
from tests.console import audited, everything, newest_audit, signed_in, words
from tests.windows import one_window

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
_numbers = itertools.count(1)
TICKET = re.compile(r"/x/apps\.tickets/t/(\d+)$")


@pytest.fixture(scope="module")
async def on(address):
    gateway = {"gateway": "https://pay.example.com", "pid": "1001"}
    await db.transaction(store.save, "payments.epay", True, gateway, {"key": "a-merchant-key"})
    await db.transaction(store.enable, "payments.epay", True)
    await plugged.all_on()
    return address


class Buyer:
    """A browser with the session an order was placed in."""

    def __init__(self, address: str, token: str) -> None:
        headers = {"accept-language": "en", "origin": address}
        self.http = httpx.AsyncClient(base_url=address, headers=headers, cookies={"vs": token}, timeout=20)
        self.csrf = csrf.token_for(token)

    async def get(self, path: str, status: int = 200) -> str:
        answer = await self.http.get(path)
        assert answer.status_code == status, words(answer.text)
        return answer.text

    async def post(self, path: str, status: int = 303, files=None, **form: str) -> httpx.Response:
        answer = await self.http.post(path, data={**form, "csrf": self.csrf}, files=files)
        assert answer.status_code == status, words(answer.text)
        return answer


@pytest.fixture
async def sold(on):
    """A delivered order with one code, its buyer, and the code."""
    await db.execute("DELETE FROM web_limit")
    token = new_token()
    await db.execute("DELETE FROM apps_tickets_ticket")
    sku = await stocked.sku(0)
    codes = [f"TICK-{number:04d}-AB{number:04d}-9X{number:04d}" for number in itertools.islice(_numbers, 3)]
    await stocked.stock_up(sku.id, codes)
    placed = await stocked.order(sku, who=stocked.buyer(session=token))
    await settle("epay", stocked.paid(placed), "callback")
    buyer = Buyer(on, token)
    shown = await buyer.post(f"/o/{placed.ref}/reveal", 200)
    [code] = [one for one in codes if one in shown.text]
    yield buyer, placed.ref, code
    await buyer.http.aclose()


async def opened(buyer: Buyer, ref: str, text: str, **more: str) -> str:
    answer = await buyer.post(
        f"/x/apps.tickets/help/{ref}",
        files=[("images", ("a.html", PNG, "text/html"))],
        reason="invalid",
        text=text,
        **more,
    )
    found = TICKET.search(answer.headers["location"])
    assert found
    return found[1]


async def test_a_ticket_brings_its_evidence_and_never_the_code(sold):
    buyer, ref, code = sold
    page = words(await buyer.get(f"/o/{ref}"))
    assert "Get help" in page
    assert "The code is not accepted" in words(await buyer.get(f"/x/apps.tickets/help/{ref}"))
    ticket = await opened(buyer, ref, f"{code} does not work. {code.lower()}! Payment 2026112322001412345678")
    mask = await db.fetchval("SELECT code_mask FROM apps_tickets_ticket WHERE id = $1", int(ticket))
    thread = await buyer.get(f"/x/apps.tickets/t/{ticket}")
    assert f"{mask} does not work. {mask}! Payment 2026112322001412345678" in words(thread)
    row = await db.fetchrow("SELECT * FROM apps_tickets_ticket WHERE id = $1", int(ticket))
    evidence = {key: row["evidence"][key] for key in ("payment_state", "fulfilment_state", "shown")}
    assert evidence == {"payment_state": "paid", "fulfilment_state": "delivered", "shown": 1}
    assert await db.fetchval("SELECT state FROM review_item WHERE kind = 'bad_code' ORDER BY id DESC LIMIT 1") == "open"
    said = json.dumps([dict(one) for one in await db.fetch("SELECT * FROM apps_tickets_message")], default=str)
    assert code not in said and code.lower() not in said
    assert await buyer.get("/x/apps.tickets/") != ""
    assert "The shop is looking at it" in words(await buyer.get(f"/o/{ref}"))


async def test_pictures_come_as_pictures_and_to_their_buyer_alone(sold, on):
    buyer, ref, _code = sold
    ticket = await opened(buyer, ref, "look")
    image = await db.fetchval("SELECT max(id) FROM apps_tickets_image")
    path = f"/x/apps.tickets/t/{ticket}/images/{image}"
    answer = await buyer.http.get(path)
    assert (answer.content[8:12], answer.headers["content-type"]) == (b"WEBP", "image/webp")
    assert answer.headers["content-disposition"].startswith("attachment")
    assert answer.headers["x-content-type-options"] == "nosniff"
    stranger = Buyer(on, await db.transaction(sessions.create, "buyer"))
    before = await everything()
    for where in (path, f"/x/apps.tickets/t/{ticket}", f"/x/apps.tickets/help/{ref}"):
        await stranger.get(where, 404)
    for where, form in (
        (f"/x/apps.tickets/t/{ticket}", {"text": "mine"}),
        (f"/x/apps.tickets/t/{ticket}/helped", {"helped": "true"}),
        (f"/x/apps.tickets/help/{ref}", {"reason": "other", "text": "mine"}),
        (f"/x/apps.tickets/help/{ref}/mail", {}),
        (f"/x/apps.tickets/help/{ref}/check", {}),
    ):
        answer = await stranger.http.post(where, data={**form, "csrf": stranger.csrf})
        assert answer.status_code in (403, 404), where
    assert await everything() == before
    await stranger.http.aclose()


async def test_a_form_says_what_is_wrong_with_it_and_keeps_what_was_typed(sold):
    buyer, ref, _code = sold
    before = await db.fetchval("SELECT count(*) FROM apps_tickets_ticket")
    html = [("images", ("a.png", b"<html>", "image/png"))]
    page = words((await buyer.post(f"/x/apps.tickets/help/{ref}", 422, reason="other")).text)
    assert "Please say what is wrong." in page
    answer = await buyer.post(f"/x/apps.tickets/help/{ref}", 422, files=html, reason="invalid", text="typed")
    assert "a.png is no picture" in words(answer.text) and "typed" in answer.text
    assert await db.fetchval("SELECT count(*) FROM apps_tickets_ticket") == before


async def test_support_answers_replaces_and_the_buyer_closes_it(sold, on):
    buyer, ref, code = sold
    ticket = await opened(buyer, ref, "does not work")
    newest = await newest_audit()
    here = f"/admin/x/apps.tickets/{ticket}"
    code_id = await db.fetchval("SELECT code_id FROM apps_tickets_ticket WHERE id = $1", int(ticket))
    async with signed_in(on, "support") as staff:
        assert "The code is not accepted" in words(await staff.get("/admin/x/apps.tickets"))
        page = await staff.get(here)
        assert "Pay online · CN¥19.90" in words(page) and "epay ·" not in words(page)
        seen = re.findall(r'name="seen" value="(\d+)"', page)[0]
        await staff.post("/admin/x/apps.tickets/replies/usual")
        reply = str(await db.fetchval("SELECT id FROM apps_tickets_reply WHERE title = 'New code'"))
        page = await staff.post(f"{here}/reply", 200, act="insert", reply=reply, text="Hello,", seen=seen)
        assert "Hello,\n\nWe are sorry: the code ••••" in page
        await staff.post(f"{here}/codes/{code_id}/replace", note="bad batch")
        await staff.post(f"{here}/reply", act="answer", text=f"Use the new one instead of {code}.", seen=seen)
        await staff.post(f"{here}/reply", 409, act="answer", text="twice", seen=seen)
        await staff.post(f"{here}/reply", act="note", text="a bad batch", seen=seen)
        order = words(await staff.get(f"/admin/orders/{ref}"))
        assert f"Ticket #{ticket} opened" in order and f"Ticket #{ticket} answered" in order
    assert [act for act, _object in await audited(newest)] == [
        "apps.tickets.reply_saved",
        "code.replaced",
        "apps.tickets.answered",
        "apps.tickets.noted",
    ]
    mail = await db.fetchrow("SELECT * FROM messages_message WHERE event = 'order_news' ORDER BY id DESC LIMIT 1")
    assert mail["data"]["path"] == f"/x/apps.tickets/t/{ticket}"
    assert mail["data"]["text"].startswith("Use the new one instead of ••••")
    assert code not in json.dumps(mail["data"])
    assert "New answer" in words(await buyer.get(f"/o/{ref}"))
    thread = words(await buyer.get(f"/x/apps.tickets/t/{ticket}"))
    assert "A new code was given" in thread and "a bad batch" not in thread
    assert "New answer" not in words(await buyer.get(f"/o/{ref}"))
    shown = await buyer.post(f"/o/{ref}/reveal", 200)
    assert code not in shown.text
    await buyer.post(f"/x/apps.tickets/t/{ticket}/helped", helped="true")
    row = await db.fetchrow("SELECT state, helped FROM apps_tickets_ticket WHERE id = $1", int(ticket))
    assert (row["state"], row["helped"]) == ("solved", True)


async def test_who_may_look_may_not_act_and_the_stock_clerk_sees_nothing(sold, on):
    buyer, ref, _code = sold
    ticket = await opened(buyer, ref, "does not work")
    here = f"/admin/x/apps.tickets/{ticket}"
    before = await everything()
    async with signed_in(on, "stock") as clerk:
        await clerk.get("/admin/x/apps.tickets", 403)
        await clerk.get(here, 403)
        await clerk.post("/admin/x/apps.tickets/export", 403)
    async with signed_in(on, "finance") as finance:
        await finance.get(here)
        await finance.post(f"{here}/reply", 403, act="answer", text="no")
        await finance.post(f"{here}/mail", 403)
    after = await everything()
    assert {**after, "people_staff": ""} == {**before, "people_staff": ""}


async def test_the_export_holds_what_the_filters_show(sold, on):
    buyer, ref, _code = sold
    ticket = await opened(buyer, ref, "=cmd()")
    async with signed_in(on, "finance") as finance:
        assert 'action="/admin/x/apps.tickets/export"' in await finance.get("/admin/x/apps.tickets")
        taken = await finance.post("/admin/x/apps.tickets/export", 200, q=ref)
        assert taken.startswith("\ufeffTicket,Reason,") and taken.count("\r\n") == 2 and f"\n{ticket}," in taken
        assert (await finance.post("/admin/x/apps.tickets/export", 200, q=ref, state="solved")).count("\r\n") == 1
    assert await audited(await newest_audit() - 1) == [("apps.tickets.exported", "x:apps.tickets:tickets")]


async def test_asking_for_help_too_often_is_stopped(sold):
    buyer, ref, _code = sold
    with one_window():
        for _time in range(20):
            await buyer.post(f"/x/apps.tickets/help/{ref}", 422, reason="other")
        before = await everything()
        await buyer.post(f"/x/apps.tickets/help/{ref}", 429, reason="other", text="once more")
    assert await everything() == before


@pytest.mark.parametrize(
    ("text", "hidden"),
    [
        ("{code}", "{mask}"),
        ("卡密{code}无效", "卡密{mask}无效"),
        ("({code}), {code}.", "({mask}), {mask}."),
        ("code:{lower} pay 2026112322001412345678", "code:{mask} pay 2026112322001412345678"),
        ("order V1234 of 19.90, +86 138 0013 8000", "order V1234 of 19.90, +86 138 0013 8000"),
        ("ABCD 1234 X{tail}", "{mask}"),
        ("ABCD.1234-x{tail}, please", "{mask}, please"),
        ("A1 " * 1000 + "X{tail}", "A1 " * 968 + "{mask}"),  # no code has a thousand parts
        ("nothing", "nothing"),
    ],
)
async def test_codes_in_words_are_masked(sold, text, hidden):
    _buyer, ref, code = sold
    mask = "••••" + code[-4:]
    values = {"code": code, "lower": code.lower(), "mask": mask, "tail": code[-4:]}
    assert await masking.hide(1, ref, text.format(**values)) == hidden.format(**values)


async def test_a_ticket_is_found_by_its_number_its_order_and_its_goods(sold, on):
    buyer, ref, code = sold
    ticket = await opened(buyer, ref, "look")
    about = await db.fetchval("SELECT about FROM apps_tickets_ticket WHERE id = $1", int(ticket))
    here = f"/admin/x/apps.tickets/{ticket}"
    async with signed_in(on) as staff, signed_in(on, "stock") as clerk:
        for q in (f"#{ticket}", ref, about[1:5].upper()):
            assert here in await staff.post("/admin/search", 200, q=q), q
            assert here not in await clerk.post("/admin/search", 200, q=q), q
        found = await staff.post("/admin/search", 200, q=code)
        assert f"/admin/orders/{ref}" in found and here not in found
        assert here not in await staff.post("/admin/search", 200, q="%%")
