"""What the DNS says about mails that come from a domain."""

from __future__ import annotations

from typing import Any

from dns.asyncresolver import Resolver
from dns.exception import DNSException
from dns.resolver import NXDOMAIN, NoAnswer

DNS_SECONDS = 5.0

Answer = tuple[str, dict[str, Any]]
"""A word of :mod:`core.admin.outside_words`, and what its sentence says."""


async def judge(domain: str, resolver: Resolver | None = None) -> Answer:
    """Without ``resolver`` that of the machine is asked."""
    try:
        ask = resolver or Resolver()
        spf = [text for text in await _texts(ask, domain) if text.lower().split(" ")[0] == "v=spf1"]
        dmarc = await _dmarc(ask, domain)
    except (DNSException, OSError) as error:
        return "away", {"domain": domain, "why": type(error).__name__}
    return _judged(domain, spf, dmarc)


def _judged(domain: str, spf: list[str], dmarc: str) -> Answer:
    facts = {"domain": domain, "dmarc": dmarc}
    if len(spf) > 1:
        return "spf_twice", facts
    if spf and any(word in ("all", "+all") for word in spf[0].lower().split()):
        return "spf_open", facts
    if spf and dmarc:
        return "fine", facts
    return ("no_dmarc" if spf else "no_spf" if dmarc else "neither"), facts


async def _dmarc(ask: Resolver, domain: str) -> str:
    """The policy for a domain: its own, else the one of a domain above."""
    labels = domain.split(".")
    for start in range(len(labels) - 1):
        for text in await _texts(ask, f"_dmarc.{'.'.join(labels[start:])}"):
            if text.replace(" ", "").lower().startswith("v=dmarc1"):
                return text[:300]
    return ""


async def _texts(ask: Resolver, name: str) -> list[str]:
    try:
        answer = await ask.resolve(name, "TXT", lifetime=min(DNS_SECONDS, ask.lifetime), search=False)
    except (NXDOMAIN, NoAnswer):
        return []
    return [b"".join(record.strings).decode("utf-8", "replace") for record in answer]
