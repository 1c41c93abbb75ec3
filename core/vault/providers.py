"""Who keeps the master key: a file or the environment here, or the transit engine of an OpenBao or Vault server.

A provider wraps the few keys of the keyring, never codes. Another one (a cloud's KMS, a hardware module) comes as an
installed package with the four members of :class:`Provider`, named by ``VOUCHSAFE_KEY_PROVIDER``.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
import ssl
from collections.abc import Callable, Sequence
from functools import partial
from importlib import metadata
from typing import TYPE_CHECKING, Any, Protocol

from core.config import Config, Transit
from core.vault import keys
from core.vault.aead import DecryptError, VersionKey, fields
from core.vault.keys import KeyFileError, MasterKey

if TYPE_CHECKING:
    import httpx

GROUP = "vouchsafe.key_providers"
"""Entry points of a package: ``acme-kms = "vouchsafe_acme:make"``, where ``make()`` gives a :class:`Provider`."""
AAD = fields("keyring")
SECONDS = 5.0
MOST_BYTES = 1 << 20


class KeyAway(Exception):
    """The provider does not do it now. The text says why and what to do; it never holds a key or a token."""


class Provider(Protocol):
    """Keeps the master key and wraps the keys of the keyring with it.

    Each call takes a few short secrets (some tens of bytes each) and gives as many answers in the same order, within
    five seconds. It may come again at any time; ``unwrap`` comes several times a minute and changes nothing.

    :raises KeyAway: it cannot be done now; the text tells staff why and what to do, and holds neither key nor token.
        The shop goes on selling, shows no code, and asks again.
    """

    name: str
    """Written beside what it wrapped, to know who opens it. For a package, the name of its entry point."""

    async def wrap(self, secrets: Sequence[bytes]) -> list[bytes]:
        """Sealed under the newest master key, with authentication: an altered answer must not unwrap."""
        ...

    async def unwrap(self, wrapped: Sequence[bytes]) -> list[bytes]:
        """What was sealed, under whichever of its master keys."""
        ...

    async def rewrap(self, wrapped: Sequence[bytes]) -> list[bytes]:
        """The same under the newest master key of this provider."""
        ...


def providers(config: Config) -> list[Provider]:
    """The first one wraps; each opens what it once wrapped."""
    local = Local(partial(keys.load, config))
    if config.key_provider:
        return [Installed(config.key_provider), local]
    return [TransitEngine(config.transit), local] if config.transit else [local]


class Local:
    """The key in a file or in the environment. It may hold several: the first wraps, all of them open."""

    name = "local"

    def __init__(self, load: Callable[[], list[MasterKey]]) -> None:
        self._load = load

    def masters(self) -> list[MasterKey]:
        try:
            return self._load()
        except KeyFileError as error:
            raise KeyAway(str(error)) from None

    def _keys(self) -> list[VersionKey]:
        return [VersionKey(master.secret, 0, "vault/keyring") for master in self.masters()]

    async def wrap(self, secrets: Sequence[bytes]) -> list[bytes]:
        first = self._keys()[0]
        return [first.seal(secret, AAD) for secret in secrets]

    async def unwrap(self, wrapped: Sequence[bytes]) -> list[bytes]:
        known = self._keys()
        return [_opened(known, blob) for blob in wrapped]

    async def rewrap(self, wrapped: Sequence[bytes]) -> list[bytes]:
        return await self.wrap(await self.unwrap(wrapped))


def _opened(known: Sequence[VersionKey], blob: bytes) -> bytes:
    for key in known:
        try:
            return key.open(blob, AAD)
        except DecryptError:
            continue
    raise KeyAway("the keyring of this shop was sealed with another master key: put the right one back")


class Installed:
    """What a package brings. Whatever goes wrong in it leaves the shop without its key, never without itself."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._keeper: Provider | None = None

    async def wrap(self, secrets: Sequence[bytes]) -> list[bytes]:
        return await self._ask("wrap", secrets)

    async def unwrap(self, wrapped: Sequence[bytes]) -> list[bytes]:
        return await self._ask("unwrap", wrapped)

    async def rewrap(self, wrapped: Sequence[bytes]) -> list[bytes]:
        return await self._ask("rewrap", wrapped)

    async def _ask(self, act: str, given: Sequence[bytes]) -> list[bytes]:
        try:
            async with asyncio.timeout(SECONDS):
                found = await getattr(self._made(), act)(list(given))
        except KeyAway:
            raise
        except Exception as error:  # noqa: BLE001  its text may hold what nobody may read
            raise KeyAway(f"the key provider {self.name} failed at {act} ({type(error).__name__})") from None
        if not isinstance(found, list) or list(map(type, found)) != [bytes] * len(given):
            raise KeyAway(f"the key provider {self.name} gave an answer to {act} that nobody can read")
        return found

    def _made(self) -> Provider:
        if self._keeper is None:
            points = metadata.entry_points(group=GROUP)
            if self.name not in points.names:
                names = ", ".join(sorted(points.names)) or "none"
                raise KeyAway(f"no key provider {self.name} is installed; installed are: {names}")
            self._keeper = points[self.name].load()()
        return self._keeper


class TransitEngine:
    """Encrypt, decrypt and rewrap of the transit engine, whose key never leaves that server."""

    name = "transit"

    def __init__(self, transit: Transit, seconds: float = SECONDS) -> None:
        self._transit = transit
        self._seconds = seconds
        self._tls = ssl.create_default_context(cafile=transit.ca_file) if transit.url.startswith("https") else True

    async def wrap(self, secrets: Sequence[bytes]) -> list[bytes]:
        sent = [{"plaintext": base64.b64encode(secret).decode()} for secret in secrets]
        return [_text(item, "ciphertext").encode() for item in await self._call("encrypt", sent)]

    async def unwrap(self, wrapped: Sequence[bytes]) -> list[bytes]:
        sent = [{"ciphertext": blob.decode("ascii", "replace")} for blob in wrapped]
        return [_decoded(_text(item, "plaintext")) for item in await self._call("decrypt", sent)]

    async def rewrap(self, wrapped: Sequence[bytes]) -> list[bytes]:
        sent = [{"ciphertext": blob.decode("ascii", "replace")} for blob in wrapped]
        return [_text(item, "ciphertext").encode() for item in await self._call("rewrap", sent)]

    async def _call(self, act: str, batch: list[dict[str, str]]) -> list[Any]:
        import httpx  # a fifth of a second that a shop with a key file need not wait

        place = self._transit
        headers = {"X-Vault-Token": self._token(), "X-Vault-Request": "true"}
        if place.namespace:
            headers["X-Vault-Namespace"] = place.namespace
        try:
            async with httpx.AsyncClient(timeout=self._seconds, verify=self._tls, trust_env=False) as client:
                answer = await client.post(
                    f"{place.url}/v1/{place.mount}/{act}/{place.key}", json={"batch_input": batch}, headers=headers
                )
        except (httpx.HTTPError, OSError) as error:
            raise KeyAway(f"the transit engine at {place.url} does not answer ({type(error).__name__})") from None
        return _results(answer, act, len(batch))

    def _token(self) -> str:
        """Read anew each time: an agent beside us may renew it."""
        if self._transit.token:
            return self._transit.token
        try:
            text = self._transit.token_file.read_text().strip() if self._transit.token_file else ""
        except (OSError, UnicodeDecodeError) as error:
            raise KeyAway(
                f"the token file {self._transit.token_file} cannot be read ({type(error).__name__})"
            ) from None
        if not text or not text.isascii() or not text.isprintable():
            raise KeyAway(f"the token file {self._transit.token_file} holds no token")
        return text


def _results(answer: httpx.Response, act: str, count: int) -> list[Any]:
    try:
        body = json.loads(answer.content) if len(answer.content) <= MOST_BYTES else None
    except ValueError:
        body = None
    body = body if isinstance(body, dict) else {}
    if answer.status_code != 200:
        raise KeyAway(_refusal(answer.status_code, act, body))
    data = body.get("data")
    found = data.get("batch_results") if isinstance(data, dict) else None
    if not isinstance(found, list) or len(found) != count:
        raise KeyAway(f"the transit engine gave an answer to {act} that nobody can read")
    return found


def _refusal(status: int, act: str, body: dict[str, Any]) -> str:
    """Its own words only where they are known to hold nothing but words."""
    errors = body.get("errors")
    said = "; ".join(str(one)[:200] for one in errors[:3]) if isinstance(errors, list) else ""
    if status == 503 and "sealed" in said.lower():
        return "the transit engine is sealed: unseal it"
    if status == 403:
        return f"the transit engine refuses the token for {act}: renew it, or look at its policy"
    if status == 404:
        return "there is no transit engine or no such key at that address"
    return f"the transit engine answered {status} to {act}{f': {said}' if said else ''}"


def _text(item: Any, name: str) -> str:
    found = item.get(name) if isinstance(item, dict) and not item.get("error") else None
    if not isinstance(found, str) or not found.isascii():
        raise KeyAway("the transit engine could not do it for one of the keys: is it the right transit key?")
    return found


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise KeyAway("the transit engine gave an answer that nobody can read") from None
