"""A message that survives one redirect: set while answering a form, shown on the page that follows."""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass
from typing import Any

from litestar import Response

from core.web import cookies
from core.web import visit as visits

COOKIE = "flash"
KINDS = ("success", "info", "warning", "error")
LONGEST = 500


@dataclass(frozen=True, slots=True)
class Flash:
    text: str
    kind: str


def flash(response: Response[Any], text: Any, kind: str = "success") -> Response[Any]:
    """Show ``text`` on the page that follows ``response``, once; ``kind`` is ``success``, ``info``, ``warning`` or
    ``error``. Longer texts are cut at 500 signs. Gives ``response`` back."""
    visit = visits.current()
    packed = json.dumps([str(text)[:LONGEST], kind], ensure_ascii=False).encode()
    value = base64.urlsafe_b64encode(packed).decode().rstrip("=")
    response.cookies.append(cookies.make(COOKIE, value, secure=bool(visit and visit.secure), max_age=60))
    return response


def read(value: str | None) -> Flash | None:
    if not value:
        return None
    try:
        text, kind = json.loads(base64.urlsafe_b64decode(value + "=" * (-len(value) % 4)))
    except (ValueError, binascii.Error, TypeError, RecursionError):
        return None
    if not isinstance(text, str) or kind not in KINDS:
        return None
    return Flash(text[:LONGEST], kind)
