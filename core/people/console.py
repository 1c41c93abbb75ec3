"""Signing in and out, the first admin, one's own account, and the staff list."""

from __future__ import annotations

import contextlib
from typing import Annotated, Any

import msgspec
from litestar import Request, Response, get, post
from litestar.params import FromPath, FromQuery
from markupsafe import Markup
from msgspec import Meta

from core import db
from core.people import passkeys, passwords, recovery, rights, sessions, staff, step_up, totp
from core.people.lists import STAFF
from core.people.staff import Caller, CodeNeeded, SignInRefused
from core.refused import Refused
from core.shops import service as shops
from core.vault.cipher import DecryptError, open_secret, seal_secret
from core.vault.ring import VaultLocked
from core.web import hx
from core.web.errors import FormError, NotFound
from core.web.flash import flash
from core.web.forms import Line, errors_of, read_form
from core.web.i18n import _
from core.web.list_page import list_page
from core.web.render import fragment, page, see_other
from core.web.request import visit_of
from core.web.sessions import begin, finish

Password = Annotated[str, Meta(max_length=1000)]
Token = Annotated[str, Meta(max_length=100)]

TOTP_OFFER = "totp-offer"


def caller(request: Request[Any, Any, Any]) -> Caller:
    visit = visit_of(request)
    return Caller(visit.ip or None, request.headers.get("user-agent", ""))


def shop_id(request: Request[Any, Any, Any]) -> int:
    visit = visit_of(request)
    return visit.shop.id


def passkey_site(request: Request[Any, Any, Any]) -> passkeys.Site | None:
    return passkeys.site(visit_of(request), request.app.state.config.base_url)


# -- the first admin --------------------------------------------------------------------


class FirstAdmin(msgspec.Struct):
    token: Token
    email: Line
    password: Password
    name: Line = ""


class PasswordTried(msgspec.Struct):
    token: Token
    email: Line = ""
    password: Password = ""
    name: Line = ""


@get("/setup", opt={"who": "anyone", "limit": "setup", "session": True})
async def setup(request: Request[Any, Any, Any], token: FromQuery[str] = "") -> Response[Any]:
    session = request.state.session
    if session is not None and session.may("setup.run"):
        return see_other("/admin")
    if not await staff.link_is_good(token, "setup"):
        return page(request, "people/link_over.html", {"purpose": "setup"}, status=410)
    return page(request, "people/setup.html", {"token": token, "errors": {}, "kept": {}})


@post("/setup", opt={"who": "anyone", "limit": "setup"})
async def make_first_admin(request: Request[Any, Any, Any]) -> Response[Any]:
    try:
        form = await read_form(request, FirstAdmin)
        cookie = await staff.make_first_admin(form.token, form.email, form.password, form.name, caller(request))
    except FormError as error:
        return _setup_again(request, error.fields, error.kept)
    except Refused as refused:
        kept = {"token": form.token, "email": form.email, "name": form.name}
        return _setup_again(request, errors_of(refused), kept)
    return begin(see_other("/admin/setup/shop"), cookie)


def _setup_again(request: Request[Any, Any, Any], errors: dict[str, Any], kept: dict[str, Any]) -> Response[str]:
    context = {"token": kept.get("token", ""), "errors": errors, "kept": kept}
    return page(request, "people/setup.html", context, status=422)


@post("/setup/strength", opt={"who": "anyone", "limit": "strength", "max_body": 10_000})
async def password_strength(request: Request[Any, Any, Any]) -> Response[Any]:
    """Told while somebody types; only to who holds the link."""
    form = await read_form(request, PasswordTried)
    if not await staff.link_is_good(form.token, "setup"):
        return page(request, "people/link_over.html", {"purpose": "setup"}, status=410)
    found = await passwords.strength(form.password, (form.email, form.name)) if form.password else None
    return fragment(request, "people/_strength.html", {"strength": found})


# -- in and out -------------------------------------------------------------------------


Code = Annotated[str, Meta(max_length=40)]
PasskeyAnswer = Annotated[str, Meta(max_length=passkeys.LONGEST_ANSWER)]


class SignIn(msgspec.Struct):
    email: Line
    password: Password
    totp: Code = ""
    recovery: Code = ""
    next: Line = ""


class SignInByPasskey(msgspec.Struct):
    passkey: PasskeyAnswer
    next: Line = ""


@get("/sign-in", opt={"who": "anyone", "session": True})
async def sign_in_page(
    request: Request[Any, Any, Any], next: FromQuery[str] = "", unsent: FromQuery[str] = ""
) -> Response[Any]:
    session = request.state.session
    if session is not None and session.kind == "staff":
        return see_other(hx.safe_next(next, "/admin"))
    return await _sign_in_page(request, {}, {"next": next, "unsent": unsent})


async def _sign_in_page(
    request: Request[Any, Any, Any],
    errors: dict[str, Any],
    kept: dict[str, Any],
    code_needed: bool = False,
    status: int = 200,
) -> Response[str]:
    where = passkey_site(request)
    context = {
        "errors": errors,
        "kept": kept,
        "next": kept.get("next", ""),
        "code_needed": code_needed,
        "empty": not await staff.anyone_there(),
        "passkey_options": await passkeys.options_to_sign_in(where) if where else "",
    }
    return page(request, "people/sign_in.html", context, status=status)


@post("/sign-in", opt={"who": "anyone", "limit": "sign-in"})
async def sign_in(request: Request[Any, Any, Any]) -> Response[Any]:
    try:
        form = await read_form(request, SignIn)
    except FormError as error:
        return await _sign_in_page(request, error.fields, error.kept, status=422)
    kept, code = {"email": form.email, "next": form.next}, form.recovery or form.totp
    try:
        cookie = await staff.sign_in(
            shop_id(request), form.email, form.password, code, caller(request), request.state.session
        )
    except CodeNeeded as needed:
        return await _sign_in_page(request, {"totp": needed.text}, kept, True, 422)
    except Refused as refused:
        return await _sign_in_page(request, errors_of(refused), kept, bool(code), 422)
    return begin(see_other(hx.safe_next(form.next, "/admin")), cookie)


@post("/sign-in/passkey", opt={"who": "anyone", "limit": "sign-in"})
async def sign_in_by_passkey(request: Request[Any, Any, Any]) -> Response[Any]:
    form = await read_form(request, SignInByPasskey)
    where = passkey_site(request)
    if where is None:
        raise NotFound()
    try:
        cookie = await passkeys.sign_in(where, shop_id(request), form.passkey, caller(request), request.state.session)
    except SignInRefused:
        wrong = {"form": _("This passkey does not fit. Please try again.")}
        return await _sign_in_page(request, wrong, {"next": form.next}, status=422)
    return begin(see_other(hx.safe_next(form.next, "/admin")), cookie)


@post("/sign-out", opt={"who": "staff:any"})
async def sign_out(request: Request[Any, Any, Any]) -> Response[Any]:
    await staff.sign_out(request.state.session)
    return finish(see_other("/admin/sign-in"))


# -- proving again who it is ------------------------------------------------------------


class Proof(msgspec.Struct):
    proof_password: Password = ""
    proof_totp: Code = ""
    proof_passkey: PasskeyAnswer = ""


@get("/confirm", opt={"who": "staff:any"})
async def confirm_page(request: Request[Any, Any, Any]) -> Response[str]:
    visit = visit_of(request)
    return page(request, "people/confirm.html", await step_up.asking(request.app.state.config.base_url, visit))


@post("/confirm", opt={"who": "staff:any"})
async def confirm(request: Request[Any, Any, Any]) -> Response[Any]:
    form = await read_form(request, Proof)
    visit = visit_of(request)
    base_url = request.app.state.config.base_url
    proof = step_up.Proof(form.proof_password, form.proof_totp, form.proof_passkey)
    wrong = await step_up.confirm(base_url, visit, proof, caller(request))
    if wrong:
        return page(request, "people/confirm.html", await step_up.asking(base_url, visit, wrong=wrong), status=403)
    return flash(see_other("/admin"), _("Thank you. You can do it now."))


# -- links of an invitation or a reset --------------------------------------------------


class ChosenPassword(msgspec.Struct):
    token: Token
    password: Password


@get("/welcome/{purpose:str}", opt={"who": "anyone", "limit": "setup"})
async def choose_password_page(
    request: Request[Any, Any, Any], purpose: FromPath[str], token: FromQuery[str] = ""
) -> Response[str]:
    if purpose not in ("invite", "reset"):
        raise NotFound()
    if not await staff.link_is_good(token, purpose):  # type: ignore[arg-type]
        return page(request, "people/link_over.html", {"purpose": purpose}, status=410)
    return page(request, "people/choose_password.html", {"token": token, "purpose": purpose, "errors": {}})


@post("/welcome/{purpose:str}", opt={"who": "anyone", "limit": "setup"})
async def choose_password(request: Request[Any, Any, Any], purpose: FromPath[str]) -> Response[Any]:
    if purpose not in ("invite", "reset"):
        raise NotFound()
    form = await read_form(request, ChosenPassword)
    try:
        cookie = await staff.choose_password(form.token, purpose, form.password, caller(request))  # type: ignore[arg-type]
    except Refused as refused:
        context = {"token": form.token, "purpose": purpose, "errors": errors_of(refused)}
        return page(request, "people/choose_password.html", context, status=422)
    if cookie is None:
        return flash(see_other("/admin/sign-in"), _("Your password is set. Sign in with it and your code."))
    return flash(begin(see_other("/admin"), cookie), _("Your password is set. Welcome!"))


# -- one's own account ------------------------------------------------------------------


class NewPassword(msgspec.Struct):
    old_password: Password
    password: Password


class SecondFactor(msgspec.Struct):
    totp: Annotated[str, Meta(max_length=20)]


class NewPasskey(msgspec.Struct):
    name: Annotated[str, Meta(min_length=1, max_length=60, extra={"strip": True})]
    passkey: PasskeyAnswer


class OneSession(msgspec.Struct):
    session: Line = ""


@get("/account", opt={"who": "staff:any"})
async def account(request: Request[Any, Any, Any]) -> Response[str]:
    return await _account(request)


async def _account(
    request: Request[Any, Any, Any], errors: dict[str, Any] | None = None, status: int = 200
) -> Response[str]:
    session: sessions.Session = request.state.session
    visit = visit_of(request)
    person = await db.fetchrow("SELECT * FROM people_staff WHERE id = $1", session.staff_id)
    assert person is not None  # noqa: S101 - the guard let this person in
    offer = None
    if person["totp_secret"] is None:
        with contextlib.suppress(VaultLocked):
            offer = totp.offer(person["email"], visit.shop.name, await _offered_secret(session))
    where = passkey_site(request)
    context = {
        "person": person,
        "offer": offer,
        "picture": Markup(offer.svg) if offer else "",  # noqa: S704 - drawn by segno from our own address
        "codes_left": await recovery.left(person["id"]),
        "passkeys": await passkeys.of(person["id"]),
        "passkey_options": await passkeys.options_to_add(where, session, visit.shop.name) if where else "",
        "sessions": await sessions.of_staff(person["id"], session.id_hash),
        "errors": errors or {},
    }
    return page(request, "people/account.html", context, status=status)


async def _offered_secret(session: sessions.Session) -> str:
    """The key on offer stays the same while its owner types the first code; it is kept sealed."""
    kept = session.data.get("totp_offer")
    if kept:
        with contextlib.suppress(DecryptError):  # the key it was sealed with may be gone meanwhile
            return open_secret(TOTP_OFFER, bytes.fromhex(kept)).decode()
    secret = totp.offer("", "").secret
    sealed = seal_secret(TOTP_OFFER, secret.encode()).hex()
    await db.transaction(sessions.remember, session.id_hash, {"totp_offer": sealed})
    return secret


@post("/account/password", opt={"who": "staff:any", "limit": "sign-in"})
async def new_password(request: Request[Any, Any, Any]) -> Response[Any]:
    form = await read_form(request, NewPassword)
    try:
        await staff.change_password(request.state.session, form.old_password, form.password)
    except Refused as refused:
        return await _account(request, errors_of(refused), 422)
    return flash(see_other("/admin/account"), _("Your password was changed. Other devices are signed out."))


@post("/account/second-factor", opt={"who": "staff:any", "limit": "sign-in", "fresh": True})
async def second_factor_on(request: Request[Any, Any, Any]) -> Response[Any]:
    form = await read_form(request, SecondFactor)
    session: sessions.Session = request.state.session
    codes = await staff.turn_on_factor(session, await _offered_secret(session), form.totp, caller(request))
    if codes is None:
        return await _account(request, {"totp": _("This code does not fit. Check the clock of your phone.")}, 422)
    return page(request, "people/recovery_codes.html", {"codes": codes})


@post("/account/second-factor/off", opt={"who": "staff:any", "fresh": True})
async def second_factor_off(request: Request[Any, Any, Any]) -> Response[Any]:
    await staff.turn_off_factor(request.state.session, caller(request))
    return flash(see_other("/admin/account"), _("Two-step sign-in is off."), "warning")


@post("/account/recovery-codes", opt={"who": "staff:any", "fresh": True})
async def new_recovery_codes(request: Request[Any, Any, Any]) -> Response[Any]:
    try:
        codes = await staff.new_recovery_codes(request.state.session, caller(request))
    except Refused as refused:
        return flash(see_other("/admin/account"), refused.text, "error")
    return page(request, "people/recovery_codes.html", {"codes": codes})


@post("/account/passkeys", opt={"who": "staff:any", "fresh": True})
async def add_passkey(request: Request[Any, Any, Any]) -> Response[Any]:
    where = passkey_site(request)
    if where is None:
        raise NotFound()
    try:
        form = await read_form(request, NewPasskey)
        await passkeys.add(where, request.state.session, form.name, form.passkey, caller(request))
    except FormError as error:
        return await _account(request, {f"passkey_{name}": text for name, text in error.fields.items()}, 422)
    except Refused as refused:
        return await _account(request, errors_of(refused), 422)
    return flash(see_other("/admin/account"), _("Your passkey is ready."))


@post("/account/passkeys/{passkey_id:int}/remove", opt={"who": "staff:any", "fresh": True})
async def remove_passkey(request: Request[Any, Any, Any], passkey_id: FromPath[int]) -> Response[Any]:
    try:
        await passkeys.remove(request.state.session, passkey_id, caller(request))
    except Refused as refused:
        return flash(see_other("/admin/account"), refused.text, "error")
    return flash(see_other("/admin/account"), _("The passkey was removed."))


@post("/account/sessions/end", opt={"who": "staff:any"})
async def end_session(request: Request[Any, Any, Any]) -> Response[Any]:
    form = await read_form(request, OneSession)
    session: sessions.Session = request.state.session
    await staff.end_sessions(session.staff_id or 0, session.staff_id or 0, form.session or "-")
    return flash(see_other("/admin/account"), _("That device is signed out."))


@post("/account/sign-out-others", opt={"who": "staff:any"})
async def sign_out_others(request: Request[Any, Any, Any]) -> Response[Any]:
    session: sessions.Session = request.state.session

    async def write(tx: db.Tx) -> int:
        return await sessions.end_all(tx, session.staff_id or 0, but=session.id_hash)

    await db.transaction(write)
    return flash(see_other("/admin/account"), _("All your other devices are signed out."))


# -- the staff list ---------------------------------------------------------------------


class Invitation(msgspec.Struct):
    email: Line
    role: Line
    name: Line = ""


class NewRole(msgspec.Struct):
    role: Line


@get("/staff", opt={"who": "staff:staff.manage", "repeats": ("col",)})
async def staff_list(request: Request[Any, Any, Any]) -> Response[str]:
    return await _staff_list(request)


async def _staff_list(
    request: Request[Any, Any, Any],
    errors: dict[str, Any] | None = None,
    kept: dict[str, Any] | None = None,
    link: str = "",
    status: int = 200,
) -> Response[str]:
    context = {
        "roles": [(role, rights.ROLE_NAMES[role]) for role in rights.ROLES],
        "rights": rights.everything(),
        "errors": errors or {},
        "kept": kept or {},
        "link": link,
    }
    return await list_page(request, STAFF, context, template="people/staff.html", status=status)


@post("/staff", opt={"who": "staff:staff.manage", "fresh": True})
async def invite(request: Request[Any, Any, Any]) -> Response[Any]:
    try:
        form = await read_form(request, Invitation)
        token = await staff.invite(shop_id(request), form.email, form.name, form.role, request.state.session.staff_id)
    except FormError as error:
        return await _staff_list(request, error.fields, error.kept, status=422)
    except Refused as refused:
        return await _staff_list(request, errors_of(refused), msgspec.to_builtins(form), status=422)
    return await _staff_list(request, link=_link(request, "invite", token))


@post("/staff/{staff_id:int}/reset", opt={"who": "staff:staff.manage", "fresh": True})
async def reset(request: Request[Any, Any, Any], staff_id: FromPath[int]) -> Response[str]:
    await _known(request, staff_id)
    token = await staff.reset_link(staff_id, request.state.session.staff_id)
    return await _staff_list(request, link=_link(request, "reset", token))


@post("/staff/{staff_id:int}/role", opt={"who": "staff:staff.manage", "fresh": True})
async def change_role(request: Request[Any, Any, Any], staff_id: FromPath[int]) -> Response[Any]:
    await _known(request, staff_id)
    form = await read_form(request, NewRole)
    return await _then_list(request, staff.change_role(staff_id, form.role, request.state.session.staff_id))


@post("/staff/{staff_id:int}/disable", opt={"who": "staff:staff.manage", "fresh": True})
async def disable(request: Request[Any, Any, Any], staff_id: FromPath[int]) -> Response[Any]:
    await _known(request, staff_id)
    return await _then_list(request, staff.set_disabled(staff_id, True, request.state.session.staff_id))


@post("/staff/{staff_id:int}/enable", opt={"who": "staff:staff.manage", "fresh": True})
async def enable(request: Request[Any, Any, Any], staff_id: FromPath[int]) -> Response[Any]:
    await _known(request, staff_id)
    return await _then_list(request, staff.set_disabled(staff_id, False, request.state.session.staff_id))


@post("/staff/{staff_id:int}/second-factor/off", opt={"who": "staff:staff.manage", "fresh": True})
async def take_second_factor(request: Request[Any, Any, Any], staff_id: FromPath[int]) -> Response[Any]:
    await _known(request, staff_id)
    return await _then_list(request, staff.take_second_factor(staff_id, request.state.session.staff_id))


@get("/staff/{staff_id:int}", opt={"who": "staff:staff.manage"})
async def person_page(request: Request[Any, Any, Any], staff_id: FromPath[int]) -> Response[str]:
    await _known(request, staff_id)
    context = {
        "person": await db.fetchrow("SELECT * FROM people_staff WHERE id = $1", staff_id),
        "role_names": rights.ROLE_NAMES,
        "passkeys": await passkeys.of(staff_id),
        "sessions": await sessions.of_staff(staff_id, request.state.session.id_hash),
    }
    return page(request, "people/person.html", context)


@post("/staff/{staff_id:int}/sessions/end", opt={"who": "staff:staff.manage", "fresh": True})
async def end_sessions_of(request: Request[Any, Any, Any], staff_id: FromPath[int]) -> Response[Any]:
    """One session of a person, or all when none is named."""
    await _known(request, staff_id)
    form = await read_form(request, OneSession)
    await staff.end_sessions(staff_id, request.state.session.staff_id, form.session)
    return flash(see_other(f"/admin/staff/{staff_id}"), _("Signed out there."))


async def _then_list(request: Request[Any, Any, Any], act: Any) -> Response[Any]:
    try:
        await act
    except Refused as refused:
        return await _staff_list(request, errors_of(refused), status=422)
    return flash(see_other("/admin/staff"), _("Saved."))


async def _known(request: Request[Any, Any, Any], staff_id: int) -> None:
    if not await db.fetchval(
        "SELECT EXISTS (SELECT 1 FROM people_staff WHERE id = $1 AND shop_id = $2)", staff_id, shop_id(request)
    ):
        raise NotFound()


def _link(request: Request[Any, Any, Any], purpose: str, token: str) -> str:
    address = shops.address(visit_of(request).shop.host, request.app.state.config.base_url)
    return f"{address}/admin/welcome/{purpose}?token={token}"


ROUTES = (
    setup,
    password_strength,
    make_first_admin,
    sign_in_page,
    sign_in,
    sign_in_by_passkey,
    sign_out,
    confirm_page,
    confirm,
    choose_password_page,
    choose_password,
    account,
    new_password,
    second_factor_on,
    second_factor_off,
    new_recovery_codes,
    add_passkey,
    remove_passkey,
    end_session,
    sign_out_others,
    staff_list,
    person_page,
    end_sessions_of,
    invite,
    reset,
    change_role,
    disable,
    enable,
    take_second_factor,
)
