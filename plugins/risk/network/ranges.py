"""Reading lists of networks: one on each line, as they are published everywhere."""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

Address = IPv4Address | IPv6Address
COMMENT = re.compile(r"[#;].*")
BETWEEN = re.compile(r"[\s,]+")


@dataclass(frozen=True, slots=True)
class Read:
    """``ranges`` are sorted and do not overlap; ``left_out`` lines were no network."""

    ranges: list[tuple[Address, Address]]
    left_out: int


def read(text: str) -> Read:
    """Networks (``203.0.113.0/24``), addresses and spans (``203.0.113.0-203.0.113.9``); what follows is a note."""
    found: list[tuple[Address, Address]] = []
    left_out = 0
    for line in text.splitlines():
        word = BETWEEN.split(COMMENT.sub("", line).strip(), maxsplit=1)[0]
        if not word:
            continue
        try:
            found.append(ends(word))
        except ValueError:
            left_out += 1
    return Read(_merged(found), left_out)


def ends(text: str) -> tuple[Address, Address]:
    """The first and the last address of a network, an address or a span.

    :raises ValueError: it is none.
    """
    if "%" in text:
        raise ValueError(f"{text} is of one machine alone")
    if "-" in text:
        first, last = (ip_address(part.strip()) for part in text.split("-", 1))
        if first.version != last.version or int(first) > int(last):
            raise ValueError(f"{text} is no span")
        return first, last
    network = ip_network(text.strip(), strict=False)
    return network[0], network[-1]


def _merged(found: list[tuple[Address, Address]]) -> list[tuple[Address, Address]]:
    merged: list[tuple[Address, Address]] = []
    for first, last in sorted(found, key=lambda one: (one[0].version, int(one[0]))):
        if merged and merged[-1][0].version == first.version and int(first) <= int(merged[-1][1]) + 1:
            begin, end = merged[-1]
            merged[-1] = (begin, last if int(last) > int(end) else end)
        else:
            merged.append((first, last))
    return merged
