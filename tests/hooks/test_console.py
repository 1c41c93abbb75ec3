"""The plugins page over HTTP: on and off, settings, the Test button, and who may do what."""

import re
from contextlib import asynccontextmanager

import httpx
import pytest

from core import db
from core.app import create_app
from core.config import Config
from core.hooks import runtime as runtimes
from core.hooks import store
from core.hooks.manager import State
from core.hooks.runtime import Runtime
from core.web import csrf

from ..web.conftest import served, staff_cookie
from .conftest import BROKEN

WITH_SETTINGS = "/admin/plugins/notifiers.with_settings"
ENVIRON: dict[str, str] = {}


@asynccontextmanager
async def load_broken_plugins(config):
    runtime = Runtime(folder=BROKEN, package="plugins_broken", environ=ENVIRON)
    runtimes.use(runtime)
    async with runtime.following():
        yield runtime


@pytest.fixture(scope="module")
async def site(database, redis_url, tmp_path_factory):
    environment = {
        "VOUCHSAFE_HOME": str(tmp_path_factory.mktemp("home")),
        "DATABASE_URL": database,
        "REDIS_URL": redis_url,
    }
    app = create_app(Config.from_env(environment), load_plugins=load_broken_plugins, names=("hooks",))
    async with served(app) as address:
        yield address


@pytest.fixture
async def plugins(site):
    await db.execute("DELETE FROM hooks_plugin")
    await db.execute("UPDATE hooks_revision SET revision = revision + 1")
    await runtimes.current().refresh()
    ENVIRON.clear()
    return runtimes.current()


class Staff:
    def __init__(self, browser, cookie):
        self.browser, self.cookie = browser, cookie

    async def get(self, path):
        return await self.browser.get(path)

    async def post(self, path, fields=None, **headers):
        form = {"csrf": csrf.token_for(self.cookie), **(fields or {})}
        return await self.browser.post(path, data=form, headers={"sec-fetch-site": "same-origin", **headers})


@pytest.fixture
async def sign_in(site):
    browsers = []

    async def make(role="owner"):
        cookie = await staff_cookie(role)
        browser = httpx.AsyncClient(base_url=site, headers={"accept-language": "en"}, cookies={"vs": cookie})
        browsers.append(browser)
        return Staff(browser, cookie)

    yield make
    for browser in browsers:
        await browser.aclose()


@pytest.fixture
async def owner(plugins, sign_in):
    return await sign_in()


async def audited():
    rows = await db.fetch("SELECT act, object, detail FROM audit_entry ORDER BY id")
    return [tuple(row.values()) for row in rows]


def fields(answer):
    return dict(re.findall(r'name="((?:set|secret)_\w+)"[^>]*?value="([^"]*)"', answer.text))


def state(answer):
    return re.search(r'id="state".*?<span class="badge[^>]*>([^<]+)</span>\s*([^<]*)', answer.text, re.DOTALL).groups()


# -- the list ---------------------------------------------------------------------------


async def test_the_list_shows_every_plugin_even_when_all_are_broken(plugins, sign_in):
    for one in plugins.plugins:
        if one.id not in ("payments.good", "payments.good_too", "payments.on_by_default"):
            await db.transaction(store.enable, one.id, True)
    await db.transaction(store.enable, "payments.on_by_default", False)
    await plugins.refresh()
    answer = await (await sign_in()).get("/admin/plugins")
    assert answer.status_code == 200
    for one in plugins.plugins:
        assert f'href="/admin/plugins/{one.id}"' in answer.text
    for reason in ("it tried to end the program (exit 3)", "RuntimeError: no luck", "plugin.toml: no such permission"):
        assert reason in answer.text
    for one in plugins.plugins:
        assert (await (await sign_in()).get(f"/admin/plugins/{one.id}")).status_code == 200


async def test_who_may_look_and_who_may_change(plugins, sign_in):
    manager = await sign_in("manager")
    answer = await manager.get("/admin/plugins/payments.good")
    assert answer.status_code == 200
    assert "enable" not in answer.text
    for path in ("enable", "disable", "settings"):
        answer = await manager.post(f"/admin/plugins/payments.good/{path}")
        assert answer.status_code == 403
    assert (await (await sign_in("support")).get("/admin/plugins")).status_code == 403
    assert await db.fetchval("SELECT count(*) FROM hooks_plugin") == 0


@pytest.mark.parametrize("path", ["", "/enable", "/disable", "/settings"])
async def test_a_plugin_that_does_not_exist(owner, path):
    answer = await (owner.post if path else owner.get)("/admin/plugins/payments.unknown" + path)
    assert answer.status_code == 404
    assert await db.fetchval("SELECT count(*) FROM hooks_plugin") == 0


# -- on and off -------------------------------------------------------------------------


async def test_on_and_off_take_effect_at_once_and_are_audited(plugins, owner):
    before = await audited()
    answer = await owner.post("/admin/plugins/payments.good/enable")
    assert (answer.status_code, answer.headers["location"]) == (303, "/admin/plugins/payments.good")
    assert "good" in plugins.payment_methods
    assert "https://pay.example.com" in (await owner.get("/admin/plugins")).headers["content-security-policy"]
    answer = await owner.post("/admin/plugins/payments.good/disable")
    assert (answer.status_code, answer.headers["location"]) == (303, "/admin/plugins")
    assert "good" not in plugins.payment_methods
    assert (await audited())[len(before) :] == [
        ("plugin.enabled", "plugin:payments.good", {}),
        ("plugin.disabled", "plugin:payments.good", {}),
    ]


async def test_a_plugin_that_fails_says_why_and_can_be_switched_off(plugins, owner):
    await owner.post("/admin/plugins/payments.exits/enable")
    answer = await owner.get("/admin/plugins/payments.exits")
    assert state(answer) == ("Failed", "it tried to end the program (exit 3)")
    assert (await owner.post("/admin/plugins/payments.exits/disable")).status_code == 303
    assert plugins.plugin("payments.exits").state is State.DISABLED


async def test_of_a_plugin_whose_files_are_gone_nobody_says_where_they_came_from(plugins, owner):
    await db.transaction(store.enable, "payments.taken_away", True)
    await plugins.refresh()
    answer = await owner.get("/admin/plugins/payments.taken_away")
    assert state(answer) == ("Failed", "Its files are gone.")
    assert "Came with the shop" not in answer.text


async def test_a_second_owner_of_a_key_is_not_switched_on(plugins, owner):
    await owner.post("/admin/plugins/payments.good/enable")
    before = await audited()
    answer = await owner.post("/admin/plugins/payments.good_too/enable")
    assert answer.status_code == 409
    assert "is delivered by both payments.good and payments.good_too" in answer.text
    assert await audited() == before
    assert plugins.plugin("payments.good_too").state is State.DISABLED


async def test_after_a_start_without_plugins_a_broken_one_can_be_switched_off(plugins, owner):
    await owner.post("/admin/plugins/payments.good/enable")
    plugins.safe_mode = True
    try:
        await db.execute("UPDATE hooks_revision SET revision = revision + 1")
        await plugins.refresh()
        answer = await owner.get("/admin/plugins")
        assert "The shop was started without plugins." in answer.text
        assert "/enable" not in answer.text
        answer = await owner.get("/admin/plugins/payments.good")
        assert state(answer) == ("Off", "Switched on, but the shop was started without plugins.")
        assert (await owner.post("/admin/plugins/payments.good_too/enable")).status_code == 409
        assert (await owner.post("/admin/plugins/payments.good/disable")).status_code == 303
        rows = await store.rows()
        assert {id: row.enabled for id, row in rows.items()} == {"payments.good": False}
    finally:
        plugins.safe_mode = False


# -- settings ---------------------------------------------------------------------------

GOOD = {"set_name": "Ann", "secret_key": "s3cr3t-k3y", "set_wait": "20", "set_mode": "page", "set_loud": "on"}


@pytest.fixture
async def configured(plugins, owner):
    await owner.post(WITH_SETTINGS + "/enable")
    return owner


async def test_a_form_is_drawn_from_the_model(plugins, configured):
    answer = await configured.get(WITH_SETTINGS)
    assert state(answer) == ("Needs settings", "These settings are missing or wrong: Name, Key")
    for piece in (
        'name="set_name"',
        'type="password"',
        'name="secret_key"',
        'name="set_gateway" type="url" value="https://api.example.com"',
        'name="set_wait" type="number" value="10"',
        'min="1" max="60"',
        "Wait (seconds)",
        '<option value="page" selected>A page</option>',
        'name="set_loud" value="on" checked',
        "<textarea",
        "Price (CNY)",
        "From the provider&#39;s console.",
    ):
        assert piece in answer.text, piece


async def test_settings_are_saved_sealed_and_in_use_at_once(plugins, configured):
    before = await audited()
    answer = await configured.post(WITH_SETTINGS + "/settings", {**GOOD, "set_price": "19.9", "set_words": "a\r\nb"})
    assert (answer.status_code, answer.headers["location"]) == (303, WITH_SETTINGS)
    settings = plugins.notifiers["with_settings"].settings
    assert (settings.name, settings.key.reveal(), settings.wait, settings.words) == (
        "Ann",
        "s3cr3t-k3y",
        20,
        ("a", "b"),
    )
    row = (await store.rows())["notifiers.with_settings"]
    assert row.settings["price"] == {"amount": 1990, "currency": "CNY"}
    assert b"s3cr3t" not in row.secrets
    after = await audited()
    assert after[len(before) :] == [
        (
            "plugin.settings_saved",
            "plugin:notifiers.with_settings",
            {"changed": ["key", "loud", "mode", "name", "price", "wait", "words"]},
        )
    ]
    assert "s3cr3t" not in str(after)


async def test_a_secret_is_never_sent_back_and_an_empty_field_keeps_it(plugins, configured):
    await configured.post(WITH_SETTINGS + "/settings", {**GOOD, "secret_extra_key": "other-secret"})
    answer = await configured.get(WITH_SETTINGS)
    assert "s3cr3t" not in answer.text
    assert "other-secret" not in answer.text
    assert "Leave empty to keep it." in answer.text
    await configured.post(WITH_SETTINGS + "/settings", {**GOOD, "secret_key": "", "set_name": "Bob"})
    settings = plugins.notifiers["with_settings"].settings
    assert (settings.name, settings.key.reveal(), settings.extra_key.reveal()) == ("Bob", "s3cr3t-k3y", "other-secret")
    await configured.post(WITH_SETTINGS + "/settings", {**GOOD, "secret_key": "", "forget_extra_key": "on"})
    assert plugins.notifiers["with_settings"].settings.extra_key is None


async def test_settings_that_break_their_plugin_can_be_mended(plugins, owner):
    address = "/admin/plugins/notifiers.wants_even"
    await owner.post(address + "/enable")
    await owner.post(address + "/settings", {"set_number": "3"})
    answer = await owner.get(address)
    assert state(answer) == ("Failed", "ValueError: 3 is odd")
    await owner.post(address + "/settings", {"set_number": "4"})
    assert plugins.plugin("notifiers.wants_even").state is State.ACTIVE
    assert "wants_even" in plugins.notifiers


async def test_an_unticked_switch_is_off(plugins, configured):
    await configured.post(
        WITH_SETTINGS + "/settings", {name: text for name, text in GOOD.items() if name != "set_loud"}
    )
    assert plugins.notifiers["with_settings"].settings.loud is False


async def test_mistakes_are_named_by_field_what_was_typed_stays_and_nothing_is_saved(plugins, configured):
    before = await audited()
    wrong = {**GOOD, "set_wait": "99", "set_gateway": "nowhere", "set_price": "much", "set_name": "Zoë"}
    answer = await configured.post(WITH_SETTINGS + "/settings", wrong)
    assert answer.status_code == 422
    for message in (
        "Wait: This must be 60 or less.",
        "Gateway: Write an address such as https://pay.example.com",
        "Price: Write an amount such as 19.90",
    ):
        assert message in answer.text
    assert fields(answer)["set_name"] == "Zoë"
    assert "s3cr3t" not in answer.text
    assert await audited() == before
    assert (await store.rows())["notifiers.with_settings"].settings == {}


async def test_a_field_the_plugin_does_not_have_is_refused(configured):
    answer = await configured.post(WITH_SETTINGS + "/settings", {**GOOD, "set_admin": "yes"})
    assert answer.status_code == 422
    assert "admin: There is no such setting." in answer.text
    assert (await store.rows())["notifiers.with_settings"].settings == {}


async def test_what_the_environment_decides_is_shown_and_cannot_be_changed(plugins, configured):
    ENVIRON["VOUCHSAFE_NOTIFIERS_WITH_SETTINGS_WAIT"] = "33"
    ENVIRON["VOUCHSAFE_NOTIFIERS_WITH_SETTINGS_KEY"] = "from-outside"
    answer = await configured.get(WITH_SETTINGS)
    assert "Decided by the environment variable VOUCHSAFE_NOTIFIERS_WITH_SETTINGS_WAIT." in answer.text
    assert 'name="set_wait"' not in answer.text
    assert "from-outside" not in answer.text
    await configured.post(WITH_SETTINGS + "/settings", {"set_name": "Ann", "set_wait": "44", "secret_key": "mine"})
    settings = plugins.notifiers["with_settings"].settings
    assert (settings.wait, settings.key.reveal()) == (33, "from-outside")
    row = (await store.rows())["notifiers.with_settings"]
    assert "wait" not in row.settings
    assert row.secrets is None


# -- the Test button --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("Ann", ["It works", "it answered", "notice-success"]),
        ("later", ["No answer; try again later", "nobody answers", "notice-warning"]),
        ("wrong", ["The access data are not accepted", "the key is not known there", "notice-error"]),
        ("never", ["It will not work like this", "that gateway is closed", "notice-error"]),
        ("breaks", ["No answer; try again later", "The test itself broke off (RuntimeError)."]),
        ("words", ["No answer; try again later", "The test gave no answer.", "notice-warning"]),
    ],
)
async def test_settings_are_tried_before_they_are_saved(plugins, configured, name, told):
    form = {**GOOD, "set_name": name, "act": "test"}
    answer = await configured.post(WITH_SETTINGS + "/settings", form)
    assert answer.status_code == 200
    for words in told:
        assert words in answer.text
    assert "Enter the secrets once more" in answer.text
    assert fields(answer)["set_name"] == name
    assert "s3cr3t" not in answer.text
    assert (await store.rows())["notifiers.with_settings"].settings == {}
    assert plugins.plugin("notifiers.with_settings").failures.keys() == ({"check"} if name == "breaks" else set())
    plugins.plugin("notifiers.with_settings").failures.clear()


async def test_with_javascript_only_the_result_is_sent(configured):
    htmx = {"hx-request": "true", "hx-request-type": "partial"}
    answer = await configured.post(WITH_SETTINGS + "/settings", {**GOOD, "act": "test"}, **htmx)
    assert answer.text.count("<form") == 0
    assert "It works" in answer.text
    answer = await configured.post(WITH_SETTINGS + "/settings", {**GOOD, "set_wait": "0", "act": "test"}, **htmx)
    assert "Wait: This must be 1 or more." in answer.text


async def test_a_plugin_without_a_check_has_no_button(owner):
    await owner.post("/admin/plugins/apps.hears_if_set/enable")
    answer = await owner.get("/admin/plugins/apps.hears_if_set")
    assert 'value="test"' not in answer.text
    answer = await owner.post("/admin/plugins/apps.hears_if_set/settings", {"set_name": "Ann", "act": "test"})
    assert answer.status_code == 404


async def test_failures_are_shown(plugins, owner, order):
    await owner.post("/admin/plugins/risk.raises_in_guard/enable")
    with pytest.raises(Exception, match="could not be checked"):
        await plugins.ask("check_order", order=order)
    answer = await owner.get("/admin/plugins/risk.raises_in_guard")
    assert "KeyError: &#39;forgotten&#39;" in answer.text
    assert "check_order" in answer.text
