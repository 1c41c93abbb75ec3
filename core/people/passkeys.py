"""Passkeys: signing in and confirming with a device instead of a password. The device itself asks for a finger, a
face or a PIN, so a passkey is both factors at once.

Challenges are signed and not stored; what is stored is that one was used. ``webauthn`` is imported where it is
needed: it takes a quarter of a second, and most processes never see a passkey.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import timedelta
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import asyncpg

from core import clock, db
from core.audit import service as audit
from core.db import Tx
from core.people import sessions, signed, staff
from core.people.staff import Caller, SignInRefused
from core.refused import Refused
from core.web.i18n import Text, _
from core.web.visit import Visit

if TYPE_CHECKING:
    from webauthn.registration.verify_registration_response import VerifiedRegistration

CHALLENGE_LIFE = timedelta(minutes=10)
MOST = 20
LONGEST_ANSWER = 20_000
MILLISECONDS = 300_000


@dataclass(frozen=True, slots=True)
class Site:
    """Where passkeys are made for: the host they belong to, and the only origin that may use them."""

    host: str
    origin: str


class PasskeyRefused(Refused):
    def __init__(self, text: Text | None = None) -> None:
        super().__init__(text or _("This passkey does not fit. Please try again."), "passkey")


def site(visit: Visit, base_url: str) -> Site | None:
    """None where browsers know no passkeys: at a bare IP address, or at a name the shop does not know as its own."""
    host = urlsplit(f"//{visit.host}").hostname or ""
    known = {urlsplit(base_url).hostname, visit.shop.host, "localhost"}
    if host not in known or _is_address(host) or not (visit.https or host == "localhost"):
        return None
    return Site(host, visit.origin)


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


# -- what the browser is asked ----------------------------------------------------------


async def options_to_add(where: Site, session: sessions.Session, shop_name: str) -> str:
    """What ``navigator.credentials.create`` is told, as JSON."""
    from webauthn import generate_registration_options, options_to_json
    from webauthn.helpers import structs

    options = generate_registration_options(
        rp_id=where.host,
        rp_name=shop_name,
        user_id=f"staff:{session.staff_id}".encode(),
        user_name=session.email or "",
        user_display_name=session.name or session.email,
        challenge=await signed.issue(_adding(session), CHALLENGE_LIFE),
        timeout=MILLISECONDS,
        authenticator_selection=structs.AuthenticatorSelectionCriteria(
            resident_key=structs.ResidentKeyRequirement.REQUIRED,
            user_verification=structs.UserVerificationRequirement.REQUIRED,
        ),
        exclude_credentials=await _descriptors(session.staff_id),
    )
    return options_to_json(options)


async def options_to_sign_in(where: Site) -> str:
    """What ``navigator.credentials.get`` is told; the device knows whose passkeys it holds."""
    return await _options_to_use(where, SIGN_IN, None)


async def options_to_confirm(where: Site, session: sessions.Session) -> str:
    return await _options_to_use(where, _confirming(session), session.staff_id)


async def _options_to_use(where: Site, purpose: str, staff_id: int | None) -> str:
    from webauthn import generate_authentication_options, options_to_json
    from webauthn.helpers.structs import UserVerificationRequirement

    options = generate_authentication_options(
        rp_id=where.host,
        challenge=await signed.issue(purpose, CHALLENGE_LIFE),
        timeout=MILLISECONDS,
        allow_credentials=await _descriptors(staff_id) if staff_id else [],
        user_verification=UserVerificationRequirement.REQUIRED,
    )
    return options_to_json(options)


async def _descriptors(staff_id: int | None) -> list[Any]:
    from webauthn.helpers.structs import PublicKeyCredentialDescriptor

    rows = await db.fetch("SELECT credential_id FROM people_passkey WHERE staff_id = $1 ORDER BY id", staff_id)
    return [PublicKeyCredentialDescriptor(id=row["credential_id"]) for row in rows]


SIGN_IN = "passkey sign-in"


def _adding(session: sessions.Session) -> str:
    return f"passkey add {session.id_hash.hex()}"


def _confirming(session: sessions.Session) -> str:
    return f"passkey confirm {session.id_hash.hex()}"


# -- what it answers --------------------------------------------------------------------


async def add(where: Site, session: sessions.Session, name: str, answer: str, caller: Caller) -> None:
    """Keep a new passkey of the signed-in person.

    :raises PasskeyRefused: the answer is not one to our question, or the device is known already.
    """
    given = _read(answer)
    challenge = await _our_challenge(given, _adding(session))
    proven = _proven(where, given, challenge)

    async def write(tx: Tx) -> None:
        if not await signed.use(tx, challenge):
            raise PasskeyRefused
        await _keep(tx, session.staff_id or 0, name, proven)
        await staff.record(tx, session.staff_id or 0, "staff.passkey_added", caller)

    try:
        await db.transaction(write)
    except asyncpg.UniqueViolationError as error:
        if error.constraint_name != "people_passkey_credential_id_key":
            raise
        raise PasskeyRefused(_("This device has a passkey here already.")) from None


def _proven(where: Site, given: dict[str, Any], challenge: bytes) -> VerifiedRegistration:
    from webauthn import verify_registration_response
    from webauthn.helpers.exceptions import WebAuthnException

    try:
        return verify_registration_response(
            credential=given,
            expected_challenge=challenge,
            expected_rp_id=where.host,
            expected_origin=where.origin,
            require_user_verification=True,
        )
    except (WebAuthnException, ValueError):
        raise PasskeyRefused from None


async def _keep(tx: Tx, staff_id: int, name: str, proven: VerifiedRegistration) -> None:
    await tx.execute("SELECT 1 FROM people_staff WHERE id = $1 FOR UPDATE", staff_id)
    if await tx.fetchval("SELECT count(*) FROM people_passkey WHERE staff_id = $1", staff_id) >= MOST:
        raise PasskeyRefused(_("You have as many passkeys as one may have. Remove one first."))
    await tx.execute(
        "INSERT INTO people_passkey (staff_id, credential_id, public_key, sign_count, name)"
        " VALUES ($1, $2, $3, $4, $5)",
        staff_id,
        proven.credential_id,
        proven.credential_public_key,
        proven.sign_count,
        name,
    )


async def sign_in(where: Site, shop_id: int, answer: str, caller: Caller, old: sessions.Session | None = None) -> str:
    """Let in whom the passkey belongs to; gives the cookie of the new session.

    :raises SignInRefused: it does not fit; the reason is told nobody.
    """
    try:
        use = await _checked(where, answer, SIGN_IN)
    except PasskeyRefused:
        raise SignInRefused from None
    if use.key["shop_id"] != shop_id or use.key["disabled_at"] is not None:
        raise SignInRefused

    async def write(tx: Tx) -> str | None:
        return await staff.let_in(tx, use.key["staff_id"], caller, old) if await _spend(tx, use, caller) else None

    cookie = await db.transaction(write)
    if cookie is None:
        raise SignInRefused
    return cookie


async def confirm(where: Site, session: sessions.Session, answer: str, caller: Caller) -> bool:
    """A signed-in person proves again who they are."""
    try:
        use = await _checked(where, answer, _confirming(session))
    except PasskeyRefused:
        return False

    async def write(tx: Tx) -> bool:
        if use.key["staff_id"] != session.staff_id or not await _spend(tx, use, caller):
            return False
        await staff.confirmed(tx, session, caller)
        return True

    return await db.transaction(write)


async def remove(session: sessions.Session, passkey_id: int, caller: Caller) -> None:
    """Take away one of one's own passkeys.

    :raises Refused: it is the last way in.
    """

    async def write(tx: Tx) -> None:
        person = await tx.fetchrow("SELECT * FROM people_staff WHERE id = $1 FOR UPDATE", session.staff_id)
        gone = await tx.fetchval(
            "DELETE FROM people_passkey WHERE id = $1 AND staff_id = $2 RETURNING id", passkey_id, session.staff_id
        )
        left = await tx.fetchval("SELECT count(*) FROM people_passkey WHERE staff_id = $1", session.staff_id)
        if gone is None:
            raise PasskeyRefused(_("This passkey was removed already."))
        if person["password_hash"] is None and not left:
            raise PasskeyRefused(_("This is your only way in. Choose a password first."))
        await staff.record(tx, session.staff_id or 0, "staff.passkey_removed", caller)

    await db.transaction(write)


async def of(staff_id: int) -> list[Any]:
    return await db.fetch(
        "SELECT id, name, created_at, used_at FROM people_passkey WHERE staff_id = $1 ORDER BY id", staff_id
    )


# -- checking ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Use:
    key: Any
    challenge: bytes
    sign_count: int


FIND = """
SELECT key.*, person.shop_id, person.disabled_at FROM people_passkey key
JOIN people_staff person ON person.id = key.staff_id WHERE key.credential_id = $1
"""


async def _checked(where: Site, answer: str, purpose: str) -> _Use:
    from webauthn import verify_authentication_response
    from webauthn.helpers import base64url_to_bytes
    from webauthn.helpers.exceptions import WebAuthnException

    given = _read(answer)
    challenge = await _our_challenge(given, purpose)
    try:
        key = await db.fetchrow(FIND, base64url_to_bytes(given["rawId"]))
        if key is None:
            raise PasskeyRefused
        proven = verify_authentication_response(
            credential=given,
            expected_challenge=challenge,
            expected_rp_id=where.host,
            expected_origin=where.origin,
            credential_public_key=key["public_key"],
            credential_current_sign_count=0,  # compared where it is stored: two at once must not both count
            require_user_verification=True,
        )
    except (WebAuthnException, ValueError):
        raise PasskeyRefused from None
    return _Use(key, challenge, proven.new_sign_count)


SPEND = """
UPDATE people_passkey SET sign_count = $2, used_at = $3
WHERE id = $1 AND (sign_count < $2 OR (sign_count = 0 AND $2 = 0)) RETURNING id
"""


async def _spend(tx: Tx, use: _Use, caller: Caller) -> bool:
    """Use up the challenge and move the counter on. One that stands still or goes back is a copy of the device."""
    if not await signed.use(tx, use.challenge):
        return False
    if await tx.fetchval(SPEND, use.key["id"], use.sign_count, clock.now()) is not None:
        return True
    subject = f"staff:{use.key['staff_id']}"
    reason = _("The counter of a passkey went back: the device may have been copied.")
    await audit.alarm(tx, "passkey.copied", subject, reason, {"passkey": use.key["id"]}, ip=caller.ip)
    return False


def _read(answer: str) -> dict[str, Any]:
    """The browser's answer, as far as it has the shape of one."""
    try:
        given = json.loads(answer[:LONGEST_ANSWER])
        response = given["response"]
        texts = [given["id"], given["rawId"], response["clientDataJSON"]]
    except (ValueError, TypeError, KeyError, RecursionError):
        raise PasskeyRefused from None
    if not all(isinstance(text, str) and text.isascii() for text in texts):
        raise PasskeyRefused
    return given


async def _our_challenge(given: dict[str, Any], purpose: str) -> bytes:
    """The challenge that was answered, if it is one of ours for this purpose."""
    from webauthn.helpers import base64url_to_bytes

    try:
        said = json.loads(base64url_to_bytes(given["response"]["clientDataJSON"]))
        challenge = base64url_to_bytes(said["challenge"])
    except (ValueError, TypeError, KeyError, RecursionError):
        raise PasskeyRefused from None
    if not await signed.is_ours(purpose, challenge):
        raise PasskeyRefused
    return challenge
