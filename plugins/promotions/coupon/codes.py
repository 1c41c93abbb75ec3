"""What a coupon code looks like, and making many that nobody can guess."""

from __future__ import annotations

import re
import secrets

SHAPE = re.compile(r"[0-9A-Za-z][0-9A-Za-z_-]{2,39}")
SIGNS = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
"""Without I, L, O and U, which are read or typed as something else."""

RANDOM_SIGNS = 10
LONGEST_PREFIX = 20


def matched(code: str) -> str:
    """The form in which codes are compared: small and capital letters are the same."""
    return code.strip().upper()


def new_codes(prefix: str, number: int) -> list[str]:
    """Different codes of the prefix and 50 random bits each."""
    made: set[str] = set()
    while len(made) < number:
        made.add(prefix + "".join(secrets.choice(SIGNS) for _sign in range(RANDOM_SIGNS)))
    return sorted(made)
