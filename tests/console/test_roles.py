"""Who may open what: every route of the console against every role, strangers and buyers."""

import html
import re
from pathlib import Path

import httpx
import pytest

from core import db
from core.app import create_app, handlers
from core.checkout.settle import settle
from core.config import Config
from core.people import rights, sessions
from core.shops import service as shops
from core.web import csrf
from server import with_plugins
from tests import console, plugged, stocked
from tests.console import everything, signed_in

OWNERS_ALONE = {
    "backups.manage",
    "keys.manage",
    "limits.set",
    "partners.edit",
    "plugins.edit",
    "setup.run",
    "staff.manage",
}
ASKED_WITHIN = {"limits.set"}
"""What a door that is open to more people asks for one of its fields."""
OPEN = {
    "/admin/setup",
    "/admin/setup/strength",
    "/admin/sign-in",
    "/admin/sign-in/passkey",
    "/admin/welcome/{purpose:str}",
}
"""What stands before the sign-in."""

VALUES = {"int": "999999", "str": "NOSUCH", "path": "x"}


@pytest.fixture(scope="module")
def routes(database: str, redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> list[tuple[str, str, str]]:
    """(method, an address that leads there, who)"""
    environ = {"VOUCHSAFE_HOME": str(tmp_path_factory.mktemp("home")), "DATABASE_URL": database, "REDIS_URL": redis_url}
    app = create_app(Config.from_env(environ), load_plugins=with_plugins)
    return [
        (method, re.sub(r"\{\w+:(\w+)\}", lambda match: VALUES[match[1]], path), handler.opt["who"])
        for path, handler in [*handlers(app), *plugged.routes()]
        if path.startswith("/admin") and path not in OPEN
        for method in sorted(handler.http_methods)
    ]


def right_of(who: str) -> str:
    return who.removeprefix("staff:")


def may(role: str, who: str) -> bool:
    return right_of(who) == rights.ANY or rights.may(role, right_of(who))


def test_the_table_knows_every_act_a_route_asks_for_and_no_other(routes):
    assert all(who.startswith("staff:") for _method, _path, who in routes)
    asked = {right_of(who) for _method, _path, who in routes} - {rights.ANY}
    assert asked | ASKED_WITHIN == rights.RIGHTS.keys() | plugged.acts()
    assert asked & ASKED_WITHIN == set()


def test_every_act_has_roles_that_exist_and_the_owner_has_all():
    for right in rights.RIGHTS.values():
        assert right.roles <= set(rights.ROLES), right.act
        assert "owner" in right.roles, right.act
    assert {act for act, right in rights.RIGHTS.items() if right.roles == {"owner"}} == OWNERS_ALONE
    reads = {act for act in rights.RIGHTS if act.endswith(".read")}
    assert {act for act, right in rights.RIGHTS.items() if "readonly" in right.roles} <= reads


async def test_each_role_opens_its_pages_and_no_other(address, routes):
    await plugged.all_on()
    assert len(routes) > 70
    for role in rights.ROLES:
        async with signed_in(address, role) as staff:
            for method, path, who in routes:
                if method == "GET":
                    answer = await staff.http.get(path)
                    allowed = may(role, who)
                    assert (answer.status_code in (200, 404)) is allowed, (role, path, answer.status_code)
                    assert allowed or answer.status_code == 403, (role, path)


async def test_a_refusal_names_the_missing_right_in_words(address):
    async with signed_in(address, "support", language="zh-CN") as staff:
        answer = await staff.http.get("/admin/insight")
    assert answer.status_code == 403
    assert "请向店主申请这项权限：查看销售分析" in answer.text and "insight.read" not in answer.text


async def test_a_denied_change_changes_nothing(address, routes):
    await plugged.all_on()
    cookies = {role: await db.transaction(console._session, role) for role in rights.ROLES}
    buyer = await db.transaction(sessions.create, "buyer")
    before = await everything()
    # as htmx asks: a whole page of refusal for each takes three times as long
    partial = {"hx-request": "true", "hx-request-type": "partial"}
    denied = 0
    async with httpx.AsyncClient(base_url=address, headers={"origin": address}, timeout=20) as http:
        for method, path, who in routes:
            callers = {role: cookie for role, cookie in cookies.items() if not may(role, who)}
            for role, cookie in {**callers, "buyer": buyer}.items():
                headers = {"cookie": f"vs={cookie}", "x-csrf-token": csrf.token_for(cookie)}
                if role != "buyer" and method != "GET":
                    headers.update(partial)
                answer = await http.request(method, path, headers=headers, data=None if method == "GET" else {"a": "b"})
                if role == "buyer":
                    assert answer.status_code == 303 and "/admin/sign-in" in answer.headers["location"], path
                else:
                    assert answer.status_code == 403, (role, method, path)
                denied += 1
            answer = await http.request(method, path, data=None if method == "GET" else {"a": "b"})
            assert answer.status_code == 303, (method, path)
            assert answer.headers["location"].startswith("/admin/sign-in"), path
    assert denied > 200
    assert await everything() == before


async def test_the_menu_shows_only_what_opens(address):
    await plugged.all_on()
    for role in rights.ROLES:
        async with signed_in(address, role) as staff:
            page = await staff.get("/admin")
            for link in set(re.findall(r'class="side-link" href="([^"]+)"', page)):
                await staff.get(link)


async def test_no_page_leads_to_a_refusal(address):
    """Every link of every page, from the dashboard on, one of each kind."""
    await plugged.all_on()
    await db.execute('UPDATE shops_shop SET settings = settings || \'{"coming_soon": true, "setup_step": 3}\'')
    shops.forget()
    placed = await stocked.order(await stocked.sku(1), quantity=1)
    await settle("epay", stocked.paid(placed), "callback")
    for role in rights.ROLES[1:]:  # the owner may everything
        async with signed_in(address, role) as staff:
            seen, left = set(), ["/admin"]
            while left:
                path = left.pop()
                kind = re.sub(r"[0-9]+|=[^&]*", "", path)
                if kind in seen:
                    continue
                seen.add(kind)
                answer = await staff.http.get(path)
                assert answer.status_code != 403, (role, path)
                if "</html>" in answer.text:
                    left += [html.unescape(link) for link in re.findall(r'href="(/admin[^"#]*)', answer.text)]
            assert len(seen) > 10


async def test_who_may_not_see_sales_or_orders_sees_none_on_the_dashboard(address):
    placed = await stocked.order(await stocked.sku(1), quantity=1)
    await settle("epay", stocked.paid(placed), "callback")
    for role, sales, orders in (("stock", False, False), ("support", False, True), ("finance", True, True)):
        async with signed_in(address, role) as staff:
            page = await staff.get("/admin")
            assert ("Best-selling products" in page, placed.ref in page) == (sales, orders), role


async def test_who_may_only_look_at_products_is_offered_no_change(address):
    sku = await stocked.sku(1)
    path = await db.fetchval("SELECT '/admin/products/' || product_id FROM catalog_sku WHERE id = $1", sku.id)
    for role, disabled in (("readonly", True), ("stock", False)):
        async with signed_in(address, role) as staff:
            for page in (path, "/admin/categories"):
                assert ('<fieldset class="plain" disabled>' in await staff.get(page)) is disabled, (role, page)


async def test_huge_numbers_in_an_address_are_not_found(address):
    async with signed_in(address) as staff:
        for number in ("9" * 18, "9" * 19, "9" * 40):
            for path in (f"/admin/products/{number}", f"/admin/stock/imports/{number}", f"/admin/jobs/{number}"):
                await staff.get(path, status=404)
            await staff.post(f"/admin/staff/{number}/disable", status=404)


def test_code_and_templates_ask_only_for_acts_of_the_table():
    asked, of_plugins = set(), set()
    for path in [one for top in ("core", "plugins") for end in ("py", "html") for one in Path(top).rglob(f"*.{end}")]:
        asked |= set(re.findall(r'(?:\bmay\(|right=)"([\w.]+)"', path.read_text()))
        of_plugins |= set(re.findall(r'\bAct\(\s*"([\w.]+)"', path.read_text()))
    assert len(asked) > 15
    assert asked <= rights.RIGHTS.keys() | of_plugins
