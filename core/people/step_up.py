"""Dangerous acts ask again who it is: password and code or a passkey, given within the last minutes, or the act waits.

What was sent with the act waits in the page that asks, sealed for this session and this address, and goes on
from there once the answer is right. So nothing is stored, no secret stands in the page, and it needs no script.
"""

from __future__ import annotations

import base64
import binascii
import dataclasses
import io
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import msgspec

from core import clock, db
from core.people import passkeys, sessions, staff
from core.people.staff import Caller
from core.vault.cipher import DecryptError, open_secret, seal_secret
from core.vault.ring import VaultLocked
from core.web import limits
from core.web.errors import Forbidden, WebError
from core.web.forms import Form, Upload
from core.web.i18n import Text, _
from core.web.visit import Visit

HELD = "proof_held"
MOST_HELD = 300_000
HELD_FOR = timedelta(hours=1)
CONFIRM_PATH = "/admin/confirm"


class ProofNeeded(WebError):
    """The page that asks for the password again and then goes on with the act."""

    status = 403

    def __init__(self, facts: Mapping[str, Any]) -> None:
        super().__init__(
            _("Please confirm that it is you"),
            _("This act asks for your password again."),
            _("Confirm, then do it again."),
            context={"template": "people/confirm.html", **facts},
        )


class _Act(msgspec.Struct, array_like=True):
    """An act that waits: its form, and until when it may go on."""

    until: float
    fields: dict[str, list[str]]
    files: list[tuple[str, str, str, bytes]]


def is_fresh(session: sessions.Session, minutes: int) -> bool:
    return session.confirmed_at is not None and clock.now() - session.confirmed_at <= timedelta(minutes=minutes)


@dataclass(frozen=True, slots=True)
class Proof:
    """What a person shows to confirm that it is them: password and code, or a passkey's answer."""

    password: str = ""
    code: str = ""
    passkey: str = ""


async def prove(base_url: str, visit: Visit, form: Form | None, agent: str) -> Form | None:
    """The form of the act, once the person has said lately who they are.

    :raises ProofNeeded: they have not, or what they said is wrong.
    """
    session: sessions.Session = visit.session
    fresh = is_fresh(session, visit.shop.settings.confirm_minutes)
    held = form.first(HELD) if form else ""
    if form is None or not held:
        if not fresh:
            raise ProofNeeded(await asking(base_url, visit, *_hold(visit, form or Form())))
        return form
    act = _open(visit, held)
    if not fresh:
        proof = Proof(form.first("proof_password"), form.first("proof_totp"), form.first("proof_passkey"))
        wrong = await confirm(base_url, visit, proof, Caller(visit.ip or None, agent))
        if wrong:
            raise ProofNeeded(await asking(base_url, visit, visit.address, held, wrong))
        visit.session = dataclasses.replace(session, confirmed_at=clock.now())
    return act


async def confirm(base_url: str, visit: Visit, proof: Proof, caller: Caller) -> Text | None:
    """What is wrong with the proof, or None: then the session counts as fresh."""
    session: sessions.Session = visit.session
    await limits.hit("confirm", f"staff:{session.staff_id}")
    if proof.passkey:
        where = passkeys.site(visit, base_url)
        if where is not None and await passkeys.confirm(where, session, proof.passkey, caller):
            return None
        return _("This passkey does not fit. Please try again.")
    if await staff.confirm_again(session, proof.password, proof.code, caller):
        return None
    return _("Password or code is wrong. Please try again.")


async def asking(
    base_url: str, visit: Visit, action: str = CONFIRM_PATH, held: str = "", wrong: Text | None = None
) -> dict[str, Any]:
    """What the page that asks has to know."""
    session: sessions.Session = visit.session
    has = await db.fetchrow(
        "SELECT totp_secret IS NOT NULL AS code, EXISTS (SELECT 1 FROM people_passkey WHERE staff_id = $1) AS passkey"
        " FROM people_staff WHERE id = $1",
        session.staff_id,
    )
    where = passkeys.site(visit, base_url) if has["passkey"] else None
    options = await passkeys.options_to_confirm(where, session) if where else ""
    return {"action": action, "held": held, "wrong": wrong, "has_code": has["code"], "passkey_options": options}


# -- an act that waits ------------------------------------------------------------------


def _hold(visit: Visit, form: Form) -> tuple[str, str]:
    """Where the answer goes, and the sealed act; what is too large, or has no key to wait under, must be sent again."""
    files = [
        (name, upload.filename, upload.content_type, upload.file.read())
        for name, uploads in form.files.items()
        for upload in uploads
        if upload.size <= MOST_HELD
    ]
    act = _Act((clock.now() + HELD_FOR).timestamp(), form.fields, files)
    packed = msgspec.msgpack.encode(act)
    if len(packed) > MOST_HELD or len(files) < sum(map(len, form.files.values())):
        return CONFIRM_PATH, ""
    try:
        return visit.address, base64.urlsafe_b64encode(seal_secret(_purpose(visit), packed)).decode()
    except VaultLocked:
        return CONFIRM_PATH, ""


def _open(visit: Visit, held: str) -> Form:
    try:
        packed = open_secret(_purpose(visit), base64.urlsafe_b64decode(held))
        act = msgspec.msgpack.decode(packed, type=_Act)
    except (DecryptError, binascii.Error, ValueError):
        raise _stale() from None
    if act.until < clock.now().timestamp():
        raise _stale()
    form = Form(fields=act.fields)
    for name, filename, content_type, data in act.files:
        form.files.setdefault(name, []).append(Upload(filename, content_type, io.BytesIO(data), len(data)))
    return form


def _purpose(visit: Visit) -> str:
    return f"step-up:{visit.session.id_hash.hex()}:{visit.method} {visit.address}"


def _stale() -> Forbidden:
    return Forbidden(
        _("This page was open for too long"),
        _("What you had sent could not be kept that long."),
        _("Open the page again and send it once more."),
    )
