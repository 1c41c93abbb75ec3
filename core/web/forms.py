"""Reading what people send: forms, uploads, queries and JSON become typed structs or a clear ``FormError``."""

from __future__ import annotations

import io
import json
import re
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import IO, Annotated, Any, TypeVar, get_args, get_origin
from urllib.parse import parse_qsl

import msgspec
from litestar import Request
from multipart import MultipartError, MultipartSegment, PushMultipartParser, parse_options_header

from core.refused import Refused
from core.web import csrf
from core.web.errors import BadRequest, FormError, TooLarge, WrongContentType
from core.web.i18n import Text, _

S = TypeVar("S", bound=msgspec.Struct)

ONE_LINE = r"^[^\r\n]*$"
Line = Annotated[str, msgspec.Meta(max_length=300, pattern=ONE_LINE, extra={"strip": True})]
"""One line of text; blanks around it are dropped."""

MAX_FIELDS = 1000
MAX_FIELD_BYTES = 4_000_000
NOT_KEPT = re.compile(r"password|otp|secret|^codes$")
"""The names of fields that are never shown again: ``mail_codes`` is a switch, ``codes`` are codes."""
WHOLE = re.compile(r"-?[0-9]{1,30}")
CONTROL = {chr(code) for code in range(32)} - {"\t", "\n", "\r"}

Receive = Callable[[], Awaitable[Any]]


@dataclass(slots=True)
class Upload:
    """A file as it came, held in memory: it may be a list of codes, and those never lie on a disk unsealed.

    ``filename`` and ``content_type`` are what the browser says; ``size`` counts bytes.
    """

    filename: str
    content_type: str
    file: IO[bytes]
    size: int = 0


@dataclass(slots=True)
class Form:
    fields: dict[str, list[str]] = field(default_factory=dict)
    files: dict[str, list[Upload]] = field(default_factory=dict)

    def first(self, name: str) -> str:
        return (self.fields.get(name) or [""])[0]

    def close(self) -> None:
        for uploads in self.files.values():
            for upload in uploads:
                upload.file.close()


# -- from bytes to names and values -----------------------------------------------------


async def parse(content_type: str, receive: Receive, max_body: int) -> Form:
    kind, options = parse_options_header(content_type)
    if kind == "application/x-www-form-urlencoded":
        return parse_urlencoded(await read_body(receive, max_body))
    if kind == "multipart/form-data":
        return await _parse_multipart(options.get("boundary", ""), receive, max_body)
    raise WrongContentType()


async def read_body(receive: Receive, max_body: int) -> bytes:
    body = bytearray()
    async for chunk in _chunks(receive, max_body):
        body += chunk
    return bytes(body)


async def _chunks(receive: Receive, max_body: int) -> Any:
    size, more = 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise BadRequest()
        chunk = message.get("body", b"")
        size += len(chunk)
        if size > max_body:
            raise TooLarge()
        more = message.get("more_body", False)
        yield chunk


def parse_urlencoded(body: bytes) -> Form:
    form = Form()
    try:
        pairs = parse_qsl(body.decode("ascii"), keep_blank_values=True, max_num_fields=MAX_FIELDS, errors="strict")
    except ValueError as error:
        raise BadRequest() from error
    for name, value in pairs:
        form.fields.setdefault(name, []).append(value)
    return form


async def _parse_multipart(boundary: str, receive: Receive, max_body: int) -> Form:
    form = Form()
    part: MultipartSegment | None = None
    upload: Upload | None = None
    text = bytearray()
    try:
        with PushMultipartParser(boundary, max_segment_count=MAX_FIELDS, strict=True) as parser:
            async for chunk in _chunks(receive, max_body):
                for event in parser.parse(chunk):
                    if isinstance(event, MultipartSegment):
                        part, text = event, bytearray()
                        upload = _open_upload(form, event) if event.filename is not None else None
                    elif event and upload:
                        upload.file.write(event)
                        upload.size += len(event)
                    elif event:
                        text += event
                        if len(text) > MAX_FIELD_BYTES:
                            raise TooLarge()
                    elif upload:
                        upload.file.seek(0)
                    elif part:
                        form.fields.setdefault(part.name, []).append(bytes(text).decode())
    except (MultipartError, UnicodeDecodeError) as error:
        form.close()
        raise BadRequest() from error
    except BaseException:
        form.close()
        raise
    return form


def _open_upload(form: Form, part: MultipartSegment) -> Upload:
    upload = Upload(_base_name(part.filename), part.content_type or "", io.BytesIO())
    form.files.setdefault(part.name, []).append(upload)
    return upload


def _base_name(name: str) -> str:
    """Only for showing: what stands after the last slash of either kind, without control signs."""
    return "".join(sign for sign in name.replace("\\", "/").rpartition("/")[2] if sign.isprintable())[:200]


# -- from names and values to structs ---------------------------------------------------


async def read_form(request: Request[Any, Any, Any], kind: type[S], *, gather: Mapping[str, str] | None = None) -> S:
    """The posted form as ``kind``; every mistake is named in one ``FormError``.

    Unknown fields are refused, repeated ones too unless the struct has a list there. A blank field counts as
    not given. ``gather={"fields": "field_"}`` collects everything that begins with ``field_`` into the
    struct's dict ``fields``. ``kind`` is a ``msgspec.Struct``.

    :raises FormError: with the words for every field that is wrong.
    """
    form: Form | None = request.scope["state"].get("form")
    if form is None:
        raise WrongContentType()
    values: dict[str, list[Any]] = {name: list(items) for name, items in form.fields.items() if name != csrf.FIELD}
    for name, uploads in form.files.items():
        values.setdefault(name, []).extend(upload for upload in uploads if upload.filename or upload.size)
    for target, prefix in (gather or {}).items():
        values[target] = [_gathered(values, prefix)]
    return build(values, kind)


def read_query(request: Request[Any, Any, Any], kind: type[S]) -> S:
    """The query as ``kind``. Names the struct does not know are ignored: links carry all sorts of marks."""
    query = request.scope.get("query_string", b"")
    given = parse_urlencoded(query).fields if query else {}
    known = {one.name for one in _expected(kind)}
    return build({name: list(values) for name, values in given.items() if name in known}, kind)


async def read_json(request: Request[Any, Any, Any], kind: type[S]) -> S:
    """The JSON body as ``kind``, a ``msgspec.Struct``; repeated keys and anything after the value are refused.

    :raises BadRequest: it is no JSON, or holds signs that cannot be stored.
    :raises FormError: with the words for the field that is wrong.
    """
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise WrongContentType()
    try:
        value = json.loads(await request.body(), object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise BadRequest() from error
    if _unstorable(value):
        raise BadRequest(why=_("This contains signs that cannot be used."))
    try:
        return msgspec.convert(value, kind, strict=True)
    except msgspec.ValidationError as error:
        message, name = _located(str(error))
        raise FormError({name or "body": _words(message)}) from None


def errors_of(refused: Refused) -> dict[str, Any]:
    """What a service refused, as errors of the form it was typed into; under ``form`` what is about no field."""
    return {refused.field or "form": refused.text}


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("repeated key")
    return found


def _unstorable(value: Any) -> bool:
    """PostgreSQL keeps neither NUL nor half a sign of a pair."""
    if isinstance(value, str):
        return "\0" in value or (not value.isascii() and any("\ud800" <= sign <= "\udfff" for sign in value))
    if isinstance(value, dict):
        return any(_unstorable(name) or _unstorable(one) for name, one in value.items())
    return isinstance(value, list) and any(map(_unstorable, value))


def repeated(query: bytes, allowed: tuple[str, ...] = ()) -> bool:
    """Whether a name stands twice in a query or form body: two readers may then see two different requests."""
    if query.count(b"&") == 0:
        return False
    counts = Counter(name for name, _value in parse_qsl(query.decode("latin-1"), keep_blank_values=True))
    return any(count > 1 and name not in allowed for name, count in counts.items())


def _gathered(values: dict[str, list[Any]], prefix: str) -> dict[str, str]:
    found = {}
    for name in [name for name in values if name.startswith(prefix)]:
        items = values.pop(name)
        if len(items) != 1:
            raise FormError({name: _("This was sent more than once.")})
        found[name.removeprefix(prefix)] = items[0]
    return found


def build(values: dict[str, list[Any]], kind: type[S]) -> S:
    given = dict(values)
    wrong: dict[str, Text | str] = {}
    built: dict[str, Any] = {}
    for one in _expected(kind):
        items = values.pop(one.name, [])
        try:
            found = _one(items, one)
        except _Mistake as mistake:
            wrong[one.name] = mistake.message
            continue
        if found is not msgspec.UNSET:
            built[one.name] = found
    wrong.update({name: _("This page has no such field.") for name in values})
    if wrong:
        raise FormError(wrong, _kept(given))
    try:
        return kind(**built)
    except ValueError as error:  # from __post_init__: what only the fields together can tell
        raise FormError({"form": str(error)}, _kept(given)) from None


@dataclass(frozen=True, slots=True)
class _Expected:
    """A field of a struct."""

    name: str
    required: bool
    type: Any
    plain: Any
    """The type without its Annotated wrapping and without ``| None``."""
    is_list: bool
    strip: bool
    """Blanks around it are dropped."""


@cache
def _expected(kind: type[msgspec.Struct]) -> list[_Expected]:
    found = []
    for one in msgspec.structs.fields(kind):
        plain, strip = _plain(one.type)
        found.append(_Expected(one.name, one.required, one.type, plain, get_origin(plain) in (list, tuple), strip))
    return found


class _Mistake(Exception):
    def __init__(self, message: Text) -> None:
        self.message = message


def _one(items: list[Any], one: _Expected) -> Any:
    if any(isinstance(item, str) and CONTROL.intersection(item) for item in items):
        raise _Mistake(_("This contains signs that cannot be used."))
    if one.is_list:
        return _converted([item for item in items if item != ""], one.type)
    if len(items) > 1:
        raise _Mistake(_("This was sent more than once."))
    value = items[0] if items else ""
    if one.strip and isinstance(value, str):
        value = value.strip()
    if value == "":
        if one.required:
            raise _Mistake(_("Please fill this in."))
        return msgspec.UNSET
    if isinstance(value, str) and one.plain is not str:
        value = value.strip()
        if one.plain is bool:
            value = {"on": "true", "yes": "true"}.get(value, value)
        elif one.plain is int and not WHOLE.fullmatch(value):
            raise _Mistake(_("Please enter a whole number."))
    return _converted(value, one.type)


def _plain(type_: Any) -> tuple[Any, bool]:
    """As ``_Expected`` has it: the plain type, and whether blanks are dropped."""
    strip = False
    if get_origin(type_) is Annotated:
        type_, *metas = get_args(type_)
        strip = any(isinstance(meta, msgspec.Meta) and (meta.extra or {}).get("strip") for meta in metas)
    if type(None) in get_args(type_):
        inner, inner_strip = _plain(next(arg for arg in get_args(type_) if arg is not type(None)))
        return inner, strip or inner_strip
    return type_, strip


def _converted(value: Any, type_: Any) -> Any:
    try:
        return msgspec.convert(value, type_, strict=False, dec_hook=_as_is)
    except msgspec.ValidationError as error:
        raise _Mistake(_words(_located(str(error))[0])) from None


def _as_is(type_: type, value: Any) -> Any:
    if isinstance(value, type_):
        return value
    raise ValueError("not a file")


def _kept(values: dict[str, list[Any]]) -> dict[str, Any]:
    """What the form is shown with again. Pages look things up by it, so signs no text can hold are taken out."""
    kept: dict[str, Any] = {}
    for name, items in values.items():
        if NOT_KEPT.search(name) or not items or isinstance(items[0], Upload):
            continue
        clean = [_without_control(item) for item in items]
        kept[name] = clean[0] if len(clean) == 1 else clean
    return kept


def _without_control(item: Any) -> Any:
    return "".join(sign for sign in item if sign not in CONTROL) if isinstance(item, str) else item


def _located(message: str) -> tuple[str, str]:
    text, _at, place = message.partition(" - at `$")
    return text, place.strip("`.").partition("[")[0]


def _words(message: str) -> Text:
    number = message.rpartition("=")[2].strip() if "=" in message else ""
    if "of length >=" in message:
        return _("At least %(number)s signs, please.", number=number)
    if "of length <=" in message:
        return _("At most %(number)s signs, please.", number=number)
    if ">=" in message:
        return _("This must be %(number)s or more.", number=number)
    if "<=" in message:
        return _("This must be %(number)s or less.", number=number)
    if "matching regex" in message:
        return _("This does not look right.")
    expected = message.partition(", got")[0]
    if "`int" in expected:
        return _("Please enter a whole number.")
    if "`float" in expected or "`decimal" in expected:
        return _("Please enter a number.")
    if "date" in message.lower():
        return _("Please enter a date.")
    if "missing required field" in message:
        return _("Please fill this in.")
    if "unknown field" in message:
        return _("This page has no such field.")
    if "nvalid enum value" in message or "bool" in message:
        return _("Please choose one of the values offered.")
    return _("This does not look right.")
