"""Plugins follow what an operator decides in another process; old rows outlive them."""

import asyncio
import logging

import pytest

from core import db
from core.hooks import runtime as runtimes
from core.hooks.manager import State
from core.money import Money
from core.vault import keys

from .conftest import BROKEN

SETTINGS = {"name": "Ann", "wait": 20}
SECRETS = {"key": "s3cr3t-k3y"}


@pytest.fixture(autouse=True)
def quiet_log(caplog):
    caplog.set_level(logging.CRITICAL, "vouchsafe.hooks")


# -- on and off -------------------------------------------------------------------------


async def test_what_another_process_enables_appears_and_what_it_disables_goes(start, operator):
    runtime = await start()
    assert "good" not in runtime.payment_methods
    await operator.enables("payments.good")
    assert await runtime.refresh()
    assert runtime.payment_methods["good"].title["en"] == "Good"
    await operator.disables("payments.good")
    assert await runtime.refresh()
    assert "good" not in runtime.payment_methods
    assert runtime.form_hosts() == ()


async def test_nothing_is_loaded_anew_when_nothing_changed(start):
    runtime = await start("payments.good")
    method = runtime.payment_methods["good"]
    assert not await runtime.refresh()
    assert runtime.payment_methods["good"] is method


async def test_a_running_process_follows_by_itself(start, operator):
    runtime = await start()
    async with runtime.following():
        await operator.enables("payments.good")
        async with asyncio.timeout(10):
            while "good" not in runtime.payment_methods:
                await asyncio.sleep(0.02)


async def test_a_plugin_is_on_by_default_until_somebody_says_otherwise(start, operator):
    runtime = await start()
    assert runtime.plugin("payments.on_by_default").state is State.ACTIVE
    await operator.disables("payments.on_by_default")
    await runtime.refresh()
    assert runtime.plugin("payments.on_by_default").state is State.DISABLED


async def test_safe_mode_loads_nothing_and_still_shows_everything(start):
    runtime = await start("payments.good", "payments.exits", safe_mode=True)
    assert runtime.payment_methods == {}
    assert {one.state for one in runtime.plugins} == {State.DISABLED}
    assert len(runtime.plugins) == len(list(BROKEN.glob("*/*/plugin.toml"))) > 30
    assert str(runtime.plugin("payments.good").reason) == "Switched on, but the shop was started without plugins."
    assert runtime.plugin("payments.good_too").reason == ""


async def test_a_test_plugin_leaves_when_the_shop_sells_for_real(start):
    runtime = await start("payments.only_test")
    assert "only_test" in runtime.payment_methods
    await db.execute("UPDATE shops_shop SET test_mode = false")
    assert await runtime.refresh()
    assert "only_test" not in runtime.payment_methods
    assert runtime.plugin("payments.only_test").state is State.TEST_MODE_ONLY


async def test_an_enabled_plugin_whose_files_are_gone_is_shown(start):
    runtime = await start("payments.vanished")
    gone = runtime.plugin("payments.vanished")
    assert (gone.state, str(gone.reason)) == (State.FAILED, "Its files are gone.")


async def test_a_clash_made_elsewhere_leaves_a_running_process_as_it_was(start, operator):
    runtime = await start("payments.good")
    method = runtime.payment_methods["good"]
    clash = await runtime.clash_if_enabled("payments.good_too")
    assert clash.startswith("register_payment_methods: 'good' is delivered by both payments.good and payments.good_too")
    assert await runtime.clash_if_enabled("payments.only_test") == ""
    await operator.enables("payments.good_too")
    assert not await runtime.refresh()
    assert runtime.payment_methods["good"] is method
    await operator.disables("payments.good")
    assert await runtime.refresh()
    assert runtime.payment_methods["good"].title["en"] == "Good too"


async def test_plugins_bring_their_words_and_templates_without_being_run(start):
    runtime = await start()
    features = {one.name: one for one in runtime.features()}
    assert features["payments.raises"].folder == runtime.folder / "payments" / "raises"
    assert "notifiers.bad_toml" not in features


async def test_failures_are_still_counted_after_plugins_were_loaded_anew(start, operator, order):
    runtime = await start("risk.raises_in_guard")
    with pytest.raises(Exception, match="could not be checked"):
        await runtime.ask("check_order", order=order)
    await operator.enables("payments.good")
    await runtime.refresh()
    assert runtime.plugin("risk.raises_in_guard").failures["check_order"].count == 1


# -- settings ---------------------------------------------------------------------------


async def test_a_plugin_without_its_settings_waits_for_them(start, operator):
    runtime = await start("notifiers.with_settings")
    waiting = runtime.plugin("notifiers.with_settings")
    assert (waiting.state, str(waiting.reason)) == (
        State.NEEDS_SETTINGS,
        "These settings are missing or wrong: Name, Key",
    )
    await operator.saves("notifiers.with_settings", SETTINGS, SECRETS)
    await runtime.refresh()
    settings = runtime.notifiers["with_settings"].settings
    assert (settings.name, settings.wait, settings.key.reveal()) == ("Ann", 20, "s3cr3t-k3y")
    assert (settings.mode, settings.loud, settings.price) == ("page", True, None)


async def test_a_stored_setting_the_plugin_does_not_know_is_an_error(start, operator):
    runtime = await start()
    await operator.saves("notifiers.with_settings", {**SETTINGS, "colour": "red"}, SECRETS)
    await runtime.refresh()
    waiting = runtime.plugin("notifiers.with_settings")
    assert (waiting.state, str(waiting.reason)) == (
        State.NEEDS_SETTINGS,
        "These settings are missing or wrong: colour",
    )


async def test_secrets_are_sealed_in_the_database_and_open_only_for_their_plugin(start, operator):
    await operator.saves("notifiers.with_settings", SETTINGS, SECRETS)
    stored = await db.fetchval("SELECT row_to_json(hooks_plugin)::text FROM hooks_plugin")
    assert "s3cr3t" not in stored
    sealed = await db.fetchval("SELECT secrets FROM hooks_plugin")
    assert b"s3cr3t" not in sealed
    assert runtimes.store.open_secrets("notifiers.with_settings", sealed) == SECRETS
    with pytest.raises(runtimes.DecryptError):
        runtimes.store.open_secrets("notifiers.other", sealed)


async def test_secrets_of_another_master_key_ask_to_be_entered_again(start, operator):
    await operator.saves("notifiers.with_settings", SETTINGS, SECRETS)
    before = keys.current()
    keys.use(keys.MasterKey(b"o" * 32))
    try:
        runtime = await start()
    finally:
        keys.use(before)
    waiting = runtime.plugin("notifiers.with_settings")
    assert waiting.state is State.NEEDS_SETTINGS
    assert str(waiting.reason) == "Its secrets do not open with this master key. Enter them again."


async def test_the_environment_overrides_what_is_stored(start, operator):
    await operator.saves("notifiers.with_settings", SETTINGS, SECRETS)
    environ = {
        "VOUCHSAFE_NOTIFIERS_WITH_SETTINGS_KEY": "from outside",
        "VOUCHSAFE_NOTIFIERS_WITH_SETTINGS_WAIT": "33",
        "VOUCHSAFE_NOTIFIERS_WITH_SETTINGS_LOUD": "no",
        "VOUCHSAFE_NOTIFIERS_WITH_SETTINGS_PRICE": "19.90",
    }
    runtime = await start(environ=environ)
    settings = runtime.notifiers["with_settings"].settings
    assert (settings.key.reveal(), settings.wait, settings.loud) == ("from outside", 33, False)
    assert settings.price == Money(1990, "CNY")


async def test_a_secret_shows_itself_nowhere(start, operator):
    await operator.saves("notifiers.with_settings", SETTINGS, SECRETS)
    runtime = await start()
    context = runtime.plugin("notifiers.with_settings").context
    row = (await runtimes.store.rows())["notifiers.with_settings"]
    for shown in (context, context.settings, row, runtime.plugin("notifiers.with_settings"), context.settings.key):
        assert "s3cr3t" not in f"{shown!r} {shown}"


async def test_a_context_knows_the_shop(start):
    runtime = await start("payments.good")
    context = runtime.plugin("payments.good").context
    assert (context.plugin, context.settings, context.currency) == ("payments.good", None, "CNY")
    assert (context.base_url, context.test_mode) == ("https://shop.example", True)
    assert context.clock.now().utcoffset().total_seconds() == 0
    assert str(context.translate("Pay %(sum)s", sum="5")) == "Pay 5"
    assert len(context.secret) == 32
