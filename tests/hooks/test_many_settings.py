"""Settings that hold several values: ticked choices, things of the catalogue, rows that come and go."""

import html
import json
import re

import pytest

from core import db
from core.api import Money, PluginSettings, Secret, setting
from core.hooks import store
from core.hooks.settings import CannotDraw, Kind, built, fields_of, from_text, to_store
from tests import stocked
from tests.plugins_broken.apps.many_settings import Settings

from .test_console import owner, plugins, sign_in, site

__all__ = ["owner", "plugins", "sign_in", "site"]
HERE = "/admin/plugins/apps.many_settings"
FIELDS = fields_of(Settings)


@pytest.fixture
async def page(plugins, owner):
    """The form of the plugin that is on, and SKU-… of a product that is there."""
    await db.transaction(store.enable, "apps.many_settings", True)
    await plugins.refresh()
    return owner


@pytest.fixture
async def sku(site):
    return await stocked.sku(0)


async def saved():
    return (await store.rows())["apps.many_settings"].settings


def row(number, **cells):
    return {f"set_steps.{number}.{name}": value for name, value in {"mode": "all", **cells}.items()}


def test_each_type_has_its_field():
    assert {one.name: (one.kind, one.pick) for one in FIELDS} == {
        "events": (Kind.CHOICES, ""),
        "sku": (Kind.PICK, "sku"),
        "product": (Kind.PICK, "product"),
        "category": (Kind.PICK, "category"),
        "skus": (Kind.PICKS, "sku"),
        "steps": (Kind.ROWS, ""),
    }
    assert [one.kind for one in FIELDS[-1].columns] == ["pick", "text", "money", "number", "switch", "select"]


def test_what_cannot_stand_in_a_row_is_refused():
    class Sealed(PluginSettings):
        key: Secret = setting("Key")

    class Switches(PluginSettings):
        loud: bool = setting("Loud", default=False)

    for inner, why in ((Sealed, "key cannot stand in a row"), (Switches, "needs something to write")):
        rows = setting("Rows", default=())
        model = type("Outer", (PluginSettings,), {"__annotations__": {"rows": tuple[inner, ...]}, "rows": rows})
        with pytest.raises(CannotDraw, match=why):
            fields_of(model)


def test_what_is_stored_is_read_again():
    stored = {
        "events": ["order.closed"],
        "skus": ["A"],
        "steps": [{"name": "One", "least": {"amount": 1990, "currency": "CNY"}}],
    }
    settings = built(Settings, stored)
    assert (settings.steps[0].least, settings.steps[0].pieces) == (Money(1990, "CNY"), 1)
    assert to_store(FIELDS, settings) == (stored, {})


def test_the_environment_says_several_values_too():
    by_name = {one.name: one for one in FIELDS}
    assert from_text(by_name["events"], "order.paid, order.closed", "CNY") == ["order.paid", "order.closed"]
    assert from_text(by_name["skus"], "A,B", "CNY") == ["A", "B"]
    assert from_text(by_name["steps"], json.dumps([{"name": "One"}]), "CNY") == [{"name": "One"}]


async def test_the_form_offers_what_there_is(page, sku):
    text = (await page.get(HERE)).text
    assert re.search(rf'<datalist id="picks-sku">.*<option value="{sku.code}">Product \d+</option>', text)
    assert 'name="set_events.order.paid" value="on" checked' in text
    assert 'name="set_events.order.closed" value="on">' in text
    assert text.count('name="set_steps.0.name"') == 1 and "set_steps.1.name" not in text


async def test_all_of_it_is_saved_and_shown_again(page, sku):
    product = await db.fetchval("SELECT slug FROM catalog_product ORDER BY id DESC LIMIT 1")
    sent = {
        "set_events.order.closed": "on",
        "set_sku": sku.code,
        "set_product": product,
        "set_category": "",
        "set_skus.0": "",
        "set_skus.1": f" {sku.code} ",
        "set_skus.2": sku.code,
        **row(0, name="One", least="19.90", pieces="3", loud="on", mode="some"),
        **row(1, name="", least="", pieces="", sku=""),
    }
    assert (await page.post(f"{HERE}/settings", sent)).status_code == 303
    step = {"name": "One", "least": {"amount": 1990, "currency": "CNY"}, "pieces": 3, "loud": True, "mode": "some"}
    expected = {"events": ["order.closed"], "sku": sku.code, "product": product, "skus": [sku.code], "steps": [step]}
    assert await saved() == expected
    text = (await page.get(HERE)).text
    assert 'name="set_steps.0.least" type="text" value="19.90"' in text and 'name="set_steps.1.name"' in text

    sent = {
        "set_events.order.closed": "on",
        **row(0, name="One", least="19.90", remove="on"),
        **row(1, name="Two", least="5"),
    }
    assert (await page.post(f"{HERE}/settings", sent)).status_code == 303
    assert [(one["name"], one["least"]["amount"]) for one in (await saved())["steps"]] == [("Two", 500)]


async def test_a_further_row_is_shown_before_anything_is_saved(page):
    sent = {"act": "more", **row(0, name="<One>", least="not a sum"), **row(1, name="")}
    answer = await page.post(f"{HERE}/settings", sent)
    assert answer.status_code == 200
    assert 'name="set_steps.0.name" type="text" value="&lt;One&gt;"' in answer.text
    assert 'name="set_steps.1.name"' in answer.text and "set_steps.2.name" not in answer.text
    assert await saved() == {}


async def test_each_mistake_is_named_at_its_field_and_nothing_is_saved(page, sku):
    sent = {
        "set_events.order.lost": "on",
        "set_skus.0": sku.code,
        **row(0, name="One", least="19.90"),
        **row(1, name="A name that is too long", least="dear", pieces="0"),
    }
    answer = await page.post(f"{HERE}/settings", sent)
    assert answer.status_code == 422
    links = re.findall(r'<li><a href="#f-set_([\w.]+)">([^<]+)</a></li>', html.unescape(answer.text))
    assert dict(links) == {
        "events": "Events: Please choose one of the values offered.",
        "steps.1.name": "Steps, row 2, Step: At most 10 signs, please.",
        "steps.1.least": "Steps, row 2, From: Write an amount such as 19.90",
        "steps.1.pieces": "Steps, row 2, Pieces: This must be 1 or more.",
    }
    assert 'id="e-set_steps.1.least"' in answer.text
    assert await saved() == {}


async def test_what_the_catalogue_does_not_have_is_refused(page, sku):
    sent = {"set_sku": "NO-SUCH", "set_product": "nowhere", "set_category": "none", "set_skus.0": "NO-SUCH"}
    answer = await page.post(f"{HERE}/settings", {**sent, **row(0, sku="NO-SUCH", name="One", least="1")})
    assert answer.status_code == 422
    links = re.findall(r'<li><a href="#f-set_([\w.]+)">([^<]+)</a></li>', html.unescape(answer.text))
    assert dict(links) == {
        "sku": "One SKU: There is no SKU with this code.",
        "product": "One product: There is no such product.",
        "category": "One category: There is no such category.",
        "skus": "SKUs: There is no SKU with this code.",
        "steps.0.sku": "Steps, row 1, Only for: There is no SKU with this code.",
    }
    assert await saved() == {}
