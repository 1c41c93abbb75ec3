"""How many in how many minutes, and what then: one line of three for each thing that is counted."""

from __future__ import annotations

from typing import Any, Literal

from core.api import PluginSettings, _, setting

Then = Literal["off", "score", "review", "refuse"]
THEN = {
    "off": _("Do not count this"),
    "score": _("Add points"),
    "review": _("A person decides"),
    "refuse": _("Refuse the order"),
}


def _most(title: Any, default: int, help: Any = "") -> Any:
    return setting(title, help=help, default=default, ge=1, le=499)


def _minutes(default: int) -> Any:
    return setting(_("in so many minutes"), default=default, ge=1, le=43_200)


def _then(default: Then) -> Any:
    return setting(_("one more, then"), default=default, choices=THEN)


class Settings(PluginSettings):
    only_note: bool = setting(
        _("Only note"),
        help=_("Write down what it finds, without any effect. Watch it so for some days before it bites."),
        default=False,
    )
    points: int = setting(
        _("Points"), help=_("For each count that is exceeded and adds points."), default=30, ge=1, le=100
    )
    contact_orders: int = _most(_("Orders of one e-mail address or phone number"), 5)
    contact_minutes: int = _minutes(60)
    contact_then: Then = _then("score")
    account_orders: int = _most(
        _("Orders of one account"), 5, _("An account is an e-mail address the browser has proven to own.")
    )
    account_minutes: int = _minutes(60)
    account_then: Then = _then("score")
    device_orders: int = _most(
        _("Orders of one browser"), 5, _("Told by the cookie that lets buyers find their orders again.")
    )
    device_minutes: int = _minutes(60)
    device_then: Then = _then("score")
    address_orders: int = _most(_("Orders from one address"), 20, _("A school or a phone company may share one."))
    address_minutes: int = _minutes(60)
    address_then: Then = _then("score")
    network_orders: int = _most(
        _("Orders from one network"), 60, _("The 256 addresses around an IPv4 address, the /64 of an IPv6 address.")
    )
    network_minutes: int = _minutes(60)
    network_then: Then = _then("score")
    contacts: int = _most(_("Different contacts in one browser"), 3)
    contacts_minutes: int = _minutes(1440)
    contacts_then: Then = _then("review")
    failed: int = _most(_("Failed payments of one browser"), 5, _("As the gateways tell them; many tell none."))
    failed_minutes: int = _minutes(60)
    failed_then: Then = _then("score")
