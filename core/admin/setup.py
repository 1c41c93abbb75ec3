"""The set-up: five steps from an empty shop to a first test order. Where it stands is kept with the shop."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import Any
from zoneinfo import available_timezones

from babel.numbers import get_currency_name

from core import db
from core.admin import demo
from core.admin.packs import EVERYTHING, PACKS
from core.audit import service as audit
from core.catalog import service as catalog
from core.hooks import runtime, store
from core.hooks.answers import Check, CheckResult
from core.hooks.manager import Loaded, State
from core.hooks.settings import PluginSettings
from core.messages.notifier import NotifierRefused, NotifierUnavailable, OutgoingMessage
from core.refused import Refused
from core.shops import service as shops
from core.shops.service import Shop
from core.web.i18n import _, gettext

STEPS = {2: "shop", 3: "payments", 4: "messages", 5: "try"}
"""The steps after the first, by their number; a word is the end of the address."""

MAILER = "notifiers.smtp"
CURRENCIES = ("CNY", "USD", "EUR", "HKD", "TWD", "JPY", "KRW", "SGD", "MYR", "THB", "VND", "GBP", "RUB", "AUD", "CAD")
AT_HOME = {"zh_CN": ("CNY", "zh-CN", "Asia/Shanghai")}
"""What a merchant who reads that language probably wants."""

TO_TRY = """
SELECT product.slug FROM catalog_product product WHERE product.shop_id = $1 AND product.state = 'listed' AND EXISTS (
    SELECT 1 FROM catalog_sku sku JOIN vault_code code ON code.sku_id = sku.id AND code.state = 'free'
    WHERE sku.product_id = product.id AND sku.listed)
ORDER BY product.demo DESC, product.position, product.id LIMIT 1
"""

LATEST_TEST = """
SELECT ref, payment_state, fulfilment_state FROM orders_order WHERE shop_id = $1 AND test ORDER BY id DESC LIMIT 1
"""


@dataclass(frozen=True, slots=True)
class ShopFacts:
    """The second step. ``pack`` names one of ``packs.PACKS``; ``with_demo`` puts its goods on the shelf."""

    name: str
    currency: str
    locale: str
    timezone: str
    pack: str
    with_demo: bool


def address(step: int) -> str:
    return f"/admin/setup/{STEPS[step]}" if step in STEPS else "/admin"


async def come_to(shop: Shop, step: int) -> str:
    """Remember that the set-up has come so far, and give where to go. Done once, it stays done."""
    now = shop.settings.setup_step
    if not now:
        return "/admin"
    if step > now:
        await db.transaction(_remember, shop.id, step)
        shops.forget()
    return address(step)


async def end(shop: Shop, staff_id: int) -> None:
    async def write(tx: db.Tx) -> None:
        await shops.set_settings(tx, shop.id, setup_step=0)
        await audit.record(tx, f"staff:{staff_id}", "setup.ended", f"shop:{shop.id}", shop_id=shop.id)

    await db.transaction(write)
    shops.forget()


async def _remember(tx: db.Tx, shop_id: int, step: int) -> None:
    await shops.set_settings(tx, shop_id, setup_step=step)


def currencies(own: str, language: str) -> list[tuple[str, str]]:
    """The usual ones and the shop's own, with their names."""
    known = (*CURRENCIES, *(() if own in CURRENCIES else (own,)))
    return [(code, f"{code} · {get_currency_name(code, locale=language)}") for code in known]


# -- the shop ---------------------------------------------------------------------------


async def pack_there(shop_id: int) -> str | None:
    """The pack whose goods are in the shop; None when there are no demo goods."""
    rows = await db.fetch("SELECT slug FROM catalog_product WHERE shop_id = $1 AND demo AND state = 'listed'", shop_id)
    slugs = {row["slug"] for row in rows}
    whole = (name for name, pack in PACKS.items() if {product.slug for product in pack.products} == slugs)
    return next(whole, EVERYTHING) if slugs else None


async def save_shop(shop: Shop, facts: ShopFacts, staff_id: int) -> None:
    """:raises Refused: a fact that does not fit, named by its field."""
    if facts.timezone not in available_timezones():
        raise Refused(_("Choose a time zone from the list."), "timezone")
    if facts.pack not in PACKS:
        raise Refused(_("Choose what you sell."), "pack")
    if facts.currency != shop.currency and await shops.has_prices(shop.id):
        raise Refused(_("There are prices in the present currency. Delete those SKUs first."), "currency")
    await db.transaction(_save_shop, shop, facts, staff_id)
    shops.forget()
    catalog.forget()


async def _save_shop(tx: db.Tx, shop: Shop, facts: ShopFacts, staff_id: int) -> None:
    columns = {"name": facts.name, "currency": facts.currency, "locale": facts.locale, "timezone": facts.timezone}
    await shops.change(tx, shop.id, **columns)
    await demo.take_out(tx)
    if facts.with_demo:
        await demo.put(tx, facts.pack)
    await audit.record(tx, f"staff:{staff_id}", "shop.saved", f"shop:{shop.id}", shop_id=shop.id)


# -- getting paid -----------------------------------------------------------------------


def gateways() -> list[Loaded]:
    """The ways to take real money that are installed, those that are on first."""
    found = [
        one
        for one in runtime.current().plugins
        if one.manifest and one.manifest.kind == "payments" and one.manifest.needs and not one.manifest.test_mode_only
    ]
    return sorted(found, key=lambda one: (one.state is State.DISABLED, one.id))


async def switch_on(plugin: str, staff_id: int) -> None:
    async def write(tx: db.Tx) -> None:
        await store.enable(tx, plugin, True)
        await audit.record(tx, f"staff:{staff_id}", "plugin.enabled", f"plugin:{plugin}")

    await db.transaction(write)
    await runtime.current().refresh()


# -- messages ---------------------------------------------------------------------------


async def send_test(loaded: Loaded, settings: PluginSettings, to: str, shop: Shop, language: str) -> CheckResult:
    """Send a mail with settings that are not saved yet."""
    plugin: Any = loaded.plugin
    notifier = plugin.register_notifiers(runtime.current().context_to_try(loaded.id, settings))[0]
    words = gettext("This is the test mail you asked for. Your shop can send mail.")
    message = OutgoingMessage(
        id=f"test.{secrets.token_hex(8)}",
        recipient=to,
        subject=gettext("A test mail"),
        text=words,
        html=f"<p>{words}</p>",
        locale=language,
        from_name=" ".join(shop.name.split()),
    )
    try:
        await notifier.send(message)
    except NotifierUnavailable as error:
        return CheckResult.try_later(str(error))
    except NotifierRefused as error:
        return CheckResult.will_not_work(str(error))
    return CheckResult(
        Check.OK, _("The mail is on its way to %(address)s. Look among the unwanted ones too.", address=to)
    )


# -- check and try ----------------------------------------------------------------------


async def product_to_try(shop_id: int) -> str | None:
    """Where a test order can begin: the page of something that is in stock."""
    slug = await db.fetchval(TO_TRY, shop_id)
    return f"/p/{slug}" if slug else None


async def latest_test(shop_id: int) -> Any:
    return await db.fetchrow(LATEST_TEST, shop_id)
