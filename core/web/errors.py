"""What went wrong, for people: what happened, why, what to do. One handler for the whole application."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import Any

from litestar import Request, Response
from litestar.exceptions import HTTPException

from core import db
from core.refused import NotNow
from core.web import visit as visits
from core.web.i18n import Text, _

log = logging.getLogger("vouchsafe.web")


MEND_THEME = _("Mend the template, start the shop again so that it reads it, then try again.")


class WebError(Exception):
    """An answer that is not the page asked for: raise it in a page.

    ``title`` says what happened, ``why`` the reason, ``action`` what to do; those left empty are filled in from the
    status. ``headers`` are sent with the answer, ``context`` is for the template of the error page.
    """

    status = 500

    def __init__(
        self,
        title: Text | str = "",
        why: Text | str = "",
        action: Text | str = "",
        *,
        status: int | None = None,
        headers: dict[str, str] | None = None,
        context: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(title)
        self.title = title
        self.why = why
        self.action = action
        self.status = status or self.status
        self.headers = headers or {}
        self.context = context or {}


class BadRequest(WebError):
    """Status 400: what was sent cannot be read."""

    status = 400


class SignInNeeded(WebError):
    status = 401


class UnknownDevice(SignInNeeded):
    """A page of a buyer, asked for by a browser that holds no session."""

    def __init__(self) -> None:
        super().__init__(
            _("We do not know this device any more"),
            _("The page belongs to an order, and this browser no longer holds its key."),
            _("Open the link in your order mail again, or find the order with the order search."),
        )


class Forbidden(WebError):
    """Status 403: whoever asks may not."""

    status = 403


class ComingSoon(WebError):
    """The shop is not open yet. Those who look get a page like any other; those who send something are refused."""

    def __init__(self, *, looks: bool) -> None:
        super().__init__(
            _("Coming soon"),
            _("This shop is being set up and opens soon."),
            _("Have you ordered already? The link in your order mail works as always."),
            status=200 if looks else 403,
            context={"template": "web/coming_soon.html"},
        )


class NotFound(WebError):
    """Status 404: there is no such thing, or not for whoever asks."""

    status = 404


class Conflict(WebError):
    """Status 409: what was to be changed has changed meanwhile."""

    status = 409


class TooLarge(WebError):
    status = 413


class WrongContentType(WebError):
    status = 415


class CannotDraw(WebError):
    """A draft of the shop's looks fails on this page; staff is told where."""

    def __init__(self, where: str) -> None:
        super().__init__(_("This theme cannot draw the page"), where, MEND_THEME)


class FormError(WebError):
    """Status 422: the form has mistakes. ``fields`` are the words for each by the field's name; a page catches it and
    shows the form again with them and with ``kept``."""

    status = 422

    def __init__(self, fields: dict[str, Text | str], kept: dict[str, Any] | None = None) -> None:
        super().__init__(context={"fields": fields})
        self.fields = fields
        self.kept = kept or {}
        """What was typed, to fill the form again. Passwords and uploads are not kept."""


class TooMany(WebError):
    """Status 429: asked too often. ``retry_after`` are the seconds to wait, for the header ``Retry-After``."""

    status = 429

    def __init__(self, retry_after: int = 60) -> None:
        super().__init__(headers={"Retry-After": str(retry_after)})


class Unavailable(WebError):
    """Status 503: it cannot be done now. ``retry_after`` are the seconds to wait, for the header ``Retry-After``."""

    status = 503

    def __init__(self, retry_after: int = 10) -> None:
        super().__init__(headers={"Retry-After": str(retry_after)})


@dataclass(frozen=True, slots=True)
class Answer:
    """What the error page says."""

    status: int
    title: Text | str
    why: Text | str
    action: Text | str
    headers: dict[str, str] = field(default_factory=dict)
    context: dict[str, Any] = field(default_factory=dict)


WORDS: dict[int, tuple[Text, Text, Text]] = {
    400: (
        _("We could not read that request"),
        _("Something in the address or in the form was not as it should be."),
        _("Go back, reload the page and try again."),
    ),
    401: (
        _("Please sign in"),
        _("This page is only for signed-in people, or your session has ended."),
        _("Sign in and open the page again."),
    ),
    403: (
        _("You may not do that"),
        _("Your account or your link does not allow this, or the page was open for too long."),
        _("Reload the page and try again. If it still fails, ask the shop."),
    ),
    404: (
        _("This page does not exist"),
        _("The address may be mistyped, or the page was removed."),
        _("Check the address, or start again from the home page."),
    ),
    405: (
        _("That does not work here"),
        _("The page exists, but not for this kind of request."),
        _("Go back and use the buttons on the page."),
    ),
    409: (
        _("Someone was faster"),
        _("What you wanted to change has changed in the meantime."),
        _("Reload the page to see how it is now, then try again."),
    ),
    413: (
        _("That is too large"),
        _("What you sent is larger than this page accepts."),
        _("Send less at once, for example a smaller file."),
    ),
    415: (
        _("We do not read that format"),
        _("The request did not say what it contains, or in a format this page does not take."),
        _("Use the form on the page."),
    ),
    422: (
        _("Some fields need another look"),
        _("What you filled in cannot be used as it is."),
        _("Mend the fields listed below and send the form again."),
    ),
    429: (
        _("Too many tries"),
        _("There were too many requests in a short time, so we paused this for a while."),
        _("Wait a little and try again."),
    ),
    500: (
        _("Something broke on our side"),
        _("This is our mistake, not yours. It was written to the log."),
        _("Try again in a moment. If it happens again, tell the shop the number below."),
    ),
    503: (
        _("Back in a moment"),
        _("The shop cannot reach a part it needs right now."),
        _("Nothing was lost. Wait a few seconds and reload."),
    ),
}


def answer_for(error: Exception) -> Answer:
    if isinstance(error, WebError):
        return _worded(error.status, error.headers, error.context, error.title, error.why, error.action)
    if isinstance(error, HTTPException):
        status = 422 if error.status_code == 400 and error.extra else error.status_code
        kept = {name: value for name, value in (error.headers or {}).items() if name.lower() == "allow"}
        return _worded(status, kept)
    if isinstance(error, NotNow):
        return _worded(503, {"Retry-After": "60"}, why=error.text)
    if isinstance(error, db.AWAY):
        return _worded(503, {"Retry-After": "10"})
    return _worded(500)


def _worded(
    status: int,
    headers: dict[str, str] | None = None,
    context: dict[str, Any] | None = None,
    title: Text | str = "",
    why: Text | str = "",
    action: Text | str = "",
) -> Answer:
    words = WORDS.get(status) or WORDS[400 if status < 500 else 500]
    return Answer(status, title or words[0], why or words[1], action or words[2], headers or {}, context or {})


def handle(request: Request[Any, Any, Any], error: Exception) -> Response[Any]:
    answer = answer_for(error)
    if answer.status >= 500:
        log.error("%s %s failed", request.method, request.scope["path"], exc_info=error)
    return respond(request, answer)


def respond(request: Request[Any, Any, Any], answer: Answer) -> Response[Any]:
    from core.web.render import error_page

    visit = visits.current()
    if visit is None or visit.surface == "api":
        return problem(answer, visit.id if visit else "")
    return error_page(request, answer)


CODES = {
    400: "bad_request",
    401: "no_key",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    409: "conflict",
    413: "too_large",
    415: "wrong_content_type",
    422: "invalid_fields",
    429: "too_many",
    500: "internal",
    503: "unavailable",
}
"""What a program reads instead of the words; an error may bring a more exact one as ``code`` in its context."""


def problem(answer: Answer, request_id: str) -> Response[Any]:
    body: dict[str, Any] = {
        "type": "about:blank",
        "title": str(answer.title),
        "status": answer.status,
        "code": answer.context.get("code") or CODES.get(answer.status, "bad_request"),
        "detail": f"{answer.why} {answer.action}",
        "request_id": request_id,
    }
    fields = answer.context.get("fields")
    if fields:
        body["errors"] = {name: str(message) for name, message in fields.items()}
    body.update(answer.context.get("more", {}))
    return Response(body, status_code=answer.status, headers=answer.headers, media_type="application/problem+json")
