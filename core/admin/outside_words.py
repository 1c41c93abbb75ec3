"""What was seen from outside, in sentences, each with what to do."""

from __future__ import annotations

from urllib.parse import urlsplit

from core.admin import outside
from core.admin.checks import Check, State
from core.web.i18n import Text, _

AT_HOME = ("127.0.0.1", "localhost", "::1")
DKIM = _("DKIM cannot be seen from here: send yourself a mail and look for dkim=pass in its headers.")

Said = tuple[State, Text, Text | str]

SAYS: dict[tuple[str, str], Said] = {
    ("callback", "reached"): ("ok", _("%(address)s answers as a payment service would call it"), ""),
    ("callback", "home"): ("ok", _("%(address)s answers, but only this machine can call it"), ""),
    ("callback", "redirected"): (
        "fail",
        _("%(address)s sends callers on to %(to)s"),
        _("Payment services do not follow: set VOUCHSAFE_BASE_URL to the address it sends them to."),
    ),
    ("callback", "other"): (
        "fail",
        _("something else answers at %(address)s, with %(status)s"),
        _("Let the proxy pass everything on, and let no firewall or bot check stand before addresses below /pay/."),
    ),
    ("callback", "unreachable"): (
        "warn",
        _("%(address)s could not be reached from here: %(why)s"),
        _(
            "Look at DNS, firewall and certificate. Some routers let no machine call itself by its outer address: then"
            " open the address from another network; if the shop comes, all is well."
        ),
    ),
    ("callback", "silent"): (
        "warn",
        _("%(address)s did not answer in time"),
        _("Look at the firewall and the proxy: what payment services report would be lost in the same way."),
    ),
    ("stream", "live"): ("ok", _("pages that follow an order are told at once"), ""),
    ("stream", "buffered"): (
        "warn",
        _("a proxy keeps back what pages should be told at once"),
        _("Switch its buffering off for text/event-stream: for nginx, `proxy_buffering off;`."),
    ),
    ("stream", "broken"): (
        "warn",
        _("a stream of events does not come through"),
        _("Let the proxy pass on answers of type text/event-stream and not end them early. Pages ask again instead."),
    ),
    ("stream", "skipped"): ("ok", _("looked at once the shop's address answers"), ""),
    ("dns", "fine"): ("ok", _("%(domain)s has SPF and DMARC (%(dmarc)s)"), DKIM),
    ("dns", "nobody"): ("ok", _("no mail is sent that says where it comes from"), ""),
    ("dns", "local"): (
        "warn",
        _("mails come from %(domain)s, which is no domain"),
        _("Give the mail settings a sender at your own domain."),
    ),
    ("dns", "away"): (
        "warn",
        _("the DNS did not answer about %(domain)s: %(why)s"),
        _("Look at the machine's name servers."),
    ),
    ("dns", "neither"): (
        "warn",
        _("%(domain)s has neither SPF nor DMARC: mails land among spam"),
        _("Add the SPF record your mail provider names, and a TXT record _dmarc.%(domain)s with “v=DMARC1; p=none”."),
    ),
    ("dns", "no_spf"): (
        "warn",
        _("%(domain)s has no SPF record: mails may land among spam"),
        _("Add the TXT record your mail provider names; it begins with “v=spf1”."),
    ),
    ("dns", "no_dmarc"): (
        "warn",
        _("%(domain)s has no DMARC record: large mail providers may refuse mails"),
        _("Add a TXT record _dmarc.%(domain)s with “v=DMARC1; p=none”."),
    ),
    ("dns", "spf_twice"): (
        "warn",
        _("%(domain)s has more than one SPF record, so that none counts"),
        _("Make one of them."),
    ),
    ("dns", "spf_open"): (
        "warn",
        _("the SPF record of %(domain)s lets everybody send as you"),
        _("End it with “~all” or “-all”."),
    ),
}


async def checks(base_url: str) -> list[Check]:
    """What was found last; nothing is looked at now."""
    known = await outside.found(base_url)
    return [_check(name, known.get(name)) for name in outside.NAMES]


def _check(name: str, looked: outside.Looked | None) -> Check:
    if looked is None:
        return Check(name, "ok", _("not looked at yet; a worker does so within minutes"))
    home = looked.outcome == "reached" and urlsplit(looked.facts["address"]).hostname in AT_HOME
    state, text, advice = SAYS[name, "home" if home else looked.outcome]
    return Check(name, state, _filled(text, looked), _filled(advice, looked) if advice else "", looked.at)


def _filled(text: Text | str, looked: outside.Looked) -> Text | str:
    return _(text.message, **looked.facts) if looked.facts and isinstance(text, Text) else text
