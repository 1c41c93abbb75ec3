"""What the environment says about this installation; read once, never changed."""

import ipaddress
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from core.terminal import _


class SetupProblem(Exception):
    """This installation cannot do what was asked; the text is for its owner and says what to do."""

    def __init__(self, text: object) -> None:
        super().__init__(str(text))


class ConfigError(SetupProblem):
    """The environment holds a value we cannot use."""


PROVIDER = re.compile(r"[a-z][a-z0-9_-]{0,39}")


@dataclass(frozen=True)
class Transit:
    """The transit engine of an OpenBao or Vault server that holds the master key instead of a file."""

    url: str
    mount: str
    key: str
    token: str | None = field(repr=False)
    token_file: Path | None
    namespace: str | None
    ca_file: Path | None


@dataclass(frozen=True)
class Config:
    home: Path
    host: str
    port: int
    base_url: str
    database_url: str | None = field(repr=False)
    redis_url: str | None = field(repr=False)
    plugins: str
    master_key: str | None = field(repr=False)
    master_key_file: Path
    trusted_proxies: tuple[str, ...]
    web_processes: int
    allow_private_hosts: tuple[str, ...] = ()
    transit: "Transit | None" = None
    key_provider: str = ""
    key_seconds: int = 300

    @classmethod
    def from_env(cls, environ: Mapping[str, str] = os.environ) -> "Config":
        home = _home(environ.get("VOUCHSAFE_HOME") or "data")
        host = environ.get("VOUCHSAFE_HOST") or "127.0.0.1"
        port = _number(environ, "VOUCHSAFE_PORT", 8000, 0, 65535)
        return cls(
            home=home,
            host=host,
            port=port,
            base_url=_base_url(environ.get("VOUCHSAFE_BASE_URL") or own_address(host, port)),
            database_url=_url(environ, "DATABASE_URL", ("postgresql", "postgres")),
            redis_url=_url(environ, "REDIS_URL", ("redis", "rediss", "unix")),
            plugins=_plugins(environ.get("VOUCHSAFE_PLUGINS", "")),
            master_key=environ.get("VOUCHSAFE_MASTER_KEY") or None,
            master_key_file=Path(environ.get("VOUCHSAFE_MASTER_KEY_FILE") or home / "master.key").absolute(),
            trusted_proxies=_networks(environ.get("VOUCHSAFE_TRUSTED_PROXIES", "")),
            web_processes=_number(environ, "VOUCHSAFE_WEB_PROCESSES", 1, 1, 64),
            allow_private_hosts=_names(environ.get("VOUCHSAFE_ALLOW_PRIVATE_HOSTS", "")),
            transit=_transit(environ),
            key_provider=_key_provider(environ),
            key_seconds=_number(environ, "VOUCHSAFE_KEY_SECONDS", 300, 2, 3600),
        )

    @property
    def key_elsewhere(self) -> bool:
        """Whether something outside of this machine's files keeps the master key."""
        return bool(self.transit or self.key_provider or self.master_key)


def own_address(host: str, port: int) -> str:
    """The address a person on this machine types to reach us."""
    if host in ("0.0.0.0", "::"):  # noqa: S104 - compared with, not bound to
        host = "127.0.0.1"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _home(text: str) -> Path:
    home = Path(text).expanduser().absolute()
    try:
        str(home).encode()
    except UnicodeEncodeError:
        raise ConfigError(
            _(
                "The name of the data folder, %(home)s, cannot be read in the character set of this terminal. "
                "Set LC_ALL=C.UTF-8, or VOUCHSAFE_HOME to another folder.",
                home=ascii(str(home)),
            )
        ) from None
    return home


def _number(environ: Mapping[str, str], name: str, default: int, low: int, high: int) -> int:
    text = environ.get(name) or str(default)
    if not (text.isascii() and text.isdigit() and low <= int(text) <= high):
        raise ConfigError(
            _(
                "%(name)s must be a whole number from %(low)s to %(high)s, not %(text)s.",
                name=name,
                low=low,
                high=high,
                text=repr(text),
            )
        )
    return int(text)


def _url(environ: Mapping[str, str], name: str, schemes: tuple[str, ...]) -> str | None:
    text = environ.get(name)
    if not text:
        return None
    if not _readable(text):
        raise ConfigError(
            _(
                "%(name)s cannot be read as an address. In a name or password, @ : / # ? are written "
                "%%40 %%3A %%2F %%23 %%3F.",
                name=name,
            )
        )
    if urlsplit(text).scheme not in schemes:
        raise ConfigError(
            _(
                "%(name)s must start with %(schemes)s.",
                name=name,
                schemes=_(" or ").join(f"{scheme}://" for scheme in schemes),
            )
        )
    return text


def _readable(url: str) -> bool:
    try:
        hosts = urlsplit(url).netloc.rpartition("@")[2]
        for host in hosts.split(","):  # PostgreSQL's may be several
            _port = urlsplit(f"//{host}").port
    except ValueError:
        return False
    return True


def _transit(environ: Mapping[str, str]) -> Transit | None:
    url = _url(environ, "VOUCHSAFE_TRANSIT_URL", ("http", "https"))
    if url is None:
        return None
    parts = urlsplit(url)
    if parts.scheme == "http" and parts.hostname not in ("127.0.0.1", "localhost", "::1"):
        raise ConfigError(_("VOUCHSAFE_TRANSIT_URL must be https://: keys travel over it."))
    mount, _slash, key = (environ.get("VOUCHSAFE_TRANSIT_KEY") or "transit/vouchsafe").strip("/").rpartition("/")
    if not mount or not key:
        raise ConfigError(_("VOUCHSAFE_TRANSIT_KEY must look like transit/vouchsafe: mount, slash, name of the key."))
    token, token_file = environ.get("VOUCHSAFE_TRANSIT_TOKEN"), environ.get("VOUCHSAFE_TRANSIT_TOKEN_FILE")
    if bool(token) == bool(token_file):
        raise ConfigError(_("Set either VOUCHSAFE_TRANSIT_TOKEN_FILE or VOUCHSAFE_TRANSIT_TOKEN."))
    ca_file = environ.get("VOUCHSAFE_TRANSIT_CA_FILE")
    return Transit(
        url=url.rstrip("/"),
        mount=mount,
        key=key,
        token=token or None,
        token_file=Path(token_file).absolute() if token_file else None,
        namespace=environ.get("VOUCHSAFE_TRANSIT_NAMESPACE") or None,
        ca_file=Path(ca_file).absolute() if ca_file else None,
    )


def _key_provider(environ: Mapping[str, str]) -> str:
    name = environ.get("VOUCHSAFE_KEY_PROVIDER") or ""
    if name in ("local", "transit") or (name and not PROVIDER.fullmatch(name)):
        raise ConfigError(_("VOUCHSAFE_KEY_PROVIDER must be the name of an installed key provider, such as acme-kms."))
    if name and environ.get("VOUCHSAFE_TRANSIT_URL"):
        raise ConfigError(_("Set either VOUCHSAFE_KEY_PROVIDER or VOUCHSAFE_TRANSIT_URL: one of them keeps the key."))
    return name


def _base_url(text: str) -> str:
    parts = urlsplit(text if _readable(text) else "")
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.path not in ("", "/") or parts.query:
        raise ConfigError(
            _("VOUCHSAFE_BASE_URL must look like https://shop.example.com, not %(text)s.", text=repr(text))
        )
    return text.rstrip("/")


def _plugins(text: str) -> str:
    if text not in ("", "none"):
        raise ConfigError(
            _("VOUCHSAFE_PLUGINS may only be 'none' (start without plugins) or empty, not %(text)s.", text=repr(text))
        )
    return text


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _networks(text: str) -> tuple[str, ...]:
    names = _names(text)
    for name in names:
        try:
            ipaddress.ip_network(name)
        except ValueError as error:
            raise ConfigError(
                _("VOUCHSAFE_TRUSTED_PROXIES: %(error)s (write addresses or networks, comma between).", error=error)
            ) from None
    return names
