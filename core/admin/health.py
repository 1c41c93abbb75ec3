"""How the shop is doing, for people: the checks of the doctor, why each matters, and where to mend it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from core import db
from core.admin import doctor
from core.admin.checks import Check, State
from core.audit import service as audit
from core.config import Config
from core.hooks import runtime
from core.hooks.manager import State as PluginState
from core.shops import service as shops
from core.web.i18n import Text, _

WORST_FIRST = {"fail": 0, "warn": 1, "ok": 2}

ABOUT: dict[str, tuple[Text, Text, str]] = {
    "request": (_("Address"), _("Links in mails and calls of gateways go to the shop's own address."), ""),
    "address": (_("Encryption"), _("Without https everyone on the way reads passwords and codes."), ""),
    "proxy": (_("Proxy"), _("Limits count per visitor, so the shop must know who is who."), ""),
    "callback": (_("Calls from payment services"), _("They say here that somebody has paid."), ""),
    "stream": (_("Live pages"), _("An order's page shows by itself that it is paid."), ""),
    "dns": (_("Sender of mails"), _("Large mail providers look there before they take a mail."), ""),
    "disk": (_("Disk"), _("A full disk stops the database."), ""),
    "key": (_("Master key"), _("Without it no stored code can ever be read."), ""),
    "key copy": (
        _("Copy of the key"),
        _("When this machine breaks, only a copy of the key opens the backups."),
        "#key",
    ),
    "valkey": (_("Valkey"), _("It rings for jobs; without it they start a little later."), ""),
    "database": (_("Database"), _("Everything is in it."), ""),
    "clock": (_("Clock"), _("Reservations and links end by it."), ""),
    "tables": (_("Tables"), _("They must fit the program."), ""),
    "keyring": (_("Keys of the shop"), _("They seal and open the codes."), ""),
    "stock": (_("Stock"), _("Codes that do not open cannot be delivered."), ""),
    "unlocked": (_("Processes"), _("One without the key delivers nothing."), ""),
    "worker": (_("Worker"), _("It delivers, sends mail and asks gateways."), "/admin/jobs"),
    "jobs": (_("Queue"), _("What waits here reaches buyers late."), "/admin/jobs?state=failed"),
    "scheduled": (_("Scheduled jobs"), _("They close unpaid orders, ask gateways, make backups."), "/admin/jobs"),
    "audit": (_("Audit log"), _("Its chain shows that nobody has changed it."), "/admin/audit"),
    "ledger": (_("Books"), _("Balances must be what their entries say."), "/admin/books"),
    "suppliers": (_("Suppliers"), _("What they sell can only be delivered while they answer."), "/admin/supply"),
    "notes": (_("Delivery notes"), _("They tell buyers how to use what they bought."), "/admin/products"),
    "plugins": (_("Plugins"), _("One that failed delivers nothing until it is mended."), "/admin/plugins"),
    "mail": (_("Mail"), _("Buyers find their orders again by mail."), "/admin/setup/messages"),
    "backup": (_("Backup"), _("The only way back after a broken disk or a mistake."), "/admin/backups"),
    "mode": (_("Opening"), _("In test mode codes cost nothing."), "/admin/go-live"),
}
"""By the name of a check: its title, why it matters, and the page where it is mended."""


@dataclass(frozen=True, slots=True)
class Seen:
    """How the request of now reached us. ``forwarded_by`` is a proxy that is not trusted; empty when all is well."""

    origin: str
    ip: str
    forwarded_by: str = ""


@dataclass(frozen=True, slots=True)
class Found:
    name: str
    state: State
    text: Text | str
    advice: Text | str
    title: Text | str
    why: Text | str
    href: str
    at: datetime | None = None


async def look(config: Config, seen: Seen) -> list[Found]:
    """Every check, the worst first."""
    checks = [_request(config, seen), _proxy(seen), *await every_check(config)]
    return sorted((_found(check) for check in checks), key=lambda found: WORST_FIRST[found.state])


async def every_check(config: Config) -> list[Check]:
    """All that can be said whoever asks."""
    checks = [*await doctor.of_machine(config), _plugins()]
    return [*checks, *[check async for check in doctor.in_database(config)]]


def _found(check: Check) -> Found:
    title, why, href = ABOUT.get(check.name, (check.name, "", ""))
    return Found(check.name, check.state, check.text, check.advice, title, why, href, check.at)


def _request(config: Config, seen: Seen) -> Check:
    if seen.origin == config.base_url:
        return Check("request", "ok", _("you came by %(address)s, which is the shop's own", address=seen.origin))
    text = _("you came by %(here)s, but the shop calls itself %(base)s", here=seen.origin, base=config.base_url)
    advice = _("Set VOUCHSAFE_BASE_URL to the address people use, or pass Host and X-Forwarded-Proto on.")
    return Check("request", "warn", text, advice)


def _proxy(seen: Seen) -> Check:
    if seen.forwarded_by:
        text = _("%(proxy)s passes visitors on but is not trusted: all of them look like one", proxy=seen.forwarded_by)
        advice = _("Set VOUCHSAFE_TRUSTED_PROXIES=%(proxy)s and start the shop again.", proxy=seen.forwarded_by)
        return Check("proxy", "fail", text, advice)
    return Check("proxy", "ok", _("you are seen as %(ip)s", ip=seen.ip))


def _plugins() -> Check:
    troubled = (PluginState.FAILED, PluginState.INCOMPATIBLE, PluginState.NEEDS_SETTINGS)
    plugins = runtime.current()
    ill = [one.id for one in plugins.plugins if one.state in troubled]
    if plugins.safe_mode:
        return Check(
            "plugins", "warn", _("the shop was started without plugins"), _("Start it without VOUCHSAFE_PLUGINS.")
        )
    if ill:
        text = _("these do not work: %(names)s", names=", ".join(ill))
        return Check("plugins", "warn", text, _("Look at their pages."))
    on = sum(one.state is PluginState.ACTIVE for one in plugins.plugins)
    return Check("plugins", "ok", _("%(number)s are on, all well", number=on))


async def keep_key(shop_id: int, staff_id: int) -> None:
    """Somebody says that a copy of the master key lies in another place."""

    async def write(tx: db.Tx) -> None:
        await shops.set_settings(tx, shop_id, key_kept=True)
        await audit.record(tx, f"staff:{staff_id}", "key.copy_confirmed", "key")

    await db.transaction(write)
    shops.forget()
