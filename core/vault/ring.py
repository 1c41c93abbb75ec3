"""The keys of the vault as one process holds them in memory.

Two kinds, with two lifetimes. What lets a shop take orders, payments and sign-ins (fingerprints, small secrets) stays
for the life of the process once the master key was seen. What opens codes goes ``keep`` seconds after the master key
was last seen: without it nothing is revealed.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping
from typing import TypeVar

from core.refused import NotNow
from core.vault import aead
from core.vault.aead import DecryptError, DropBox, VersionKey

T = TypeVar("T")

# A tenth below the 2^32 random nonces that NIST SP 800-38D allows one AES-GCM key.
MOST_SEALS = 3_865_470_566
MOST_BATCHES = 1024
FOR_EVER = float("inf")


class VaultLocked(NotNow):
    """This process holds no key for that. Nothing was changed; it works again when the key is back."""

    def __init__(self, reason: str = "no master key was loaded") -> None:
        from core.web.i18n import _  # a tenth of a second that the command line need not wait

        super().__init__(
            _("The shop cannot reach the key of its vault right now. Codes and orders are safe."),
            f"the vault is locked: {reason}",
        )


class KeyWorn(VaultLocked):
    """A key has sealed as much as one key may."""

    def __init__(self) -> None:
        super().__init__("a key has reached its limit of encryptions")


class Ring:
    """``versions`` are secrets by number; ``base`` is the one that never changes. Empty: the vault is locked."""

    def __init__(self, base: bytes | None, versions: Mapping[int, bytes], active: int) -> None:
        self.active = active
        self.reason = ""
        self._base = base
        self._app: dict[str, bytes] = {}
        self._index: tuple[hashlib._Hash, hashlib._Hash] | None = _hmac_states(base) if base else None
        self._secrets = {number: VersionKey(secret, number, "vault/secrets") for number, secret in versions.items()}
        self._boxes = {number: DropBox(secret, number) for number, secret in versions.items()}
        self.public_key = self._boxes[active].public_key if versions else None
        self._wraps = {number: VersionKey(secret, number, "vault/wrap") for number, secret in versions.items()}
        self._batches: dict[object, object] = {}
        self._codes_until = FOR_EVER
        self._seals_until = FOR_EVER
        self._seals_left = MOST_SEALS

    @classmethod
    def locked(cls, reason: str, active: int = 1, public_key: bytes | None = None) -> Ring:
        ring = cls(None, {}, active)
        ring.reason, ring.public_key = reason, public_key
        return ring

    def __repr__(self) -> str:
        return f"Ring(active={self.active}, versions={sorted(self._secrets)})"

    def __reduce__(self) -> str:
        raise TypeError("keys are never pickled")

    # -- how long ---------------------------------------------------------------------------

    def confirm(self, codes_until: float, seals_until: float) -> None:
        """The master key was seen, or the database was asked for versions: go on until then (monotonic time)."""
        self._codes_until, self._seals_until = codes_until, seals_until

    def seals_until(self, moment: float) -> None:
        self._seals_until = moment

    def forget_codes(self, reason: str) -> None:
        self._wraps.clear()
        self._batches.clear()
        self.reason = reason

    @property
    def newest(self) -> int:
        return max(self._secrets, default=0)

    def is_unlocked(self) -> bool:
        """Whether orders' links, settings and fingerprints work."""
        return self._base is not None

    def opens_codes(self) -> bool:
        return bool(self._wraps) and time.monotonic() < self._codes_until

    def check_opens_codes(self) -> None:
        """:raises VaultLocked: no code can be shown now."""
        if not self.opens_codes():
            raise VaultLocked(self.reason or "the master key was not seen for too long")

    # -- the keys ---------------------------------------------------------------------------

    def wrap_key(self, version: int) -> VersionKey:
        """What opens the data keys of batches."""
        self.check_opens_codes()
        return self._of(self._wraps, version)

    def secrets_key(self, version: int) -> VersionKey:
        return self._of(self._secrets, version)

    def box(self, version: int) -> DropBox:
        return self._of(self._boxes, version)

    def _of(self, keys: Mapping[int, T], version: int) -> T:
        found = keys.get(version)
        if found is None and (self._base is None or version > self.newest):
            raise VaultLocked(self.reason or f"this process has not learned of version {version} of its keys yet")
        if found is None:
            raise DecryptError
        return found

    def index(self) -> tuple[hashlib._Hash, hashlib._Hash]:
        if self._index is None:
            raise VaultLocked(self.reason)
        return self._index

    def derive(self, purpose: str) -> bytes:
        if self._base is None:
            raise VaultLocked(self.reason)
        if purpose not in self._app:
            self._app[purpose] = aead.derived(self._base, "app/" + purpose)
        return self._app[purpose]

    def batch(self, name: object, make: Callable[[], T]) -> T:
        """An opened batch, remembered as long as codes may be opened."""
        self.check_opens_codes()
        found = self._batches.get(name)
        if found is None:
            if len(self._batches) >= MOST_BATCHES:
                self._batches.clear()
            found = self._batches[name] = make()
        return found  # type: ignore[return-value]

    # -- counting ---------------------------------------------------------------------------

    def allow_seals(self, count: int) -> None:
        self._seals_left = count

    @property
    def seals_left(self) -> int:
        return self._seals_left

    def can_seal(self) -> bool:
        return self._base is not None and self._seals_left > 0 and time.monotonic() < self._seals_until

    def spend(self) -> None:
        """Count one encryption with the active version.

        :raises VaultLocked: there is no key, or it is too long ago that this process asked which one is active.
        :raises KeyWorn: the block of encryptions this process was granted is used up.
        """
        if self._base is None or time.monotonic() >= self._seals_until:
            raise VaultLocked(self.reason or "the keyring was not read for too long")
        if self._seals_left <= 0:
            raise KeyWorn
        self._seals_left -= 1


def _hmac_states(base: bytes) -> tuple[hashlib._Hash, hashlib._Hash]:
    """HMAC-SHA256 with its two key blocks already hashed: copying them halves the time per code."""
    block = aead.derived(base, "vault/code index").ljust(64, b"\0")
    inner = hashlib.sha256(bytes(byte ^ 0x36 for byte in block))
    return inner, hashlib.sha256(bytes(byte ^ 0x5C for byte in block))
