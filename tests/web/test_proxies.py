"""Nobody chooses their own address: forwarded headers count only from proxies named in the settings."""

import logging

import httpx
import pytest

from core.app import create_app
from core.config import Config
from core.web.proxies import Proxies, good_host, plain

from .conftest import served
from .sample import feature as sample


@pytest.mark.parametrize(
    ("trusted", "peer", "forwarded", "client"),
    [
        ((), "203.0.113.1", "198.51.100.9", "203.0.113.1"),
        ((), "127.0.0.1", "198.51.100.9", "127.0.0.1"),
        (("10.0.0.2",), "10.0.0.2", "198.51.100.9", "198.51.100.9"),
        (("10.0.0.2",), "10.0.0.3", "198.51.100.9", "10.0.0.3"),
        (("10.0.0.2",), "10.0.0.2", "1.1.1.1, 198.51.100.9", "198.51.100.9"),
        (("10.0.0.0/8",), "10.0.0.2", "1.1.1.1, 198.51.100.9, 10.9.9.9", "198.51.100.9"),
        (("10.0.0.2",), "10.0.0.2", "", "10.0.0.2"),
        (("10.0.0.2",), "10.0.0.2", "nonsense", "10.0.0.2"),
        (("10.0.0.2",), "10.0.0.2", "1.1.1.1, <script>", "10.0.0.2"),
        (("10.0.0.2",), "10.0.0.2", "[2001:db8::1]", "2001:db8::1"),
        (("10.0.0.2",), "10.0.0.2", "::ffff:198.51.100.9", "198.51.100.9"),
        (("unix",), None, "198.51.100.9", "198.51.100.9"),
        ((), None, "198.51.100.9", "127.0.0.1"),
    ],
)
def test_the_chain_is_walked_from_the_nearest_hop(trusted: tuple[str, ...], peer: str, forwarded: str, client: str):
    assert Proxies(trusted).client(peer, forwarded) == client


@pytest.mark.parametrize("host", ["a b", "a/b", "a@b", "evil.test\r\nx: y", "", "a" * 300, "a:99999999"])
def test_strange_hosts_are_not_taken(host: str):
    assert not good_host(host)


@pytest.mark.parametrize(
    ("came", "address"),
    [
        ("::ffff:203.0.113.1", "203.0.113.1"),
        ("::FFFF:203.0.113.1", "203.0.113.1"),
        ("203.0.113.1", "203.0.113.1"),
        ("2001:db8::1", "2001:db8::1"),
    ],
)
def test_an_address_has_one_name_at_a_socket_for_both_kinds(came: str, address: str):
    assert plain(came) == address


async def _logged_ip(
    environment: dict[str, str], caplog: pytest.LogCaptureFixture, headers: dict[str, str], host: str = "127.0.0.1"
) -> str:
    app = create_app(Config.from_env(environment), names=(), extra_features=[sample])
    async with served(app, host) as site, httpx.AsyncClient(base_url=site) as client:
        with caplog.at_level(logging.INFO, "vouchsafe.access"):
            caplog.clear()
            await client.get("/healthz?k=secret", headers=headers)
    lines = [record.getMessage() for record in caplog.records if record.name == "vouchsafe.access"]
    assert len(lines) == 1
    assert "secret" not in lines[0]
    return lines[0].split(" ")[0]


async def test_a_visitor_cannot_name_an_address(environment: dict[str, str], caplog: pytest.LogCaptureFixture):
    forged = {"x-forwarded-for": "198.51.100.9", "x-real-ip": "198.51.100.9", "forwarded": "for=198.51.100.9"}
    assert await _logged_ip(environment, caplog, forged) == "127.0.0.1"


async def test_a_named_proxy_can(environment: dict[str, str], caplog: pytest.LogCaptureFixture):
    trusting = {**environment, "VOUCHSAFE_TRUSTED_PROXIES": "127.0.0.1"}
    headers = {"x-forwarded-for": "1.1.1.1, 198.51.100.9"}
    assert await _logged_ip(trusting, caplog, headers) == "198.51.100.9"


async def test_a_named_proxy_is_known_at_a_socket_for_both_kinds(
    environment: dict[str, str], caplog: pytest.LogCaptureFixture
):
    """With VOUCHSAFE_HOST=:: every IPv4 address comes written as one of IPv6."""
    trusting = {**environment, "VOUCHSAFE_TRUSTED_PROXIES": "127.0.0.1"}
    assert await _logged_ip(environment, caplog, {}, "::") == "127.0.0.1"
    assert await _logged_ip(trusting, caplog, {"x-forwarded-for": "198.51.100.9"}, "::") == "198.51.100.9"


async def test_a_page_kept_for_http_is_not_given_to_who_comes_by_https(environment: dict[str, str]):
    """Pages name their own address, and a proxy may let the same host be reached both ways."""
    trusting = {**environment, "VOUCHSAFE_TRUSTED_PROXIES": "127.0.0.1"}
    app = create_app(Config.from_env(trusting), names=(), extra_features=[sample])
    async with served(app) as site, httpx.AsyncClient(base_url=site) as client:
        for way in ("http", "https", "http"):
            await client.get("/sample", headers={"x-forwarded-proto": way})
    assert len(app.state.pages) == 2
