"""What staff does on the pages of plugins stands in the audit log, in words, and without what must not stand there."""

import pytest

from core import db
from core.hooks import runtime, store
from tests import console
from tests.console import signed_in, words

COUPONS = "/admin/x/promotions.coupon"
HOOKS = "/admin/x/notifiers.webhook"
BLOCKED = "/admin/x/risk.network"
COUPON = {"name": "Spring", "kind": "amount", "value": "5", "how": "many", "number": "3", "uses_per_code": "1"}
HOOK = {"url": "https://hooks.example.com/in?key=k3y", "events": "order.paid"}


@pytest.fixture(scope="module")
async def address(database, redis_url, tmp_path_factory):
    async with console.running(database, redis_url, tmp_path_factory.mktemp("home")) as address:
        for plugin in ("promotions.coupon", "notifiers.webhook", "risk.network"):
            await db.transaction(store.enable, plugin, True)
        await runtime.current().refresh()
        yield address


@pytest.fixture
async def owner(address):
    async with signed_in(address) as staff:
        yield staff


async def newest(table):
    return await db.fetchval(f"SELECT max(id) FROM {table}")


async def written(plugin, before):
    """Act, thing and detail of what came to the log, without the plugin's id that stands before both."""
    rows = await db.fetch("SELECT * FROM audit_entry WHERE object LIKE 'x:%' AND id > $1 ORDER BY id", before)
    shop = await db.fetchval("SELECT min(id) FROM shops_shop")
    assert {(row["shop_id"], row["actor"].split(":")[0], row["ip"] is None) for row in rows} == {(shop, "staff", False)}
    cut = [(row["act"].removeprefix(f"{plugin}."), row["object"].removeprefix(f"x:{plugin}:")) for row in rows]
    return [(act, thing, row["detail"]) for (act, thing), row in zip(cut, rows, strict=True)]


async def here():
    return await db.fetchval("SELECT coalesce(max(id), 0) FROM audit_entry")


async def test_coupons(owner):
    before = await here()
    await owner.post(f"{COUPONS}/new", 422, **{**COUPON, "value": "x"})
    await owner.post(f"{COUPONS}/new", **COUPON)
    number = await newest("promotions_coupon")
    for act, form in (("codes", {"number": "2"}), ("stop", {}), ("resume", {})):
        await owner.post(f"{COUPONS}/{number}/{act}", **form)
    codes = await owner.post(f"{COUPONS}/{number}/codes.csv", 200)
    assert len(codes.split()) >= 6
    assert await written("promotions.coupon", before) == [
        ("made", f"coupon:{number}", {"name": "Spring", "codes": 3}),
        ("codes_added", f"coupon:{number}", {"codes": 2}),
        ("stopped", f"coupon:{number}", {}),
        ("resumed", f"coupon:{number}", {}),
        ("codes_taken", f"coupon:{number}", {"codes": 5}),
    ]


async def test_webhooks(owner):
    before = await here()
    await owner.post(HOOKS, 422, **{**HOOK, "url": "http://10.0.0.1/"})
    await owner.post(HOOKS, 200, **HOOK)
    number = await newest("notifiers_webhook_endpoint")
    it = f"{HOOKS}/{number}"
    await owner.post(it, **{**HOOK, "events": "order.closed"})
    for act, status in (("off", 303), ("on", 303), ("secret", 200), ("test", 303)):
        await owner.post(f"{it}/{act}", status)
    delivery = await newest("notifiers_webhook_delivery")
    await owner.post(f"{HOOKS}/delivery/{delivery}/replay")  # it waits to be sent: nothing to do, nothing to write
    await db.execute("UPDATE notifiers_webhook_delivery SET state = 'failed' WHERE id = $1", delivery)
    await owner.post(f"{HOOKS}/delivery/{delivery}/replay")
    message = await db.fetchval("SELECT message FROM notifiers_webhook_delivery WHERE id = $1", delivery)
    await owner.post(f"{it}/delete")
    thing, server = f"webhook:{number}", "hooks.example.com"
    assert await written("notifiers.webhook", before) == [
        ("added", thing, {"server": server, "events": ["order.paid"]}),
        ("changed", thing, {"server": server, "events": ["order.closed"]}),
        ("switched_off", thing, {}),
        ("switched_on", thing, {}),
        ("secret_renewed", thing, {}),
        ("tested", thing, {}),
        ("replayed", f"delivery:{delivery}", {"message": message, "event": "webhook.test"}),
        ("deleted", thing, {"server": server}),
    ]
    texts = [row["text"] for row in await db.fetch("SELECT row_to_json(e)::text AS text FROM audit_entry e")]
    assert not [text for text in texts if "whsec_" in text or "k3y" in text]


async def test_the_block_list(owner):
    before = await here()
    await owner.post(f"{BLOCKED}/entries", 422, act="block", value="thief")
    await owner.post(f"{BLOCKED}/entries", act="block", value="thief@example.com")
    entry = await newest("risk_network_entry")
    await owner.post(f"{BLOCKED}/entries", act="allow", value="thief@example.com")
    await owner.post(f"{BLOCKED}/entries/{entry}/remove")
    await owner.post(f"{BLOCKED}/entries/{entry}/remove")
    await owner.post(f"{BLOCKED}/lists", name="away", kind="bad", url="https://lists.example.com/a.txt?key=k3y")
    number = await newest("risk_network_list")
    await owner.post(f"{BLOCKED}/lists/{number}/fetch")
    await owner.post(f"{BLOCKED}/lists/{number}/remove")
    await owner.post(f"{BLOCKED}/lists/{number}/remove")
    file = {"file": ("list.txt", b"203.0.113.0/24", "text/plain")}
    form = {"name": "machines", "kind": "hosting", "csrf": owner.csrf}
    assert (await owner.http.post(f"{BLOCKED}/lists", data=form, files=file)).status_code == 303
    assert await written("risk.network", before) == [
        ("blocked", f"entry:{entry}", {"kind": "contact"}),
        ("allowed", f"entry:{entry}", {"kind": "contact"}),
        ("removed", f"entry:{entry}", {"act": "allow", "kind": "contact"}),
        ("list_added", f"list:{number}", {"name": "away", "kind": "bad"}),
        ("list_fetched", f"list:{number}", {"name": "away"}),
        ("list_removed", f"list:{number}", {"name": "away"}),
        ("list_added", f"list:{number + 1}", {"name": "machines", "kind": "hosting"}),
    ]


async def test_the_log_says_it_in_the_language_of_its_reader(address, owner):
    await owner.post(f"{BLOCKED}/entries", act="block", value="rude@example.com")
    entry = await newest("risk_network_entry")
    thing = f"x:risk.network:entry:{entry}"
    page = words(await owner.get(f"/admin/audit?q={thing}"))
    assert f"Blocked somebody risk.network.blocked {thing} kind: contact" in page
    async with signed_in(address, "owner", "zh-CN") as chinese:
        assert f"拉黑了一个对象 risk.network.blocked {thing}" in words(await chinese.get(f"/admin/audit?q={thing}"))
    await db.transaction(store.enable, "risk.network", False)
    await runtime.current().refresh()
    page = words(await owner.get(f"/admin/audit?q={thing}"))
    assert f"risk.network.blocked {thing}" in page and "Blocked somebody" not in page
