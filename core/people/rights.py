"""The one table of what staff may do: every act, in words, with the roles it is given to.

A route says ``staff:<act>`` and does not start when the act is not here; tests and the staff page read it too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from core.web.i18n import Text, _

ROLES = ("owner", "manager", "stock", "support", "finance", "readonly")

ROLE_NAMES: dict[str, Text] = {
    "owner": _("Owner"),
    "manager": _("Manager"),
    "stock": _("Stock clerk"),
    "support": _("Support"),
    "finance": _("Finance"),
    "readonly": _("Read only"),
}

ANY = "any"
"""What everybody on the staff may: their own account."""


@dataclass(frozen=True, slots=True)
class Right:
    act: str
    words: Text
    roles: frozenset[str]
    whole_server: bool = False
    """Touches what all shops share, so that only staff of the main shop may."""


def _right(act: str, words: Text, *others: str, whole_server: bool = False) -> Right:
    """The owner may everything; ``others`` name who else may."""
    return Right(act, words, frozenset({"owner", *others}), whole_server)


RIGHTS: dict[str, Right] = {
    right.act: right
    for right in (
        _right("dashboard.read", _("See the start page"), *ROLES),
        _right("insight.read", _("See what was sold"), "manager", "finance", "readonly"),
        _right("orders.read", _("See orders"), "manager", "support", "finance", "readonly"),
        _right("orders.cancel", _("Cancel unpaid orders"), "manager", "support"),
        _right("orders.confirm_paid", _("Confirm a payment by hand"), "manager", "support"),
        _right("orders.note", _("Write notes on orders"), "manager", "support"),
        _right("orders.ask", _("Ask gateways about payments, give orders more time"), "manager", "support", "finance"),
        _right("orders.contact", _("Change how the buyer of an order is reached"), "manager", "support"),
        _right("orders.trace", _("Take the whole trace of an order along as a file"), "manager", "support", "finance"),
        _right("orders.resend", _("Send order mails again"), "manager", "support"),
        _right("payments.read", _("See payments"), "manager", "support", "finance", "readonly"),
        _right("refunds.ask", _("Give money back, or ask for it"), "manager", "support", "finance"),
        _right("refunds.approve", _("Approve what somebody else wants to give back"), "manager", "finance"),
        _right("refunds.won", _("Book the money of disputes that were won"), "manager", "finance"),
        _right("balance.read", _("See the balances of buyers"), "manager", "support", "finance"),
        _right("balance.edit", _("Put balance in and take it out"), "manager", "finance"),
        _right("partners.read", _("See partners, the programs that buy"), "manager", "finance"),
        _right("partners.edit", _("Make partners, their keys and prices")),
        _right("finance.read", _("See the books"), "manager", "finance"),
        _right("review.read", _("See what waits for a decision"), "manager", "support", "finance", "readonly"),
        _right("review.decide", _("Decide what waits"), "manager", "support", "finance"),
        _right("products.read", _("See products"), "manager", "stock", "support", "readonly"),
        _right("products.edit", _("Change products and prices"), "manager", "stock"),
        _right("stock.read", _("See how many codes are in stock"), "manager", "stock", "support", "readonly"),
        _right("stock.import", _("Bring in codes"), "manager", "stock"),
        _right("stock.undo", _("Take a batch of codes out again"), "manager", "stock"),
        _right("codes.reveal", _("Look at a code in plain text"), "manager"),
        _right("codes.hold", _("Set suspect codes aside, put them back, write them off"), "manager", "stock"),
        _right("codes.replace", _("Give a new code for a bad one"), "manager", "support"),
        _right("codes.export", _("Ask for exports of codes, approve those of others"), "manager"),
        _right("codes.generate", _("Make codes of the shop's own"), "manager", "stock"),
        _right("codes.print", _("Print codes of the shop's own"), "manager"),
        _right("codes.redeem", _("Look at codes at the till and redeem them"), "manager", "support"),
        _right("codes.void", _("Void codes of the shop's own"), "manager"),
        _right("supply.read", _("See suppliers and their offers"), "manager", "stock", whole_server=True),
        _right("supply.edit", _("Sell what suppliers offer, set its prices"), "manager", "stock", whole_server=True),
        _right("purchases.read", _("See what was bought from suppliers"), "manager", "stock", "support", "finance"),
        _right("purchases.decide", _("Decide about purchases, hand goods over"), "manager", "support"),
        _right("messages.read", _("See messages"), "manager", "support", "readonly"),
        _right("messages.send", _("Send messages again"), "manager", "support"),
        _right("messages.edit", _("Change the texts of messages"), "manager", "support"),
        _right("audit.read", _("See the audit log and alarms"), "manager", "finance"),
        _right("lists.export", _("Export lists"), "manager", "finance"),
        _right("settings.read", _("See settings"), "manager"),
        _right("settings.edit", _("Change settings"), "manager"),
        _right("limits.set", _("Say above which amount it takes two people, and put more than that into balances")),
        _right("setup.run", _("Go through the set-up"), whole_server=True),
        _right("health.read", _("See how the shop is doing"), "manager", whole_server=True),
        _right("demo.edit", _("Put demo products in and take them out"), "manager", whole_server=True),
        _right("jobs.read", _("See jobs"), "manager", whole_server=True),
        _right("jobs.edit", _("Try jobs again and cancel them"), "manager", whole_server=True),
        _right("backups.manage", _("Make and fetch backups"), whole_server=True),
        _right("plugins.read", _("See plugins"), "manager", whole_server=True),
        _right("plugins.edit", _("Switch plugins on, change their settings"), whole_server=True),
        _right("keys.manage", _("Make and withdraw keys for programs")),
        _right("staff.manage", _("Invite staff, change roles, end sessions")),
    )
}


_of_plugins: dict[str, Right] = {}


def of_plugins(rights: Mapping[str, Right]) -> None:
    """From now on these are the acts on pages of plugins."""
    global _of_plugins
    _of_plugins = dict(rights)


def everything() -> list[Right]:
    """The table, and behind it what the plugins that are on add to it."""
    return [*RIGHTS.values(), *_of_plugins.values()]


def may(role: str | None, act: str, *, whole_server: bool = True) -> bool:
    """Whether the role may do the act; nobody may what the table does not know."""
    right = RIGHTS.get(act) or _of_plugins.get(act)
    return right is not None and role in right.roles and (whole_server or not right.whole_server)


def called(act: str) -> Text | str:
    """The act in words, as the page of the staff names it."""
    right = RIGHTS.get(act) or _of_plugins.get(act)
    return right.words if right is not None else act
