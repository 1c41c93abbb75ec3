"""Who really called: forwarded headers count only when a proxy named in the settings set them."""

from __future__ import annotations

import functools
import re
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

HOST = re.compile(r"^(?:[A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(?::\d{1,5})?$")


class Proxies:
    """``names`` are addresses or networks (``10.0.0.2``, ``172.16.0.0/12``), or ``unix`` for a local socket."""

    def __init__(self, names: tuple[str, ...]) -> None:
        self._unix = "unix" in names
        self._networks: list[IPv4Network | IPv6Network] = [ip_network(name) for name in names if name != "unix"]
        self.trusts = functools.lru_cache(maxsize=1024)(self._trusts)

    def _trusts(self, address: str | None) -> bool:
        if address is None:
            return self._unix
        try:
            parsed = ip_address(address)
        except ValueError:
            return False
        return any(parsed in network for network in self._networks)

    def client(self, peer: str | None, forwarded_for: str) -> str:
        """Walk the chain from the nearest hop outwards and stop at the first one nobody vouches for."""
        address = peer
        for hop in reversed(forwarded_for.split(",")):
            if not self.trusts(address):
                break
            hop = hop.strip().removeprefix("[").removesuffix("]")
            try:
                address = plain(str(ip_address(hop)))
            except ValueError:
                break
        return address or "127.0.0.1"


@functools.lru_cache(maxsize=1024)
def plain(address: str) -> str:
    """An IPv4 address as everybody writes it, though it came in at a socket for IPv6 too (``::ffff:203.0.113.1``)."""
    if not address.lower().startswith("::ffff:"):
        return address
    mapped = IPv6Address(address).ipv4_mapped
    return str(mapped or address)


def visitor(address: str) -> str:
    """Who is counted as one: whoever has an IPv6 address has a whole /64 of them."""
    try:
        return str(IPv6Network(f"{address}/64", strict=False))
    except ValueError:
        return address


def last(value: str) -> str:
    """The value the nearest proxy wrote."""
    return value.rsplit(",", 1)[-1].strip()


def good_host(host: str) -> bool:
    return HOST.match(host) is not None
