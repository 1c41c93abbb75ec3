"""The way from a fresh install to an open shop: what is done, and what waits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from core import db
from core.admin import setup
from core.backup import service as backups
from core.messages.events import MAIL
from core.messages.service import notifier_for
from core.payments import offer
from core.shops.service import Shop, ShopSettings
from core.web.i18n import Text, _

DONE = """
SELECT EXISTS (SELECT 1 FROM catalog_product WHERE shop_id = $1 AND NOT demo) AS product,
       EXISTS (SELECT 1 FROM vault_batch WHERE shop_id = $1 AND NOT demo AND state = 'ready') AS codes,
       EXISTS (SELECT 1 FROM people_staff WHERE id = $2 AND totp_secret IS NOT NULL)
           OR EXISTS (SELECT 1 FROM people_passkey WHERE staff_id = $2) AS second_factor,
       EXISTS (SELECT 1 FROM site_look WHERE shop_id = $1 AND published_at IS NOT NULL) AS look
"""
PLAIN = ShopSettings()


@dataclass(frozen=True, slots=True)
class Step:
    """``right`` is the act that takes it; who may not do it reads the step without its link."""

    key: str
    title: Text
    text: Text
    href: str
    done: bool
    right: str


@dataclass(frozen=True, slots=True)
class Checklist:
    """``shown`` is False when all is done or the merchant has put it away. ``setup_step`` is 0 after the set-up."""

    steps: list[Step]
    shown: bool
    setup_step: int

    @property
    def setup_address(self) -> str:
        return setup.address(self.setup_step)

    @property
    def done(self) -> int:
        return sum(step.done for step in self.steps)


def takes_real_money(shop: Shop) -> bool:
    """Whether a way to pay is on that brings money from outside, in the shop's currency."""
    return bool(offer.offers(shop.id, shop.currency, test_mode=False))


def has_own_look(shop: Shop) -> bool:
    """Whether anybody has taken another theme, or written what stands on every page."""
    said = (shop.settings.announcement, shop.settings.footer, shop.settings.support_contact)
    return shop.theme != "market" or said != (PLAIN.announcement, PLAIN.footer, PLAIN.support_contact)


async def second_factor_is_on(staff_id: int | None) -> bool:
    row: Any = await db.fetchrow(DONE, 0, staff_id)
    return bool(row["second_factor"])


STEPS: tuple[tuple[str, Text, Text, str, str], ...] = (
    (
        "product",
        _("Add your own product"),
        _("A page in the shop with a name, a picture and prices."),
        "/admin/products/new",
        "products.edit",
    ),
    (
        "codes",
        _("Import codes"),
        _("From a file or by pasting; you see first what would happen."),
        "/admin/stock/import",
        "stock.import",
    ),
    (
        "payment",
        _("Connect a real payment"),
        _("Switch on a payment method and enter your account."),
        "/admin/setup/payments",
        "plugins.edit",
    ),
    (
        "mail",
        _("Set up mail"),
        _("So that buyers get the link to their order."),
        "/admin/setup/messages",
        "plugins.edit",
    ),
    (
        "second_factor",
        _("Protect your account"),
        _("Two-step sign-in with an authenticator app, or a passkey."),
        "/admin/account",
        "any",
    ),
    (
        "look",
        _("Give the shop its look"),
        _("Theme, announcement, footer, and how buyers reach you."),
        "/admin/themes",
        "settings.edit",
    ),
    (
        "backups",
        _("Plan backups"),
        _("Sealed, every day, and by hand whenever you like."),
        "/admin/backups",
        "backups.manage",
    ),
    (
        "live",
        _("Open the shop"),
        _("One page that says what is still in the way."),
        "/admin/go-live",
        "settings.edit",
    ),
)
"""Key, title, text, address and right of each step."""


async def of(shop: Shop, staff_id: int | None) -> Checklist:
    done = await _done(shop, staff_id)
    steps = [Step(key, title, text, href, done[key], right) for key, title, text, href, right in STEPS]
    left = any(not step.done for step in steps)
    return Checklist(steps, left and not shop.settings.checklist_hidden, shop.settings.setup_step)


async def _done(shop: Shop, staff_id: int | None) -> dict[str, bool]:
    found: Any = await db.fetchrow(DONE, shop.id, staff_id)
    backup = await backups.standing()
    return {
        "product": found["product"],
        "codes": found["codes"],
        "payment": takes_real_money(shop),
        "mail": notifier_for(MAIL, shop.id) is not None,
        "second_factor": found["second_factor"],
        "look": found["look"] or has_own_look(shop),
        "backups": backup.planned and not backup.last_error,
        "live": not shop.test_mode and not shop.settings.coming_soon,
    }
