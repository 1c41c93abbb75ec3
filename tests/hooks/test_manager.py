"""Broken plugins are set aside with their reason, and the others never notice."""

import asyncio
import logging
import sys
import time

import pytest

from core import db
from core.hooks.answers import Refusal
from core.hooks.manager import NoSuchHook, State, TwoOwners, way_of
from core.hooks.runtime import ROOT

SET_ASIDE = {
    "payments.exits": "it tried to end the program (exit 3)",
    "payments.exits_late": "it tried to end the program (exit bye)",
    "payments.raises": "RuntimeError: no luck",
    "payments.misspelt": "there is no hook called register_payment_metods",
    "notifiers.misspelt_unset": "there is no hook called register_notifirs",
    "payments.unmarked": "register_payment_methods lacks @hookimpl",
    "payments.wraps": "check_order is a wrapper; a plugin may not wrap the hooks of others",
    "payments.no_plugin": "plugins_broken.payments.no_plugin must end with: plugin = YourPlugin()",
    "payments.bad_key": "register_payment_methods: 'No Key!' is not a key (small letters, digits, - and _)",
    "payments.bad_host": "ValueError: bad_host: form_hosts must look like https://pay.example.com, "
    "not 'https://a.example; script-src *'",
    "payments.bad_title": """ValueError: bad_title: title must be words by language, such as {"en": "Acme"}, not 'x'""",
    "payments.bad_seconds": "ValueError: bad_seconds: query_after must be seconds, such as (15, 60, 300), "
    "not ('15', '60')",
    "payments.a_class": "ValueError: register_payment_methods: Method is a class; deliver an object of it",
    "notifiers.cannot_draw": "the setting table has a type that no form field fits: dict[str, int]",
}


async def test_each_broken_plugin_is_set_aside_with_its_reason_and_the_good_one_works(start, order):
    runtime = await start("payments.good", *SET_ASIDE)
    states = {one.id: (one.state, str(one.reason)) for one in runtime.plugins}
    assert {id: states[id] for id in SET_ASIDE} == {id: (State.FAILED, reason) for id, reason in SET_ASIDE.items()}
    assert states["payments.good"] == (State.ACTIVE, "")
    assert sorted(runtime.payment_methods) == ["good", "on_by_default"]
    await runtime.ask("check_order", order=order)


async def test_a_hook_with_a_wrong_argument_is_told(start):
    runtime = await start("payments.wrong_argument")
    loaded = runtime.plugin("payments.wrong_argument")
    assert loaded.state is State.FAILED
    assert "basket" in str(loaded.reason)


@pytest.mark.parametrize("plugin", ["payments.too_new", "payments.other_core"])
async def test_a_plugin_for_another_shop_is_shown_and_never_imported(start, plugin):
    runtime = await start(plugin)
    loaded = runtime.plugin(plugin)
    assert loaded.state is State.INCOMPATIBLE
    assert (
        str(loaded.reason)
        == {
            "payments.too_new": "It needs plugin api 2; this shop has 1.",
            "payments.other_core": "It needs a shop of version >=9; this one is 0.1.0.",
        }[plugin]
    )
    assert f"plugins_broken.{plugin}" not in sys.modules


async def test_only_enabled_plugins_are_imported(start):
    sys.modules.pop("plugins_broken.risk.refuses", None)
    runtime = await start("payments.good")
    assert runtime.plugin("risk.refuses").state is State.DISABLED
    assert "plugins_broken.risk.refuses" not in sys.modules


async def test_nothing_of_a_failed_import_is_left_behind(start):
    await start("payments.raises")
    assert not [name for name in sys.modules if name.startswith("plugins_broken.payments.raises")]


async def test_two_owners_of_a_key_stop_the_start_naming_both(start):
    with pytest.raises(TwoOwners) as caught:
        await start("payments.good", "payments.good_too")
    assert str(caught.value) == (
        "register_payment_methods: 'good' is delivered by both payments.good and payments.good_too. "
        "Only one of them can be on; VOUCHSAFE_PLUGINS=none starts the shop so that one can be switched off."
    )


# -- guards -----------------------------------------------------------------------------


async def test_a_refusal_reaches_the_caller_with_its_words(start, order):
    runtime = await start("risk.refuses")
    with pytest.raises(Refusal) as caught:
        await runtime.ask("check_order", order=order)
    assert (str(caught.value.text), caught.value.field) == ("not today", "contact")
    assert runtime.plugin("risk.refuses").failures == {}


@pytest.mark.parametrize(
    ("plugin", "told"),
    [
        ("risk.raises_in_guard", "KeyError: 'forgotten'"),
        ("risk.exits_in_guard", "it tried to end the program (exit 1)"),
        ("risk.cancels", "it cancelled itself"),
    ],
)
async def test_a_broken_guard_refuses_and_is_counted(start, order, plugin, told):
    runtime = await start(plugin)
    for count in (1, 2):
        with pytest.raises(Refusal, match="could not be checked just now"):
            await runtime.ask("check_order", order=order)
        failure = runtime.plugin(plugin).failures["check_order"]
        assert (failure.count, failure.last) == (count, told)
    assert runtime.plugin(plugin).state is State.ACTIVE, "a request must not be able to switch a guard off"


async def test_a_guard_that_hangs_refuses_when_its_time_is_over(start, order):
    runtime = await start("risk.hangs", ask_seconds=0.05)
    with pytest.raises(Refusal, match="could not be checked just now"):
        await runtime.ask("check_order", order=order)
    assert runtime.plugin("risk.hangs").failures["check_order"].last == "TimeoutError: it took longer than 0.05 s"


async def test_a_guard_that_blocks_is_beyond_every_time_limit_as_the_guide_says(start, order):
    runtime = await start("risk.blocks", ask_seconds=0.05)
    began = time.monotonic()
    await runtime.ask("check_order", order=order)
    assert time.monotonic() - began >= 0.2
    assert "What the shop cannot do: stop a call that blocks." in (ROOT / "docs" / "plugins.md").read_text()


async def test_cancelling_the_caller_cancels_the_guard(start, order):
    runtime = await start("risk.hangs")
    asking = asyncio.create_task(runtime.ask("check_order", order=order))
    await asyncio.sleep(0)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert runtime.plugin("risk.hangs").failures == {}


async def test_guards_are_never_asked_inside_a_transaction(start, order):
    runtime = await start("risk.refuses")

    async def work(tx):
        await runtime.ask("check_order", order=order)

    with pytest.raises(RuntimeError, match="before the transaction"):
        await db.transaction(work)


# -- names and order --------------------------------------------------------------------


async def test_hooks_are_called_only_in_their_own_way(start, order):
    runtime = await start()
    for call in (
        runtime.ask("order_paid", order=order),
        runtime.ask("check_everything"),
        runtime.tell("check_order", "risk.refuses", {}),
    ):
        with pytest.raises(NoSuchHook):
            await call


def test_the_name_of_a_hook_tells_its_way():
    assert [way_of(name) for name in ("register_notifiers", "check_order", "order_paid")] == [
        "collect",
        "ask",
        "notify",
    ]


async def test_guards_are_asked_in_the_order_of_their_ids(start, order):
    runtime = await start("risk.refuses", "risk.raises_in_guard")
    with pytest.raises(Refusal, match="could not be checked"):
        await runtime.ask("check_order", order=order)
    active = [one.id for one in runtime.plugins if one.state is State.ACTIVE]
    assert active == ["payments.on_by_default", "risk.raises_in_guard", "risk.refuses"]


async def test_a_method_that_is_there_is_given(start):
    runtime = await start("payments.good")
    assert runtime.payment_methods["good"].title["en"] == "Good"
    assert runtime.form_hosts() == ("https://pay.example.com",)


@pytest.fixture(autouse=True)
def quiet_log(caplog):
    caplog.set_level(logging.CRITICAL, "vouchsafe.hooks")
