"""Passwords: argon2id, long enough, not guessable. Hashing is slow on purpose, so it runs in a thread."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from core.refused import Refused
from core.web.i18n import Text, _

SHORTEST, LONGEST = 12, 256
WEAKEST_SCORE = 3

# OWASP ASVS 5.0 V11.4: argon2id with at least t=2 and 19 MiB.
_hasher = PasswordHasher(time_cost=2, memory_cost=32 * 1024, parallelism=1)

# Checked for unknown addresses too, so that the time tells nothing; nobody's password, at the cost above.
_nobody = "$argon2id$v=19$m=32768,t=2,p=1$WIsOP0bTtuQ//oFOUNqdwQ$tUVbTrPVOQcd9fEvkVCbmoXHgamXoPRTf1DibnJEeyE"


@dataclass(frozen=True, slots=True)
class Strength:
    """``score`` is from 0 to 4; ``enough`` says whether such a password is taken."""

    score: int
    enough: bool
    words: Text


STRENGTHS = (
    _("Easy to guess"),
    _("Easy to guess"),
    _("Still easy to guess"),
    _("Strong"),
    _("Very strong"),
)


async def strength(password: str, known_about: tuple[str, ...] = ()) -> Strength:
    """How hard it is to guess, for somebody who is choosing one."""
    score = await asyncio.to_thread(_score, password[:72], known_about)
    if not SHORTEST <= len(password) <= LONGEST:
        short = _("%(signs)s of at least %(least)s signs", signs=len(password), least=SHORTEST)
        return Strength(min(score, WEAKEST_SCORE - 1), False, short)
    return Strength(score, score >= WEAKEST_SCORE, STRENGTHS[score])


async def hashed(password: str, known_about: tuple[str, ...] = ()) -> str:
    """The hash to store.

    :raises Refused: too short, too long, or easy to guess (``known_about``: e-mail and name of its owner).
    """
    if not SHORTEST <= len(password) <= LONGEST:
        raise Refused(_("Choose a password of %(least)d to %(most)d signs.", least=SHORTEST, most=LONGEST), "password")
    if await asyncio.to_thread(_score, password[:72], known_about) < WEAKEST_SCORE:
        raise Refused(_("This password is easy to guess. A few unrelated words make a good one."), "password")
    return await asyncio.to_thread(_hasher.hash, password)


def _score(password: str, known_about: tuple[str, ...]) -> int:
    from zxcvbn import zxcvbn  # imported late: its word lists take long to load and are seldom needed

    return int(zxcvbn(password, list(known_about))["score"])


async def fits(stored: str | None, password: str) -> bool:
    return await asyncio.to_thread(_fits, stored, password[: LONGEST + 1])


def _fits(stored: str | None, password: str) -> bool:
    try:
        _hasher.verify(stored or _nobody, password)
    except (VerificationError, InvalidHashError):
        return False
    return stored is not None
