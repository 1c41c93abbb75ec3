"""Signing in and out, the first admin, one's own account, and the staff list."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from litestar import Request, Response, get, post
from litestar.params import FromPath, FromQuery
from markupsafe import Markup
from msgspec import Meta

from core import db
from core.people import rights, sessions, staff, step_up, totp
from core.people.staff import Caller, CodeNeeded
from core.refused import Refused
from core.vault.cipher import open_secret, seal_secret
from core.web import hx
from core.web.errors import FormError, NotFound
from core.web.flash import flash
from core.web.forms import Line, read_form
from core.web.i18n import _
from core.web.render import page, see_other
from core.web.sessions import begin, finish
from core.web.visit import Visit

Password = Annotated[str, Meta(max_length=1000)]
Token = Annotated[str, Meta(max_length=100)]

TOTP_OFFER = "totp-offer"


def caller(request: Request[Any, Any, Any]) -> Caller:
    visit: Visit = request.scope["state"]["visit"]
    return Caller(visit.ip or None, request.headers.get("user-agent", ""))


def shop_id(request: Request[Any, Any, Any]) -> int:
    visit: Visit = request.scope["state"]["visit"]
    return visit.shop.id


def fields_of(refused: Refused) -> dict[str, Any]:
    return {refused.field or "form": refused.text}


# -- the first admin --------------------------------------------------------------------


class FirstAdmin(msgspec.Struct):
    token: Token
    email: Line
    password: Password
    name: Line = ""


@get("/setup", opt={"who": "anyone", "limit": "setup"})
async def setup(request: Request[Any, Any, Any], token: FromQuery[str] = "") -> Response[str]:
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
        return _setup_again(request, fields_of(refused), kept)
    return flash(begin(see_other("/admin"), cookie), _("Welcome! This shop is yours now."))


def _setup_again(request: Request[Any, Any, Any], errors: dict[str, Any], kept: dict[str, Any]) -> Response[str]:
    context = {"token": kept.get("token", ""), "errors": errors, "kept": kept}
    return page(request, "people/setup.html", context, status=422)


# -- in and out -------------------------------------------------------------------------


class SignIn(msgspec.Struct):
    email: Line
    password: Password
    totp: Annotated[str, Meta(max_length=20)] = ""
    next: Line = ""


@get("/sign-in", opt={"who": "anyone", "session": True})
async def sign_in_page(request: Request[Any, Any, Any], next: FromQuery[str] = "") -> Response[Any]:
    session = request.state.session
    if session is not None and session.kind == "staff":
        return see_other(hx.safe_next(next, "/admin"))
    context = {"errors": {}, "kept": {}, "next": next, "code_needed": False, "empty": not await staff.anyone_there()}
    return page(request, "people/sign_in.html", context)


@post("/sign-in", opt={"who": "anyone", "limit": "sign-in"})
async def sign_in(request: Request[Any, Any, Any]) -> Response[Any]:
    try:
        form = await read_form(request, SignIn)
    except FormError as error:
        return _sign_in_again(request, error.fields, error.kept)
    try:
        cookie = await staff.sign_in(
            shop_id(request), form.email, form.password, form.totp, caller(request), request.state.session
        )
    except CodeNeeded as needed:
        kept = {"email": form.email, "next": form.next}
        return _sign_in_again(request, {"totp": needed.text}, kept, code_needed=True)
    except Refused as refused:
        return _sign_in_again(
            request, fields_of(refused), {"email": form.email, "next": form.next}, code_needed=bool(form.totp)
        )
    return begin(see_other(hx.safe_next(form.next, "/admin")), cookie)


def _sign_in_again(
    request: Request[Any, Any, Any], errors: dict[str, Any], kept: dict[str, Any], code_needed: bool = False
) -> Response[str]:
    context = {
        "errors": errors,
        "kept": kept,
        "next": kept.get("next", ""),
        "code_needed": code_needed,
        "empty": False,
    }
    return page(request, "people/sign_in.html", context, status=422)


@post("/sign-out", opt={"who": "staff:any"})
async def sign_out(request: Request[Any, Any, Any]) -> Response[Any]:
    await staff.sign_out(request.state.session)
    return finish(see_other("/admin/sign-in"))


# -- proving again who it is ------------------------------------------------------------


class Proof(msgspec.Struct):
    proof_password: Password
    proof_totp: Annotated[str, Meta(max_length=20)] = ""
    proof_email: Line = ""


@get("/confirm", opt={"who": "staff:any"})
async def confirm_page(request: Request[Any, Any, Any]) -> Response[str]:
    return page(request, "people/confirm.html", await step_up.asking(request.state.session))


@post("/confirm", opt={"who": "staff:any"})
async def confirm(request: Request[Any, Any, Any]) -> Response[Any]:
    form = await read_form(request, Proof)
    session: sessions.Session = request.state.session
    wrong = await step_up.confirm(session, form.proof_password, form.proof_totp, caller(request))
    if wrong:
        return page(request, "people/confirm.html", await step_up.asking(session, wrong=wrong), status=403)
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
        context = {"token": form.token, "purpose": purpose, "errors": fields_of(refused)}
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


@get("/account", opt={"who": "staff:any"})
async def account(request: Request[Any, Any, Any]) -> Response[str]:
    return await _account(request)


async def _account(
    request: Request[Any, Any, Any], errors: dict[str, Any] | None = None, status: int = 200
) -> Response[str]:
    session: sessions.Session = request.state.session
    person = await db.fetchrow("SELECT * FROM people_staff WHERE id = $1", session.staff_id)
    assert person is not None  # noqa: S101 - the guard let this person in
    offer = None
    if person["totp_secret"] is None:
        offer = totp.offer(person["email"], request.scope["state"]["visit"].shop.name, await _offered_secret(session))
    mine = await db.fetch(
        "SELECT id_hash, created_at, seen_at, ip, agent FROM people_session WHERE staff_id = $1 ORDER BY seen_at DESC",
        session.staff_id,
    )
    context = {
        "person": person,
        "offer": offer,
        "picture": Markup(offer.svg) if offer else "",  # noqa: S704 - drawn by segno from our own address
        "sessions": mine,
        "mine": session.id_hash,
        "errors": errors or {},
    }
    return page(request, "people/account.html", context, status=status)


async def _offered_secret(session: sessions.Session) -> str:
    """The key on offer stays the same while its owner types the first code; it is kept sealed."""
    kept = session.data.get("totp_offer")
    if kept:
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
        return await _account(request, fields_of(refused), 422)
    return flash(see_other("/admin/account"), _("Your password was changed. Other devices are signed out."))


@post("/account/second-factor", opt={"who": "staff:any", "limit": "sign-in", "fresh": True})
async def second_factor_on(request: Request[Any, Any, Any]) -> Response[Any]:
    form = await read_form(request, SecondFactor)
    session: sessions.Session = request.state.session
    secret = await _offered_secret(session)

    async def write(tx: db.Tx) -> bool:
        done = await totp.turn_on(tx, session.staff_id or 0, secret, form.totp)
        if done:
            await sessions.remember(tx, session.id_hash, {"totp_offer": None})
            await staff.record(tx, session.staff_id or 0, "staff.second_factor_on", caller(request))
        return done

    if not await db.transaction(write):
        return await _account(request, {"totp": _("This code does not fit. Check the clock of your phone.")}, 422)
    return flash(see_other("/admin/account"), _("Two-step sign-in is on."))


@post("/account/second-factor/off", opt={"who": "staff:any", "fresh": True})
async def second_factor_off(request: Request[Any, Any, Any]) -> Response[Any]:
    session: sessions.Session = request.state.session

    async def write(tx: db.Tx) -> None:
        await totp.turn_off(tx, session.staff_id or 0)
        await staff.record(tx, session.staff_id or 0, "staff.second_factor_off", caller(request))

    await db.transaction(write)
    return flash(see_other("/admin/account"), _("Two-step sign-in is off."), "warning")


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


@get("/staff", opt={"who": "staff:staff.manage"})
async def staff_list(request: Request[Any, Any, Any]) -> Response[str]:
    return await _staff_list(request)


async def _staff_list(
    request: Request[Any, Any, Any],
    errors: dict[str, Any] | None = None,
    kept: dict[str, Any] | None = None,
    link: str = "",
    status: int = 200,
) -> Response[str]:
    people = await db.fetch("SELECT * FROM people_staff WHERE shop_id = $1 ORDER BY created_at", shop_id(request))
    context = {
        "people": people,
        "roles": [(role, rights.ROLE_NAMES[role]) for role in rights.ROLES],
        "role_names": rights.ROLE_NAMES,
        "errors": errors or {},
        "kept": kept or {},
        "link": link,
    }
    return page(request, "people/staff.html", context, status=status)


@post("/staff", opt={"who": "staff:staff.manage", "fresh": True})
async def invite(request: Request[Any, Any, Any]) -> Response[Any]:
    try:
        form = await read_form(request, Invitation)
        token = await staff.invite(shop_id(request), form.email, form.name, form.role, request.state.session.staff_id)
    except FormError as error:
        return await _staff_list(request, error.fields, error.kept, status=422)
    except Refused as refused:
        return await _staff_list(request, fields_of(refused), msgspec.to_builtins(form), status=422)
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


async def _then_list(request: Request[Any, Any, Any], act: Any) -> Response[Any]:
    try:
        await act
    except Refused as refused:
        return await _staff_list(request, fields_of(refused), status=422)
    return flash(see_other("/admin/staff"), _("Saved."))


async def _known(request: Request[Any, Any, Any], staff_id: int) -> None:
    if not await db.fetchval(
        "SELECT EXISTS (SELECT 1 FROM people_staff WHERE id = $1 AND shop_id = $2)", staff_id, shop_id(request)
    ):
        raise NotFound()


def _link(request: Request[Any, Any, Any], purpose: str, token: str) -> str:
    return f"{request.app.state.config.base_url}/admin/welcome/{purpose}?token={token}"


ROUTES = (
    setup,
    make_first_admin,
    sign_in_page,
    sign_in,
    sign_out,
    confirm_page,
    confirm,
    choose_password_page,
    choose_password,
    account,
    new_password,
    second_factor_on,
    second_factor_off,
    sign_out_others,
    staff_list,
    invite,
    reset,
    change_role,
    disable,
    enable,
    take_second_factor,
)
