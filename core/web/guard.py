"""Stands before every route: may this request come in at all? What a route allows it says in its ``opt``:

``who``       anyone | buyer | staff:<right> | staff:any | key:<scope> | gateway; required
``max_body``  bytes, 1 MB when not said
``limit``     a name from ``core.web.limits``
``repeats``   query names that may stand more than once
``session``   True loads the session on a GET that anyone may make; "late" leaves it to a buyer's route, whose own
              statement looks at the cookie's session
``fresh``     True on a POST of staff: the password must have been given within the last minutes, else the person is
              asked for it and the act goes on with the same form
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import quote

from core.web import csrf, forms, limits
from core.web.errors import (
    BadRequest,
    ComingSoon,
    Forbidden,
    NotFound,
    SignInNeeded,
    TooLarge,
    UnknownDevice,
    WrongContentType,
)
from core.web.feature import KEY, STAFF, BadRoute, who_may
from core.web.i18n import _
from core.web.visit import Visit

MAX_BODY = 1_000_000
LONGEST_ID = 18
"""Digits of a number in a path: the database's ids end a little above."""
SAFE = frozenset(("GET", "HEAD", "OPTIONS"))
FORMS = (b"application/x-www-form-urlencoded", b"multipart/form-data")
JSON = b"application/json"
SIGN_IN = "/admin/sign-in"
BEFORE_OPENING = frozenset("o pay gift x lookup balance account media static look preferences healthz readyz".split())
"""How paths begin that work for everybody while the shop is not open yet: those of orders, and of machines."""

App = Callable[[Any, Any, Any], Awaitable[None]]


class Session(Protocol):
    @property
    def kind(self) -> str: ...

    @property
    def shop_id(self) -> int | None: ...

    def may(self, right: str) -> bool: ...
    def called(self, right: str) -> object: ...


class Key(Protocol):
    @property
    def id(self) -> int: ...
    @property
    def shop_id(self) -> int: ...

    def may(self, scope: str) -> bool: ...


LoadSession = Callable[[str], Awaitable[Session | None]]
IsPromised = Callable[[str | None], Awaitable[bool]]
"""Whether a cookie that is no session yet was given out by us and may become one."""
LoadKey = Callable[[str], Awaitable[Key | None]]
Prove = Callable[[Visit, forms.Form | None, str], Awaitable[forms.Form | None]]
"""Gives the form of a dangerous act once its person has lately proven who they are, else raises the page that asks."""


@dataclass(frozen=True, slots=True)
class Policy:
    who: str
    max_body: int
    limit: str | None
    repeats: tuple[str, ...]
    session: bool
    late: bool
    fresh: bool

    @classmethod
    def of(cls, opt: dict[str, Any], name: str) -> Policy:
        limit = opt.get("limit")
        if limit is not None and limit not in limits.LIMITS:
            raise ValueError(f"{name}: there is no limit called {limit}")
        who = who_may(opt, name)
        if opt.get("fresh") and not who.startswith(STAFF):
            raise BadRoute(f"{name}: only staff can be asked to prove who they are again")
        return cls(
            who=who,
            max_body=opt.get("max_body", MAX_BODY),
            limit=limit,
            repeats=tuple(opt.get("repeats", ())),
            session=opt.get("session") is True,
            late=opt.get("session") == "late",
            fresh=bool(opt.get("fresh")),
        )

    @property
    def right(self) -> str | None:
        return self.who.removeprefix(STAFF) if self.who.startswith(STAFF) else None

    @property
    def scope(self) -> str | None:
        return self.who.removeprefix(KEY) if self.who.startswith(KEY) else None


class Guard:
    def __init__(
        self,
        app: App,
        *,
        load_session: LoadSession,
        is_promised: IsPromised,
        load_key: LoadKey,
        prove: Prove,
        base_origin: str,
    ) -> None:
        self.app = app
        self._load_session = load_session
        self._is_promised = is_promised
        self._load_key = load_key
        self._prove = prove
        self._base_origin = base_origin
        self._policies: dict[int, Policy] = {}

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        policy = self._policy(scope["route_handler"])
        visit: Visit = scope["state"]["visit"]
        scope["state"]["session"] = None
        if policy.who == "gateway":
            if policy.limit:
                await limits.hit(policy.limit, visit.ip)
            await self.app(scope, _limited(scope, receive, policy.max_body), send)
            return
        if "\0" in scope["path"] or b"%00" in scope["query_string"]:
            raise BadRequest()
        if any(part.isdigit() and len(part) > LONGEST_ID for part in scope["path"].split("/")):
            raise NotFound()
        if forms.repeated(scope["query_string"], policy.repeats):
            raise BadRequest(why=_("Something stands twice in the address."))
        if policy.scope is not None:
            await self._admit_key(policy, policy.scope, scope, visit)
            receive = self._still_good(scope, _limited(scope, receive, policy.max_body), visit)
            await self.app(scope, receive, send)
            return
        if visit.surface == "shop" and visit.shop.settings.coming_soon:
            await self._check_open(visit)
        if visit.method in SAFE:
            await self._admit(policy, scope, visit)
            await self.app(scope, receive, send)
            return
        await self._unsafe(policy, scope, receive, send, visit)

    def _policy(self, handler: Any) -> Policy:
        policy = self._policies.get(id(handler))
        if policy is None:
            opt = handler.opt if "OPTIONS" not in handler.http_methods else {"who": "anyone"}
            policy = self._policies[id(handler)] = Policy.of(opt, handler.handler_name)
        return policy

    async def _check_open(self, visit: Visit) -> None:
        """Nobody but staff looks around before the shop opens."""
        if visit.path.split("/")[1] in BEFORE_OPENING:
            return
        session = await self._load_session(visit.cookie) if visit.cookie else None
        if session is None or session.kind != "staff" or session.shop_id != visit.shop.id:
            raise ComingSoon(looks=visit.method in SAFE)
        visit.session = session

    async def _admit_key(self, policy: Policy, wanted: str, scope: Any, visit: Visit) -> None:
        """A program shows its key in each request; cookies count for nothing here, so nobody can be tricked."""
        key = await self._key(scope, visit)
        scope["state"]["key"] = key
        if policy.limit:
            await limits.hit(policy.limit, f"key:{key.id}")
        if not key.may(wanted):
            raise Forbidden(why=_("The API key does not have the scope %(scope)s.", scope=wanted))

    def _still_good(self, scope: Any, receive: Any, visit: Visit) -> Any:
        """A key that was withdrawn while the body came is of no use any more."""

        async def received() -> Any:
            message = await receive()
            if message["type"] == "http.request" and not message.get("more_body"):
                await self._key(scope, visit)
            return message

        return received

    async def _key(self, scope: Any, visit: Visit) -> Key:
        kind, _blank, token = dict(scope["headers"]).get(b"authorization", b"").decode("latin-1").partition(" ")
        key = await self._load_key(token.strip()) if kind.lower() == "bearer" else None
        if key is None or key.shop_id != visit.shop.id:
            await limits.hit("bad-key", visit.ip)
            raise SignInNeeded(
                _("This needs an API key"),
                _("There was no key, or it is not known in this shop, was withdrawn or is over."),
                _("Send it as: Authorization: Bearer <key>"),
                headers={"WWW-Authenticate": "Bearer"},
            )
        return key

    async def _unsafe(self, policy: Policy, scope: Any, receive: Any, send: Any, visit: Visit) -> None:
        headers = dict(scope["headers"])
        origin = csrf.source(visit, headers, self._base_origin)
        if origin is csrf.Source.FOREIGN:
            raise Forbidden(why=_("The request came from another site."))
        await self._admit(policy, scope, visit)
        receive = _limited(scope, receive, policy.max_body)
        form = await self._read_form(headers, receive, policy)
        try:
            ours = policy.late or visit.session is not None or await self._is_promised(visit.cookie)
            _check_token(headers, form, visit, origin, holds_cookie=ours)
            if policy.fresh:
                form = await self._prove(visit, form, headers.get(b"user-agent", b"").decode("latin-1"))
            if policy.right is not None:
                await self._admit_still(policy.right, scope, visit)
            scope["state"]["form"] = form
            await self.app(scope, receive, send)
        finally:
            if form:
                form.close()

    async def _read_form(self, headers: dict[bytes, bytes], receive: Any, policy: Policy) -> forms.Form | None:
        content_type = headers.get(b"content-type", b"")
        kind = content_type.partition(b";")[0].strip().lower()
        if kind in FORMS:
            return await forms.parse(content_type.decode("latin-1"), receive, policy.max_body)
        empty = headers.get(b"content-length", b"0") == b"0" and b"transfer-encoding" not in headers
        if kind == JSON or (empty and not kind):
            return None
        raise WrongContentType()

    async def _admit(self, policy: Policy, scope: Any, visit: Visit) -> None:
        wants_session = not policy.late and (policy.who != "anyone" or policy.session or visit.method not in SAFE)
        if wants_session and visit.cookie:
            await self._recognise(scope, visit, visit.cookie)
        if policy.limit:
            await limits.hit(policy.limit, _counted_as(limits.LIMITS[policy.limit], visit))
        if policy.right is not None:
            _check_staff(policy.right, visit)
        elif policy.who == "buyer" and visit.method not in SAFE:
            if not (visit.cookie if policy.late else visit.session):
                raise UnknownDevice()

    async def _admit_still(self, right: str, scope: Any, visit: Visit) -> None:
        """A body may take half an hour to come, and meanwhile its sender be signed out or lose the role."""
        if visit.cookie:
            await self._recognise(scope, visit, visit.cookie)
        _check_staff(right, visit)

    async def _recognise(self, scope: Any, visit: Visit, cookie: str) -> None:
        session = await self._load_session(cookie)
        if session is not None and session.kind == "staff" and session.shop_id != visit.shop.id:
            session = None  # staff of one shop is nobody in another
        visit.session = scope["state"]["session"] = session


def _counted_as(limit: limits.Limit, visit: Visit) -> str:
    if limit.by == "everyone":
        return "*"
    if limit.by == "session" and visit.session is not None and visit.cookie:
        return hashlib.sha256(visit.cookie.encode()).hexdigest()[:32]
    return visit.ip


def _check_staff(right: str, visit: Visit) -> None:
    session = visit.session
    if session is None or session.kind != "staff":
        raise SignInNeeded(context={"sign_in": _sign_in_path(visit)})
    if right != "any" and not session.may(right):
        raise Forbidden(
            why=_("Your role does not include this."),
            action=_("Ask the owner of the shop for the right: %(right)s", right=session.called(right)),
        )


def _sign_in_path(visit: Visit) -> str:
    if visit.method not in SAFE:
        return f"{SIGN_IN}?unsent=yes"
    return f"{SIGN_IN}?next={quote(visit.address, safe='/')}"


def _check_token(
    headers: dict[bytes, bytes], form: forms.Form | None, visit: Visit, origin: csrf.Source, *, holds_cookie: bool
) -> None:
    """A browser that holds a cookie of ours must show its token; one without must at least come from our own pages."""
    given = headers.get(csrf.HEADER, b"").decode("latin-1") or (form.first(csrf.FIELD) if form else "")
    if visit.cookie and csrf.matches(visit.cookie, given):
        return
    hidden_origin = headers.get(b"origin") == b"null" and origin is csrf.Source.UNKNOWN
    if not holds_cookie and not hidden_origin:
        return
    raise Forbidden(
        _("This page was open for too long"),
        _("It was made before you signed in or started an order here, so it lacks the right key."),
        _("Check what you filled in and send it again from here."),
        context={"again": _sendable_again(form) if origin is csrf.Source.OURS else None},
    )


def _sendable_again(form: forms.Form | None) -> dict[str, list[str]] | None:
    """The fields to offer on the "send again" page; not when one of them is a secret or a file."""
    if form is None or form.files or any(map(forms.NOT_KEPT.search, form.fields)):
        return None
    return {name: values for name, values in form.fields.items() if name != csrf.FIELD}


def _limited(scope: Any, receive: Any, max_body: int) -> Any:
    for name, value in scope["headers"]:
        if name == b"content-length" and (not value.isdigit() or int(value) > max_body):
            raise TooLarge()
    seen = 0

    async def counted() -> Any:
        nonlocal seen
        message = await receive()
        if message["type"] == "http.request":
            seen += len(message.get("body", b""))
            if seen > max_body:
                raise TooLarge()
        return message

    return counted
