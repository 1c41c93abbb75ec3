"""Redemption guides: written in the console, read on the order page by device, and whether it worked."""

import io
import re
from collections.abc import AsyncIterator
from html import unescape
from typing import Any

import pytest
from PIL import Image

from core import db
from tests import console
from tests.storefront.buyer import MUSIC, NIMBUS, Buyer, facts
from tests.storefront.conftest import NewBuyer

IPHONE = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15 Mobile/15E148"
ANDROID = "Mozilla/5.0 (Linux; Android 14; Pixel 8) AppleWebKit/537.36 Chrome/130 Mobile Safari/537.36"
WINDOWS = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 Chrome/130 Safari/537.36"
CONSOLE = "Mozilla/5.0 (PlayStation; PlayStation 5/6.50) AppleWebKit/605.1.15"
STEPS = {
    "name": "Music",
    "link": "https://music.example/redeem",
    "text_ios_en": "1. Tap **Me**",
    "text_pc_en": "Sign in",
}


@pytest.fixture
async def staff(shop: str) -> AsyncIterator[Buyer]:
    async with console.signed_in(shop) as signed_in:
        yield Buyer(signed_in.http, csrf=signed_in.csrf)


@pytest.fixture(autouse=True)
async def no_guides(shop: str, stock: Any) -> None:
    await db.execute("UPDATE catalog_product SET guide_id = NULL")
    await db.execute("UPDATE catalog_sku SET guide_id = NULL")
    await db.execute("DELETE FROM catalog_guide")


async def guide(staff: Buyer, to: str = "starlight-music", **changes: str) -> str:
    """Its page in the console."""
    answer = await staff.post("/admin/guides/new", {**STEPS, **changes})
    path: str = answer.headers["location"]
    if to:
        assert (await staff.post(f"{path}/give", {"to": to})).status_code == 303
    return path


def words(page: str) -> str:
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", page)).split())


async def line_of(order: str) -> str:
    sql = "SELECT min(l.id) FROM orders_line l JOIN orders_order o ON o.id = l.order_id WHERE o.ref = $1"
    return str(await db.fetchval(sql, order.removeprefix("/o/")))


async def said() -> list[tuple[str, bool]]:
    rows = await db.fetch("SELECT device, worked FROM orders_worked ORDER BY at")
    return [(row["device"], row["worked"]) for row in rows]


@pytest.mark.parametrize(
    ("agent", "opened"),
    [(IPHONE, "iPhone, iPad"), (WINDOWS, "Computer"), (ANDROID, "Any device"), (CONSOLE, "Any device")],
)
async def test_the_steps_of_the_buyers_device_are_open(staff: Buyer, buyer: Buyer, agent: str, opened: str) -> None:
    await guide(staff, text_any_en="Anywhere")
    order = await buyer.bought()
    page = (await buyer.get(order, **{"user-agent": agent})).text
    summaries = re.findall(r'<details name="guide-\d+"( open)?>\s*<summary>(.*?)</summary>', page, re.DOTALL)
    assert [words(text) for _open, text in summaries] == ["iPhone, iPad", "Computer", "Any device"]
    assert [words(text) for is_open, text in summaries if is_open] == [opened]
    assert "<strong>Me</strong>" in page and 'href="https://music.example/redeem"' in page


async def test_a_corrected_guide_reaches_who_has_bought_already_and_a_sku_may_have_its_own(
    staff: Buyer, buyer: Buyer
) -> None:
    order = await buyer.bought()
    assert "guide-devices" not in (await buyer.get(order)).text
    path = await guide(staff)
    assert "Sign in" in (await buyer.get(order)).text
    form = {**STEPS, "text_ios_en": "Corrected", "version": "1"}
    assert (await staff.post(path, form)).status_code == 303
    assert "Corrected" in (await buyer.get(order)).text
    await guide(staff, to=MUSIC, name="Of the SKU", text_ios_en="Only here")
    page = (await buyer.get(order)).text
    assert "Only here" in page and "Corrected" not in page
    stale = await staff.post(path, {**form, "text_ios_en": "Older"})
    assert stale.status_code == 422 and "Somebody else saved this" in stale.text


async def test_it_worked_is_kept_once_with_its_device(staff: Buyer, buyer: Buyer) -> None:
    await db.execute("DELETE FROM orders_worked")
    await guide(staff)
    order = await buyer.bought()
    line = await line_of(order)
    for worked, device in (("yes", "ios"), ("no", "pc"), ("yes", "tv")):
        answer = await buyer.post(f"{order}/worked", {"line": line, "device": device, "worked": worked})
        assert answer.status_code == 303
    assert await said() == [("ios", True)]
    page = words((await buyer.get(order)).text)
    assert "You said that it worked." in page and "It did not work" not in page
    kinds = await db.fetch(
        "SELECT kind, data FROM orders_event WHERE kind IN ('worked', 'did_not_work') AND order_id ="
        " (SELECT order_id FROM orders_line WHERE id = $1)",
        int(line),
    )
    assert [(row["kind"], row["data"]["device"]) for row in kinds] == [("worked", "ios")]


async def test_it_did_not_work_opens_the_help_with_line_and_device(staff: Buyer, buyer: Buyer) -> None:
    path = await guide(staff)
    order = await buyer.bought()
    line = await line_of(order)
    answer = await buyer.post(f"{order}/worked", {"line": line, "device": "ios", "worked": "no"})
    assert answer.headers["location"] == f"{order}?help={line}&device=ios#help"
    page = (await buyer.get(answer.headers["location"])).text
    help_part = page[page.index('id="help"') :]
    assert "We have noted that it did not work." in help_part
    assert re.search(r'<details class="fold" open>\s*<summary>Does a code not work\?', help_part)
    code = re.search(r'name="code" value="(\d+)"', help_part)
    assert code and await db.fetchval("SELECT line_id FROM vault_code WHERE id = $1", int(code[1])) == int(line)
    shares = words((await staff.get(path)).text)
    assert "of those who answered said that it did not." in shares
    assert "100%" in words((await staff.get("/admin/guides")).text)


async def test_nobody_answers_for_another_or_before_it_is_there(new_buyer: NewBuyer, staff: Buyer) -> None:
    await db.execute("DELETE FROM orders_worked")
    await guide(staff)
    owner, other = new_buyer(), new_buyer()
    order, unpaid = await owner.bought(), await owner.place(NIMBUS, field_account="a@nimbus.example")
    theirs = await other.bought()
    before = await facts(order)
    for who, path, line in (
        (other, order, await line_of(order)),
        (owner, unpaid, await line_of(unpaid)),
        (other, theirs, await line_of(order)),
    ):
        answer = await who.post(f"{path}/worked", {"line": line, "device": "ios", "worked": "yes"})
        assert answer.status_code == 303
    wrong = await owner.post(f"{order}/worked", {"line": await line_of(order), "device": "toaster", "worked": "yes"})
    assert wrong.status_code == 422
    assert await said() == [] and await facts(order) == before


async def test_writing_a_guide(staff: Buyer, buyer: Buyer) -> None:
    assert "No guides yet" in (await staff.get("/admin/guides")).text
    for changes, wrong in (
        ({"name": ""}, "Give it a name."),
        ({"link": "javascript:alert(1)"}, "A link begins with https://"),
        ({"text_ios_en": "", "text_pc_en": ""}, "Write the steps for at least one device."),
    ):
        answer = await staff.post("/admin/guides/new", {**STEPS, **changes})
        assert answer.status_code == 422 and wrong in unescape(answer.text)
    preview = await staff.post("/admin/guides/new", {**STEPS, "act": "preview"})
    assert preview.status_code == 200 and "<strong>Me</strong>" in preview.text
    assert await db.fetchval("SELECT count(*) FROM catalog_guide") == 0
    path = await guide(staff, to="")
    assert "Another guide has this name." in (await staff.post("/admin/guides/new", STEPS)).text
    copy = (await staff.post(f"{path}/duplicate", {})).headers["location"]
    assert 'value="Music (2)"' in (await staff.get(copy)).text
    nowhere = await staff.post(f"{path}/give", {"to": "nothing-like-it"})
    assert "There is no product with this address" in nowhere.text
    await staff.post(f"{path}/give", {"to": "https://shop.example/p/starlight-music"})
    used = (await staff.get(path)).text
    product = re.search(r'name="product" value="(\d+)"', used)
    assert product
    refused = await staff.post(f"{path}/delete", {})
    assert refused.headers["location"] == path
    await staff.post(f"{path}/take", {"product": product[1]})
    assert (await staff.post(f"{path}/delete", {})).headers["location"] == "/admin/guides"
    assert [row["name"] for row in await db.fetch("SELECT name FROM catalog_guide")] == ["Music (2)"]


async def test_pictures_are_our_own_and_nothing_else_gets_through(staff: Buyer, buyer: Buyer) -> None:
    path = await guide(staff)
    body = io.BytesIO()
    Image.new("RGB", (40, 20), "red").save(body, "PNG")
    files = {"image": ("step.png", body.getvalue(), "image/png")}
    answer = await staff.http.post(f"{path}/pictures", data={"csrf": staff.csrf}, files=files)
    assert answer.status_code == 303, answer.text
    ours = re.search(r"!\[\]\((/media/\d+-[0-9a-f]{16})\)", (await staff.get(path)).text)
    assert ours
    text = f"![first]({ours[1]}) ![them](https://elsewhere.example/x.png) <script>alert(1)</script> [x](javascript:1)"
    assert (await staff.post(path, {**STEPS, "text_ios_en": text, "version": "1"})).status_code == 303
    page = (await buyer.get(await buyer.bought())).text
    assert f'src="{ours[1]}"' in page and (await buyer.get(ours[1])).status_code == 200
    assert "elsewhere.example" not in page and "<script>alert" not in page and 'href="javascript' not in page
