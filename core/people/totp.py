"""The second factor: codes from an authenticator app, each good once."""

from __future__ import annotations

import hmac
import io
from dataclasses import dataclass, field

import pyotp
import segno

from core import clock
from core.db import Tx
from core.vault.cipher import open_secret, seal_secret

PURPOSE = "totp"
STEP_SECONDS = 30
DRIFT_STEPS = 1


@dataclass(frozen=True, slots=True)
class Offer:
    """A key for a new authenticator entry: as text, and as the picture its camera reads."""

    secret: str = field(repr=False)
    uri: str = field(repr=False)
    svg: str = field(repr=False)


def offer(email: str, shop_name: str, secret: str | None = None) -> Offer:
    secret = secret or pyotp.random_base32()
    uri = pyotp.TOTP(secret).provisioning_uri(name=email, issuer_name=shop_name)
    picture = io.BytesIO()
    segno.make(uri).save(picture, kind="svg", scale=5, border=2, xmldecl=False, svgns=True, omitsize=False)
    return Offer(secret, uri, picture.getvalue().decode())


def matching_step(secret: str, code: str) -> int | None:
    """The time step whose code this is, one step of clock drift either way."""
    digits = code.replace(" ", "")
    now = int(clock.now().timestamp()) // STEP_SECONDS
    totp = pyotp.TOTP(secret)
    for step in range(now - DRIFT_STEPS, now + DRIFT_STEPS + 1):
        if hmac.compare_digest(totp.at(step * STEP_SECONDS).encode(), digits.encode()):
            return step
    return None


async def turn_on(tx: Tx, staff_id: int, secret: str, code: str) -> bool:
    """Keep the key once a first code proves that the app has it."""
    step = matching_step(secret, code)
    if step is None:
        return False
    await tx.execute(
        "UPDATE people_staff SET totp_secret = $2, totp_last_step = $3 WHERE id = $1",
        staff_id,
        seal_secret(PURPOSE, secret.encode()),
        step,
    )
    return True


async def turn_off(tx: Tx, staff_id: int) -> None:
    await tx.execute("UPDATE people_staff SET totp_secret = NULL, totp_last_step = 0 WHERE id = $1", staff_id)


async def accept(tx: Tx, staff_id: int, sealed: bytes, code: str) -> bool:
    """Whether the code fits and was not used before; a used one never fits again."""
    step = matching_step(open_secret(PURPOSE, sealed).decode(), code)
    if step is None:
        return False
    return (
        await tx.fetchval(
            "UPDATE people_staff SET totp_last_step = $2 WHERE id = $1 AND totp_last_step < $2 RETURNING id",
            staff_id,
            step,
        )
        is not None
    )
