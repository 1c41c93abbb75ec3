"""The people who run the shop: accounts, sign-in, links that let a person in once."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal

import asyncpg

from core import clock, db
from core.audit import service as audit
from core.db import Tx
from core.ids import new_token, token_hash
from core.people import passwords, recovery, rights, sessions, totp
from core.people.email import read_email
from core.refused import Refused
from core.shops import service as shops
from core.web import limits
from core.web.i18n import _

Purpose = Literal["setup", "invite", "reset"]

LINK_LIFE: dict[Purpose, timedelta] = {
    "setup": timedelta(minutes=30),
    "invite": timedelta(days=3),
    "reset": timedelta(hours=1),
}
FIRST_ADMIN_LOCK = 0x766F7564


@dataclass(frozen=True, slots=True)
class Caller:
    """Where a request of a person comes from."""

    ip: str | None
    agent: str


class SignInRefused(Refused):
    """Wrong address, password or code: one answer for all, so that it tells nothing."""

    def __init__(self) -> None:
        super().__init__(_("E-mail, password or code is wrong. Please try again."))


class CodeNeeded(Refused):
    """The password is right; a code from the authenticator app is needed too."""

    def __init__(self) -> None:
        super().__init__(_("Enter the code from your authenticator app."), "code")


# -- signing in and out -----------------------------------------------------------------


async def sign_in(
    shop_id: int, email: str, password: str, code: str, caller: Caller, old: sessions.Session | None = None
) -> str:
    """Check who it is and give the cookie of a new staff session; the old session ends.

    :raises SignInRefused: address, password or code is wrong; it is written to the audit log.
    :raises CodeNeeded: no code was given, and this person has a second factor.
    :raises TooMany: whoever knows the password guessed too many codes, from wherever.
    """
    address = email.strip().lower()
    person = await db.fetchrow(
        "SELECT * FROM people_staff WHERE shop_id = $1 AND email = $2 AND disabled_at IS NULL", shop_id, address
    )
    if not await passwords.fits(person["password_hash"] if person else None, password) or person is None:
        await _write_failure(shop_id, address, caller)
        raise SignInRefused
    if person["totp_secret"] is not None:
        if not code.strip():
            raise CodeNeeded
        await limits.hit("second-factor", f"staff:{person['id']}")
    cookie = await db.transaction(_let_in, person, code, caller, old)
    if cookie is None:
        await _write_failure(shop_id, address, caller)
        raise SignInRefused
    if person["totp_secret"] is not None:
        await limits.take_back("second-factor", f"staff:{person['id']}")
    return cookie


async def _let_in(tx: Tx, person: Any, code: str, caller: Caller, old: sessions.Session | None) -> str | None:
    if not await _still_fits(tx, person) or not await _factor_fits(tx, person, code, caller):
        return None
    return await let_in(tx, person["id"], caller, old)


async def _still_fits(tx: Tx, person: Any) -> bool:
    """Whether the password that was checked is still the one: another may be chosen while it is checked."""
    return bool(
        await tx.fetchval(
            "SELECT password_hash = $2 AND disabled_at IS NULL FROM people_staff WHERE id = $1 FOR NO KEY UPDATE",
            person["id"],
            person["password_hash"],
        )
    )


async def _factor_fits(tx: Tx, person: Any, code: str, caller: Caller) -> bool:
    """Whether the person has no second factor, or this is a code from their app or a recovery code."""
    if person["totp_secret"] is None:
        return True
    if not recovery.looks_like_one(code):
        return await totp.accept(tx, person["id"], person["totp_secret"], code)
    used = await recovery.accept(tx, person["id"], code)
    if used:
        await record(tx, person["id"], "staff.recovery_code_used", caller)
    return used


async def let_in(tx: Tx, staff_id: int, caller: Caller, old: sessions.Session | None) -> str:
    """Start the session of a person who has proven who they are; gives its cookie."""
    await tx.execute("UPDATE people_staff SET last_sign_in_at = $2 WHERE id = $1", staff_id, clock.now())
    await record(tx, staff_id, "staff.signed_in", caller)
    return await sessions.rotate(tx, old, "staff", staff_id=staff_id, ip=caller.ip, agent=caller.agent)


async def _write_failure(shop_id: int, address: str, caller: Caller) -> None:
    async def write(tx: Tx) -> None:
        await audit.record(
            tx, "anyone", "staff.sign_in_failed", f"email:{address[:254]}", shop_id=shop_id, ip=caller.ip
        )

    await db.transaction(write)


async def sign_out(session: sessions.Session) -> None:
    await db.transaction(sessions.end, session.id_hash)


async def confirm_again(session: sessions.Session, password: str, code: str, caller: Caller) -> bool:
    """Ask a signed-in person for password (and code) again before a dangerous act."""
    person = await db.fetchrow("SELECT * FROM people_staff WHERE id = $1", session.staff_id)
    known = person is not None and await passwords.fits(person["password_hash"], password)

    async def write(tx: Tx) -> bool:
        if not known or not await _factor_fits(tx, person, code, caller):
            await record(tx, session.staff_id or 0, "staff.confirm_failed", caller)
            return False
        await confirmed(tx, session, caller)
        return True

    return await db.transaction(write)


async def confirmed(tx: Tx, session: sessions.Session, caller: Caller) -> None:
    """The person behind a session has proven again who they are."""
    await sessions.confirm(tx, session.id_hash)
    await record(tx, session.staff_id or 0, "staff.confirmed", caller)


# -- the second factor ------------------------------------------------------------------


async def turn_on_factor(session: sessions.Session, secret: str, code: str, caller: Caller) -> list[str] | None:
    """Keep the authenticator key whose first code this is; gives recovery codes to show once, None if it misfits."""

    async def write(tx: Tx) -> list[str] | None:
        staff_id = session.staff_id or 0
        if not await totp.turn_on(tx, staff_id, secret, code):
            return None
        await sessions.remember(tx, session.id_hash, {"totp_offer": None})
        await record(tx, staff_id, "staff.second_factor_on", caller)
        return await recovery.renew(tx, staff_id)

    return await db.transaction(write)


async def turn_off_factor(session: sessions.Session, caller: Caller) -> None:
    async def write(tx: Tx) -> None:
        await totp.turn_off(tx, session.staff_id or 0)
        await recovery.forget(tx, session.staff_id or 0)
        await record(tx, session.staff_id or 0, "staff.second_factor_off", caller)

    await db.transaction(write)


async def new_recovery_codes(session: sessions.Session, caller: Caller) -> list[str]:
    """Ten new recovery codes to show once; the former ones stop working.

    :raises Refused: there is no second factor they could stand in for.
    """

    async def write(tx: Tx) -> list[str]:
        secret = await tx.fetchval("SELECT totp_secret FROM people_staff WHERE id = $1 FOR UPDATE", session.staff_id)
        if secret is None:
            raise Refused(_("Switch on two-step sign-in first."))
        await record(tx, session.staff_id or 0, "staff.recovery_codes_renewed", caller)
        return await recovery.renew(tx, session.staff_id or 0)

    return await db.transaction(write)


# -- accounts ---------------------------------------------------------------------------


async def anyone_there() -> bool:
    """Whether the shop has an admin already."""
    return await db.fetchval(
        "SELECT EXISTS (SELECT 1 FROM people_staff WHERE role = 'owner' AND password_hash IS NOT NULL)"
    )


async def create_admin(email: str, password: str, *, name: str = "") -> int:
    """Make an owner, from the command line; gives the id.

    :raises Refused: bad address, weak password, or the address is taken.
    """
    address = read_email(email)
    stored = await passwords.hashed(password, (address, name))
    return await db.transaction(_add_owner, address, stored, name)


async def _add_owner(tx: Tx, address: str, stored: str, name: str) -> int:
    staff_id = await _insert(tx, await _main_shop(tx), address, name, "owner", stored)
    await audit.record(tx, "system", "staff.owner_created", f"staff:{staff_id}")
    return staff_id


async def _main_shop(tx: Tx) -> int:
    return await tx.fetchval("SELECT min(id) FROM shops_shop")


async def _insert(tx: Tx, shop_id: int, address: str, name: str, role: str, stored: str | None) -> int:
    try:
        return await tx.fetchval(
            "INSERT INTO people_staff (shop_id, email, name, role, password_hash)"
            " VALUES ($1, $2, $3, $4, $5) RETURNING id",
            shop_id,
            address,
            name[:120],
            role,
            stored,
        )
    except asyncpg.UniqueViolationError:
        raise Refused(_("Somebody with this e-mail address is on the staff already."), "email") from None


async def invite(shop_id: int, email: str, name: str, role: str, by: int) -> str:
    """Add a person without a password; gives the token of a link with which they choose one."""
    address = read_email(email)
    if role not in rights.ROLES:
        raise Refused(_("Choose a role."), "role")

    async def write(tx: Tx) -> str:
        staff_id = await _insert(tx, shop_id, address, name.strip(), role, None)
        await audit.record(tx, f"staff:{by}", "staff.invited", f"staff:{staff_id}", {"role": role}, shop_id=shop_id)
        return await _new_link(tx, "invite", staff_id)

    return await db.transaction(write)


async def reset_link(staff_id: int, by: int) -> str:
    """A one-time link with which a person chooses a new password; earlier links stop working."""

    async def write(tx: Tx) -> str:
        await audit.record(tx, f"staff:{by}", "staff.reset_link_made", f"staff:{staff_id}")
        return await _new_link(tx, "reset", staff_id)

    return await db.transaction(write)


async def change_role(staff_id: int, role: str, by: int) -> None:
    """Give another role; the person's sessions end, so it holds from the next click on."""
    if role not in rights.ROLES:
        raise Refused(_("Choose a role."), "role")

    async def write(tx: Tx) -> None:
        await tx.execute("UPDATE people_staff SET role = $2 WHERE id = $1", staff_id, role)
        await _refuse_without_owner(tx, staff_id)
        await sessions.end_all(tx, staff_id)
        await audit.record(tx, f"staff:{by}", "staff.role_changed", f"staff:{staff_id}", {"role": role})

    await db.transaction(write)


async def take_second_factor(staff_id: int, by: int) -> None:
    """Take lost second factors and passkeys from a person; their sessions end. It is in the audit log."""

    async def write(tx: Tx) -> None:
        await totp.turn_off(tx, staff_id)
        await recovery.forget(tx, staff_id)
        await tx.execute("DELETE FROM people_passkey WHERE staff_id = $1", staff_id)
        await sessions.end_all(tx, staff_id)
        await audit.record(tx, f"staff:{by}", "staff.second_factor_taken", f"staff:{staff_id}")

    await db.transaction(write)


async def set_disabled(staff_id: int, disabled: bool, by: int) -> None:
    async def write(tx: Tx) -> None:
        await tx.execute(
            "UPDATE people_staff SET disabled_at = CASE WHEN $2 THEN now() END WHERE id = $1", staff_id, disabled
        )
        await _refuse_without_owner(tx, staff_id)
        await sessions.end_all(tx, staff_id)
        await audit.record(tx, f"staff:{by}", "staff.disabled" if disabled else "staff.enabled", f"staff:{staff_id}")

    await db.transaction(write)


async def end_sessions(staff_id: int, by: int, handle: str = "") -> int:
    """End the sessions of a person, or the one with this handle; gives how many ended."""

    async def write(tx: Tx) -> int:
        ended = await (sessions.end_one(tx, staff_id, handle) if handle else sessions.end_all(tx, staff_id))
        if ended:
            await audit.record(tx, f"staff:{by}", "staff.sessions_ended", f"staff:{staff_id}", {"sessions": ended})
        return ended

    return await db.transaction(write)


async def _refuse_without_owner(tx: Tx, changed: int) -> None:
    """The shop of the person who was changed must have an owner left; those of other shops cannot help it.

    :raises Refused: it has none.
    """
    # Locking the rows lets two admins who remove each other see one another.
    owners = await tx.fetch(
        "SELECT id FROM people_staff WHERE role = 'owner' AND disabled_at IS NULL AND password_hash IS NOT NULL"
        " AND shop_id = (SELECT shop_id FROM people_staff WHERE id = $1) ORDER BY id FOR UPDATE",
        changed,
    )
    if not owners:
        raise Refused(_("The shop needs at least one owner who can sign in."))


async def change_password(session: sessions.Session, old: str, new: str) -> None:
    """Choose a new password; all other sessions of this person end, and links with which to choose one are over."""
    person = await db.fetchrow("SELECT * FROM people_staff WHERE id = $1", session.staff_id)
    if person is None or not await passwords.fits(person["password_hash"], old):
        raise Refused(_("The present password is wrong."), "old_password")
    stored = await passwords.hashed(new, (person["email"], person["name"]))

    async def write(tx: Tx) -> None:
        if not await _still_fits(tx, person):
            raise Refused(_("The present password is wrong."), "old_password")
        await tx.execute("UPDATE people_staff SET password_hash = $2 WHERE id = $1", person["id"], stored)
        await tx.execute("DELETE FROM people_link WHERE staff_id = $1 AND used_at IS NULL", person["id"])
        await sessions.end_all(tx, person["id"], but=session.id_hash)
        await audit.record(tx, f"staff:{person['id']}", "staff.password_changed", f"staff:{person['id']}")

    await db.transaction(write)


# -- links that let a person in once ----------------------------------------------------


async def _new_link(tx: Tx, purpose: Purpose, staff_id: int | None) -> str:
    token = new_token()
    await tx.execute(
        "DELETE FROM people_link WHERE used_at IS NULL AND (staff_id = $1 OR expires_at < $2)", staff_id, clock.now()
    )
    await tx.execute(
        "INSERT INTO people_link (token_hash, purpose, staff_id, expires_at) VALUES ($1, $2, $3, $4)",
        token_hash(token),
        purpose,
        staff_id,
        clock.now() + LINK_LIFE[purpose],
    )
    return token


async def new_setup_token() -> str | None:
    """A token for making the first admin, or None when there is one.

    Each machine that starts prints one, and all of them are good until one is used.
    """
    if await anyone_there():
        return None

    async def write(tx: Tx) -> str:
        return await _new_link(tx, "setup", None)

    return await db.transaction(write)


async def link_is_good(token: str, purpose: Purpose) -> bool:
    return await db.fetchval(
        "SELECT EXISTS (SELECT 1 FROM people_link WHERE token_hash = $1 AND purpose = $2 AND used_at IS NULL"
        " AND expires_at > $3)",
        token_hash(token),
        purpose,
        clock.now(),
    )


async def make_first_admin(token: str, email: str, password: str, name: str, caller: Caller) -> str:
    """Use the set-up link: make the owner and sign them in; gives the cookie. The link closes in the same step.

    :raises Refused: the link is used or over, an admin exists, bad address or password.
    """
    address = read_email(email)
    stored = await passwords.hashed(password, (address, name))
    return await db.transaction(_make_first_admin, token, address, stored, name, caller)


async def _make_first_admin(tx: Tx, token: str, address: str, stored: str, name: str, caller: Caller) -> str:
    await tx.execute("SELECT pg_advisory_xact_lock($1)", FIRST_ADMIN_LOCK)
    taken = await tx.fetchval(
        "SELECT EXISTS (SELECT 1 FROM people_staff WHERE role = 'owner' AND password_hash IS NOT NULL)"
    )
    if taken or not await _use_link(tx, token, "setup"):
        raise Refused(_("This set-up link was used already or is over. Restart the server to get a new one."))
    await tx.execute("DELETE FROM people_link WHERE purpose = 'setup' AND used_at IS NULL")
    shop_id = await _main_shop(tx)
    staff_id = await _insert(tx, shop_id, address, name.strip(), "owner", stored)
    await shops.set_settings(tx, shop_id, coming_soon=True, setup_step=2)
    await audit.record(tx, "system", "staff.owner_created", f"staff:{staff_id}", ip=caller.ip)
    return await sessions.create(tx, "staff", staff_id=staff_id, ip=caller.ip, agent=caller.agent)


async def choose_password(token: str, purpose: Purpose, password: str, caller: Caller) -> str | None:
    """Use an invitation or reset link: set the password and sign in; gives the cookie.

    None when the person has a second factor: a link replaces the password, never the factor.
    """
    person = await db.fetchrow(
        "SELECT p.* FROM people_link link JOIN people_staff p ON p.id = link.staff_id"
        " WHERE link.token_hash = $1 AND link.purpose = $2 AND link.used_at IS NULL AND link.expires_at > $3",
        token_hash(token),
        purpose,
        clock.now(),
    )
    if person is None or person["disabled_at"] is not None:
        raise Refused(_("This link was used already or is over. Ask for a new one."))
    stored = await passwords.hashed(password, (person["email"], person["name"]))

    async def write(tx: Tx) -> str | None:
        if not await _use_link(tx, token, purpose):
            raise Refused(_("This link was used already or is over. Ask for a new one."))
        await tx.execute("UPDATE people_staff SET password_hash = $2 WHERE id = $1", person["id"], stored)
        await sessions.end_all(tx, person["id"])
        await record(tx, person["id"], "staff.password_chosen", caller)
        if person["totp_secret"] is not None:
            return None
        return await sessions.create(tx, "staff", staff_id=person["id"], ip=caller.ip, agent=caller.agent)

    return await db.transaction(write)


async def _use_link(tx: Tx, token: str, purpose: Purpose) -> bool:
    return (
        await tx.fetchval(
            "UPDATE people_link SET used_at = $3 WHERE token_hash = $1 AND purpose = $2 AND used_at IS NULL"
            " AND expires_at > $3 RETURNING token_hash",
            token_hash(token),
            purpose,
            clock.now(),
        )
        is not None
    )


async def record(tx: Tx, staff_id: int, act: str, caller: Caller) -> None:
    """Write what a person did to their own account."""
    await audit.record(tx, f"staff:{staff_id}", act, f"staff:{staff_id}", ip=caller.ip)
