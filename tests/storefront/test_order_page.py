"""The order page through an order's life, and who may see it."""

import html
import re
from datetime import UTC, datetime, timedelta
from string import Template
from typing import Any

import httpx
import pytest

from core import clock, db
from core.catalog.service import forget
from core.checkout.place import TOKEN_PURPOSE
from core.hooks import runtime, store
from core.ids import token_hash
from core.orders import service as orders
from core.orders.view import order_view
from core.people.sessions import IDLE
from core.vault.cipher import open_secret
from tests import stocked
from tests.storefront.buyer import CODE, MUSIC, Buyer, alarms, counts, facts, heading
from tests.storefront.conftest import NewBuyer


async def mail_link(order: str) -> str:
    """The link as a mail carries it."""
    sealed = await db.fetchval("SELECT token_sealed FROM orders_order WHERE ref = $1", order.removeprefix("/o/"))
    return f"{order}?k={open_secret(TOKEN_PURPOSE, sealed).decode()}"


async def let_it_expire(order: str) -> None:
    later = datetime.now(UTC) + timedelta(minutes=20)
    with clock.use(lambda: later):
        assert order.removeprefix("/o/") in await orders.expire_due()


async def test_codes_come_first_and_masked(buyer: Buyer, stock: Any) -> None:
    order = await buyer.bought(quantity="2")
    answer = await buyer.get(order)
    assert heading(answer.text) == "Here it is. Enjoy!"
    masks = re.findall(r'<output class="code code-masked">(••••[0-9A-Z]{4})</output>', answer.text)
    assert len(masks) == 2
    assert not CODE.search(answer.text)
    assert answer.text.index(masks[0]) < answer.text.index("Your order")
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert answer.headers["x-robots-tag"] == "noindex"


async def test_reveal_shows_and_writes_down(buyer: Buyer, stock: Any) -> None:
    order = await buyer.bought(quantity="2")
    answer = await buyer.post(f"{order}/reveal")
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    codes = re.findall(r'<output class="code">(.*?)</output>', answer.text)
    assert len(set(codes)) == 2
    assert all(CODE.fullmatch(code) for code in codes)
    assert (await facts(order))["reveals"] == 2
    assert not CODE.search((await buyer.get(order)).text)


async def test_a_shown_code_is_drawn_as_a_qr_code_when_asked(buyer: Buyer, stock: Any) -> None:
    order = await buyer.bought(quantity="2")
    drawings = re.compile(r'<div class="qr"[^>]*>(<svg.*?</svg>)', re.DOTALL)
    shown = (await buyer.post(f"{order}/reveal")).text
    assert not drawings.findall(shown)
    asked = re.findall(r'name="draw" value="(\d+)"', shown)
    assert len(asked) == 2
    pages = [(await buyer.post(f"{order}/reveal", {"draw": code})).text for code in asked]
    drawn = [drawings.findall(page) for page in pages]
    assert [len(one) for one in drawn] == [1, 1] and drawn[0] != drawn[1]
    assert not re.search(r"<img[^>]+qr", pages[0])
    assert not drawings.findall((await buyer.post(f"{order}/reveal", {"draw": "999999999"})).text)
    before = (await facts(order))["reveals"]
    assert (await buyer.post(f"{order}/reveal", {"draw": "x"})).status_code == 422
    assert (await facts(order))["reveals"] == before


async def test_an_order_that_a_person_looks_at_says_so(buyer: Buyer, stock: Any) -> None:
    order = await buyer.bought()
    await db.execute(
        "UPDATE orders_order SET held = true, fulfilment_state = 'review', delivered_at = NULL WHERE ref = $1",
        order.removeprefix("/o/"),
    )
    answer = await buyer.get(order)
    assert heading(answer.text) == "Paid. A person looks at your order"
    assert "ran out of codes" not in answer.text and 'id="help"' in answer.text


async def test_staff_away_too_long_sees_no_codes_of_their_own_either(buyer: Buyer, stock: Any) -> None:
    """A browser signed in to the console and left alone shows nothing, though its session has not ended yet."""
    order = await buyer.bought()
    staff = await stocked.staff_member()
    mine = token_hash(buyer.http.cookies["vs"])
    as_staff = "UPDATE people_session SET kind = 'staff', staff_id = $2, seen_at = $3 WHERE id_hash = $1"
    away = clock.now() - IDLE["staff"]
    await db.execute(as_staff, mine, staff, away - timedelta(seconds=1))
    answer = await buyer.http.post(f"{order}/reveal", headers={"x-csrf-token": buyer.csrf})
    assert answer.status_code != 200 and not CODE.search(answer.text)
    assert (await facts(order))["reveals"] == 0
    await db.execute(as_staff, mine, staff, away + timedelta(minutes=5))
    assert len(await buyer.reveal(order)) == 1


async def test_without_javascript_the_shown_codes_go_by_themselves(buyer: Buyer, stock: Any) -> None:
    order = await buyer.bought()
    again = f'<noscript><meta http-equiv="refresh" content="60;url={order}"></noscript>'
    assert again not in (await buyer.get(order)).text
    assert again in (await buyer.post(f"{order}/reveal")).text


async def test_reveal_for_htmx_is_only_the_codes(buyer: Buyer, stock: Any) -> None:
    order = await buyer.bought()
    answer = await buyer.post(f"{order}/reveal", **{"hx-request": "true", "hx-request-type": "partial"})
    assert answer.text.startswith('<div id="codes">')
    assert len(set(CODE.findall(answer.text))) == 1


async def test_the_text_file(buyer: Buyer, stock: Any) -> None:
    order = await buyer.bought(quantity="3")
    answer = await buyer.post(f"{order}/codes.txt")
    assert answer.headers["content-disposition"] == f'attachment; filename="{order.removeprefix("/o/")}.txt"'
    assert answer.headers["cache-control"] == "no-store"
    assert sorted(answer.text.split()) == await buyer.reveal(order)
    assert (await facts(order))["reveals"] == 6


async def test_an_unpaid_order_reveals_nothing(buyer: Buyer, stock: Any) -> None:
    order = await buyer.place()
    assert await buyer.reveal(order) == []
    assert (await buyer.post(f"{order}/codes.txt")).status_code == 303
    assert (await facts(order))["reveals"] == 0


async def test_nobody_else_sees_it(new_buyer: NewBuyer, stock: Any) -> None:
    owner, thief, stranger = new_buyer(), new_buyer(), new_buyer()
    order = await owner.bought()
    await thief.place()
    before, seen = await counts(), len(await alarms())
    unknown = (await stranger.get("/o/V000000000000")).text

    def same(page: str) -> str:
        return re.sub(r"\b[0-9a-f]{16}\b|value=\"[^\"]*\"", "", page)

    for path in (order, f"{order}?seen=1", f"{order}?k=wrong", f"{order}/events"):
        answer = await stranger.get(path)
        assert answer.status_code == 404
        assert same(answer.text) == same(unknown)
        assert 'href="/lookup"' in answer.text
        assert (await thief.get(path)).status_code == 404
    for act in ("reveal", "codes.txt", "cancel", "pay"):
        form = {"method": "sandbox"} if act == "pay" else {}
        assert (await stranger.post(f"{order}/{act}", form)).status_code == 401
        assert (await thief.post(f"{order}/{act}", form)).status_code == 404
    assert await counts() == before
    assert (await alarms())[seen:] == ["order.wrong_link"] * 2 + ["order.foreign_reveal"]


async def test_wrong_links_from_one_address_leave_no_more_alarms_than_anyone_reads(buyer: Buyer) -> None:
    await db.execute("DELETE FROM web_limit WHERE bucket LIKE 'wrong-link:%'")
    seen = len(await alarms())
    for number in range(20):
        assert (await buyer.get(f"/o/V{number:012}?k=wrong")).status_code == 404
        assert (await buyer.get("/gift?k=wrong")).status_code == 404
    assert len(await alarms()) - seen == 30


async def test_the_link_of_a_mail_opens_it(new_buyer: NewBuyer, stock: Any) -> None:
    owner, other = new_buyer(), new_buyer()
    order = await owner.bought()
    answer = await other.get(await mail_link(order))
    assert answer.status_code == 303
    assert answer.headers["location"] == order
    assert "vs=" in answer.headers["set-cookie"]
    other.csrf = answer.headers["x-csrf-token"]
    assert heading((await other.get(order)).text) == "Here it is. Enjoy!"
    assert await other.reveal(order) == await owner.reveal(order)
    assert order in (await other.get("/lookup")).text


async def test_a_link_opens_one_order_only(new_buyer: NewBuyer, stock: Any) -> None:
    owner, other = new_buyer(), new_buyer()
    order, second = await owner.bought(), await owner.bought()
    token = (await mail_link(order)).partition("?")[2]
    before = await counts()
    assert (await other.get(f"{second}?{token}")).status_code == 404
    assert await counts() == before


async def test_cancel_gives_the_code_back(buyer: Buyer, stock: Any) -> None:
    before = await counts()
    order = await buyer.place()
    answer = await buyer.post(f"{order}/cancel")
    assert answer.status_code == 303
    page = (await buyer.get(order)).text
    assert heading(page) == "This order was cancelled"
    assert f"/checkout?sku={MUSIC}&amp;quantity=1" in page
    assert (await facts(order))["fulfilment"] == "released"
    assert (await counts())["free"] == before["free"]


async def test_a_delivered_order_cannot_be_cancelled(buyer: Buyer, stock: Any) -> None:
    order = await buyer.bought()
    before = await facts(order)
    await buyer.post(f"{order}/cancel")
    page = (await buyer.get(order)).text
    assert "Only an order that waits for its payment can be cancelled." in page
    assert await facts(order) == before


async def test_the_way_to_pay_can_be_changed(buyer: Buyer, stock: Any) -> None:
    order = await buyer.place(method="epay:wxpay")
    page = (await buyer.get(order)).text
    assert "Pay with WeChat Pay" in page
    assert 'href="http://127.0.0.1:9/submit.php?' in page
    assert (await buyer.post(f"{order}/pay", {"method": "manual"})).status_code == 303
    page = (await buyer.get(order)).text
    assert f"Send CN¥15.00 to account 12345, with {order.removeprefix('/o/')} as reference." in page
    assert "Pay another way" in page
    await buyer.post(f"{order}/pay", {"method": "epay:alipay"})
    assert (await facts(order))["attempts"] == ["epay waiting", "manual waiting", "epay waiting"]
    assert "Pay with Alipay" in (await buyer.get(order)).text


async def test_a_test_order_is_never_paid_for_real(buyer: Buyer, stock: Any) -> None:
    order = await buyer.place()
    before = await facts(order)
    await buyer.post(f"{order}/pay", {"method": "manual"})
    assert "Choose how you want to pay." in (await buyer.get(order)).text
    assert await facts(order) == before
    await buyer.post(f"{order}/pay", {"method": "sandbox"})
    await buyer.pay(order)
    assert (await facts(order))["attempts"] == ["sandbox waiting", "sandbox paid"]


async def test_an_unknown_way_to_pay_changes_nothing(buyer: Buyer, stock: Any) -> None:
    order = await buyer.place()
    before = await facts(order)
    await buyer.post(f"{order}/pay", {"method": "nope"})
    assert "Choose how you want to pay." in (await buyer.get(order)).text
    assert await facts(order) == before


@pytest.mark.parametrize(
    ("step", "shown"),
    [
        ({"kind": "qr", "text": "https://pay.example/1", "deep_link": "weixin://pay"}, '<svg viewBox="0 0 '),
        ({"kind": "qr", "text": "https://pay.example/1", "deep_link": "weixin://pay"}, 'href="weixin://pay"'),
        (
            {"kind": "form", "url": "https://pay.example/x", "fields": {"a": '"><b>'}},
            'name="a" value="&#34;&gt;&lt;b&gt;"',
        ),
        (
            {"kind": "form", "url": "https://pay.example/x", "fields": {}},
            '<form action="https://pay.example/x" method="post"',
        ),
        ({"kind": "redirect", "url": "https://pay.example/y?a=1&b=2"}, 'href="https://pay.example/y?a=1&amp;b=2"'),
        ({"kind": "instructions", "text": {"en": "<i>Send it</i>"}}, "&lt;i&gt;Send it&lt;/i&gt;"),
    ],
)
async def test_every_kind_of_step_is_shown(buyer: Buyer, stock: Any, step: dict[str, Any], shown: str) -> None:
    order = await buyer.place()
    await db.execute("UPDATE payments_attempt SET started = $2 WHERE ref = $1", f"{order.removeprefix('/o/')}-1", step)
    page = (await buyer.get(order)).text
    assert shown in page
    assert "style=" not in page


async def test_a_payment_that_did_not_start_can_be_tried_again(buyer: Buyer, stock: Any) -> None:
    order = await buyer.place()
    await db.execute(
        "UPDATE payments_attempt SET state = 'failed', started = NULL WHERE ref = $1", f"{order.removeprefix('/o/')}-1"
    )
    page = (await buyer.get(order)).text
    assert "That way to pay did not work this time." in page
    assert (await buyer.post(f"{order}/pay", {"method": "sandbox"})).status_code == 303
    assert (await facts(order))["attempts"] == ["sandbox failed", "sandbox waiting"]


async def test_expired_offers_to_order_again(buyer: Buyer, stock: Any) -> None:
    order = await buyer.place()
    await let_it_expire(order)
    page = (await buyer.get(order)).text
    assert heading(page) == "The time to pay is over"
    again = await buyer.get(f"/checkout?sku={MUSIC}&quantity=1")
    assert buyer.contact in again.text
    assert (await buyer.post(f"{order}/pay", {"method": "sandbox"})).status_code == 303
    assert (await facts(order))["attempts"] == ["sandbox expired"]


async def test_paid_late_still_delivers_while_there_is_stock(buyer: Buyer, stock: Any) -> None:
    order = await buyer.place()
    page = await buyer.get(order)
    await let_it_expire(order)
    assert page.status_code == 200
    await db.execute("UPDATE payments_attempt SET state = 'waiting' WHERE ref = $1", f"{order.removeprefix('/o/')}-1")
    await buyer_pays_by_old_page(buyer, page.text)
    assert heading((await buyer.get(order)).text) == "Here it is. Enjoy!"
    assert len(await buyer.reveal(order)) == 1


async def buyer_pays_by_old_page(buyer: Buyer, page: str) -> None:
    """The gateway's page was open already when the order expired."""

    class Old(Buyer):
        async def get(self, path: str, **headers: str) -> Any:
            return type("Page", (), {"text": page})

    await Old(buyer.http, csrf=buyer.csrf).pay("")


async def test_paid_with_empty_shelves_is_told_honestly(buyer: Buyer, stock: Any) -> None:
    order = await buyer.place()
    page = await buyer.get(order)
    await let_it_expire(order)
    sku = await db.fetchval("SELECT id FROM catalog_sku WHERE code = $1", MUSIC)
    await db.execute("UPDATE vault_code SET state = 'void' WHERE sku_id = $1 AND state = 'free'", sku)
    try:
        await buyer_pays_by_old_page(buyer, page.text)
    finally:
        await db.execute("UPDATE vault_code SET state = 'free' WHERE sku_id = $1 AND state = 'void'", sku)
    told = (await buyer.get(order)).text
    assert heading(told) == "Your payment is here; a person is looking at it"
    assert "We have your money, but just ran out of codes." in told
    assert '<li class="done">Paid<br>' in told
    assert "Show my code" not in told
    assert await buyer.reveal(order) == []


async def test_a_wrong_amount_is_told_honestly(buyer: Buyer, stock: Any) -> None:
    order = await buyer.place()
    await buyer.pay(order, "wrong_amount")
    told = (await buyer.get(order)).text
    assert heading(told) == "A part of your payment is here"
    assert "Less arrived than this order costs: CN¥7.50 are missing." in told
    assert '<li aria-current="step">Payment</li>' in told
    assert (await facts(order))["delivered"] == 0


async def test_the_rest_is_paid_on_the_same_page(buyer: Buyer, stock: Any) -> None:
    order = await buyer.place()
    await buyer.pay(order, "wrong_amount")
    assert (await buyer.post(f"{order}/pay", {"method": "sandbox"})).status_code == 303
    page = (await buyer.get(order)).text
    assert "Go and pay CN¥7.50" in page
    assert "Go and pay CN¥15.00" not in page
    await buyer.pay(order, "paid")
    page = (await buyer.get(order)).text
    assert heading(page) == "Here it is. Enjoy!"
    assert (await facts(order))["delivered"] == 1


async def test_a_failed_payment_leaves_the_order_open(buyer: Buyer, stock: Any) -> None:
    order = await buyer.place()
    await buyer.pay(order, "failed")
    page = (await buyer.get(order)).text
    assert heading(page) == "Waiting for your payment"
    assert "That way to pay did not work this time." in page
    assert (await facts(order))["reserved"] == 1


async def test_without_any_way_to_pay_left_the_page_says_so(buyer: Buyer, stock: Any) -> None:
    order = await buyer.place()
    await buyer.pay(order, "failed")
    await db.transaction(store.enable, "payments.sandbox", False)
    await runtime.current().refresh()
    try:
        assert "This shop cannot take payments yet." in (await buyer.get(order)).text
    finally:
        await db.transaction(store.enable, "payments.sandbox", True)
        await runtime.current().refresh()


async def test_chinese_all_the_way(new_buyer: NewBuyer, stock: Any) -> None:
    buyer = new_buyer("zh-CN")
    order = await buyer.bought()
    page = (await buyer.get(order)).text
    assert heading(page) == "卡密已送达，请查收！"
    assert "星光音乐会员" in page
    assert "进入 <strong>我的 → 兑换中心</strong>" in page
    locale = await db.fetchval("SELECT locale FROM orders_order WHERE ref = $1", order.removeprefix("/o/"))
    assert locale == "zh-CN"


async def test_a_note_names_the_order_and_one_that_breaks_stands_as_typed(buyer: Buyer, stock: Any) -> None:
    """Each note as the order's page, the recipient's of a gift, and the product's page before the sale show it."""
    before = await db.fetchval("SELECT delivery_note FROM catalog_product WHERE slug = 'starlight-music'")
    named = "{{ product }} × {{ quantity }} of {{ order.ref }} for {{ contact or 'you' }}: [open]({{ link }})"
    gift, english = {"gift": "on", "gift_to": "friend@example.com"}, {"accept-language": "en"}
    try:
        for note, on_order, on_gift, on_product in (
            (
                named,
                "Starlight Music membership × 2 of $ref for $hint: $link",
                "Starlight Music membership × 2 of $ref for you: $gift",
                "",
            ),
            ("{{ product }} by {{ shop.name }}", *["Starlight Music membership by Vouchsafe"] * 3),
            ("Type {{ your name }}, {% go", *["Type {{ your name }}, {% go"] * 3),
            ("Just **words**", *["Just words"] * 3),
        ):
            await db.execute(
                "UPDATE catalog_product SET delivery_note = $1 WHERE slug = 'starlight-music'", {"en": note}
            )
            forget()
            order = await buyer.bought(quantity="2", **gift)
            ref = order.removeprefix("/o/")
            places = {
                "ref": ref,
                "hint": f"{buyer.contact[:2]}•••@example.com",
                "link": f"open <{buyer.http.base_url}/o/{ref}>",
                "gift": f"open <{buyer.http.base_url}/gift/{ref}>",
            }
            row = await orders.for_session(ref, token_hash(buyer.http.cookies["vs"]))
            assert row is not None
            shown = order_view(row).gift
            assert shown is not None
            page = (await buyer.get(order)).text
            assert said(page) == Template(on_order).substitute(places) and buyer.contact not in said(page)
            async with httpx.AsyncClient(
                base_url=buyer.http.base_url, headers=english, follow_redirects=True
            ) as friend:
                page = (await friend.get(shown.path)).text
                assert said(page) == Template(on_gift).substitute(places) and buyer.contact not in page
                assert said((await friend.get(f"/p/starlight-music?{ref}")).text) == on_product
    finally:
        await db.execute("UPDATE catalog_product SET delivery_note = $1 WHERE slug = 'starlight-music'", before)
        forget()


def said(page: str) -> str:
    """The words of the delivery note on this page, with its links."""
    found = re.search(r"How you use it</h[23]>\s*<div class=\"prose\">(.*?)</div>", page, re.DOTALL)
    if not found:
        return ""
    linked = re.sub(r'<a href="([^"]*)"[^>]*>(.*?)</a>', r"\2 <\1>", found[1])
    return html.unescape(re.sub(r"</?(?:p|strong)>|\n", "", linked))
