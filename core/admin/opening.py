"""The day the shop opens: what is in the way, what should be thought of, and the one act that does it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from core import db
from core.admin import checklist, demo, trials
from core.audit import service as audit
from core.backup import service as backups
from core.catalog import service as catalog
from core.config import Config
from core.messages.events import MAIL
from core.messages.service import notifier_for
from core.refused import Refused
from core.shops import service as shops
from core.shops.service import Shop
from core.vault import keyring
from core.web.i18n import Text, _

SELLABLE = """
SELECT EXISTS (
    SELECT 1 FROM catalog_sku sku JOIN catalog_product product ON product.id = sku.product_id
    WHERE sku.shop_id = $1 AND sku.listed AND product.state = 'listed' AND NOT product.demo AND (
        EXISTS (SELECT 1 FROM vault_code WHERE sku_id = sku.id AND state = 'free')
        OR EXISTS (SELECT 1 FROM supply_sku WHERE sku_id = sku.id)))
"""
TO_TAKE_OUT = """
SELECT (SELECT count(*) FROM orders_order WHERE shop_id = $1 AND test) AS orders,
       (SELECT count(*) FROM catalog_product WHERE shop_id = $1 AND demo AND state <> 'archived') AS products
"""
WORKERS = """
SELECT EXISTS (SELECT 1 FROM jobs_worker WHERE beat_at > now() - interval '60 seconds'
               AND beat_at < now() + interval '60 seconds')
"""
AT_HOME = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True, slots=True)
class Point:
    """Something that blocks the opening, or should be thought of; ``href`` leads to where it is done."""

    key: str
    title: Text | str
    text: Text | str
    href: str = ""


@dataclass(frozen=True, slots=True)
class Readiness:
    blocks: list[Point]
    warnings: list[Point]
    orders: int
    products: int
    """How many test orders and demo products are there to be taken out."""

    @property
    def ready(self) -> bool:
        return not self.blocks


async def readiness(shop: Shop, config: Config, staff_id: int | None) -> Readiness:
    there: Any = await db.fetchrow(TO_TAKE_OUT, shop.id)
    blocks, warnings = await _blocks(shop, config), await _warnings(shop, config, staff_id)
    return Readiness(blocks, warnings, there["orders"], there["products"])


async def _blocks(shop: Shop, config: Config) -> list[Point]:
    found = []
    if not await db.fetchval(SELLABLE, shop.id):
        text = _("No product of your own is listed with codes in stock. Demo goods are not sold for money.")
        found.append(Point("product", _("Nothing to sell"), text, "/admin/products"))
    if not checklist.takes_real_money(shop):
        text = _("No real payment is switched on that takes %(currency)s.", currency=shop.currency)
        found.append(Point("payment", _("No way to be paid"), text, "/admin/setup/payments"))
    address = shops.address(shop.host, config.base_url)
    parts = urlsplit(address)
    if parts.scheme != "https" and parts.hostname not in AT_HOME:
        text = _("%(address)s is not https: codes and passwords could be read on the way.", address=address)
        found.append(Point("address", _("The address is not safe"), text, "/admin/health"))
    if await keyring.problems():
        text = _("No code can be delivered until the key is back.")
        found.append(Point("key", _("The vault has no key"), text, "/admin/health"))
    if not await db.fetchval(WORKERS):
        text = _(
            "Nothing is delivered later, mailed or asked without one. Start `server.py run` or `server.py worker`."
        )
        found.append(Point("worker", _("No worker is up"), text, "/admin/health"))
    return found


async def _warnings(shop: Shop, config: Config, staff_id: int | None) -> list[Point]:
    found = []
    if notifier_for(MAIL, shop.id) is None:
        text = _("Buyers who close their browser get no link to their order.")
        found.append(Point("mail", _("No mail goes out"), text, "/admin/setup/messages"))
    if not await checklist.second_factor_is_on(staff_id):
        text = _("Whoever learns your password can take every code.")
        found.append(Point("second_factor", _("No second factor on your account"), text, "/admin/account"))
    if not (shop.settings.key_kept or config.key_elsewhere):
        text = _("Without %(file)s no backup can be opened.", file=config.master_key_file)
        found.append(Point("key_copy", _("The key may have no copy"), text, "/admin/health#key"))
    backup = await backups.standing()
    if backup.late or backup.last_error:
        text = _("After a broken disk everything would be gone.")
        found.append(Point("backup", _("There is no fresh backup"), text, "/admin/backups"))
    if not shop.settings.support_contact:
        text = _("Buyers see no address to turn to.")
        found.append(Point("contact", _("No contact for buyers"), text, "/admin/settings#shop"))
    address = shops.address(shop.host, config.base_url)
    if urlsplit(address).hostname in AT_HOME:
        text = _("Only this machine reaches %(address)s.", address=address)
        found.append(Point("address", _("Nobody else can come"), text, "/admin/health"))
    return found


async def open_shop(shop: Shop, config: Config, staff_id: int, *, clean: bool) -> None:
    """Leave test mode and let everybody in. ``clean`` takes test orders and demo goods out first.

    :raises Refused: something is in the way.
    """
    if await _blocks(shop, config):
        raise Refused(_("Something is still in the way."))
    await db.transaction(_open, shop, staff_id, clean)
    shops.forget()
    catalog.forget()


async def _open(tx: db.Tx, shop: Shop, staff_id: int, clean: bool) -> None:
    if clean:
        await _clean(tx, shop, staff_id)
    await shops.change(tx, shop.id, test_mode=False)
    await shops.set_settings(tx, shop.id, coming_soon=False, setup_step=0)
    await audit.record(tx, f"staff:{staff_id}", "shop.opened", f"shop:{shop.id}", {"cleaned": clean}, shop_id=shop.id)


async def clean(shop: Shop, staff_id: int) -> None:
    """Take out the test orders and the demo goods alone."""
    await db.transaction(_clean, shop, staff_id)
    catalog.forget()


async def _clean(tx: db.Tx, shop: Shop, staff_id: int) -> None:
    orders = await trials.take_out(tx, shop.id)
    if shop.id == await tx.fetchval("SELECT min(id) FROM shops_shop"):
        await demo.take_out(tx)
    detail = {"orders": orders}
    await audit.record(tx, f"staff:{staff_id}", "shop.trials_removed", f"shop:{shop.id}", detail, shop_id=shop.id)
