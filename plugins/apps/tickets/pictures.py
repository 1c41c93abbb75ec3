"""Pictures that buyers attach: known by their first bytes, not by what they are called."""

from __future__ import annotations

from collections.abc import Sequence

from core.api import FormError, Upload, _

from .tickets import Image

MOST = 3
LARGEST = 2 * 1024 * 1024
BODY = MOST * LARGEST + 200_000
ACCEPTED = "image/png,image/jpeg,image/webp,image/gif"


def kind_of(body: bytes) -> str | None:
    if body.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if body.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if body.startswith((b"GIF87a", b"GIF89a")):
        return "image/gif"
    if body.startswith(b"RIFF") and body[8:12] == b"WEBP":
        return "image/webp"
    return None


def read(uploads: Sequence[Upload]) -> list[Image]:
    """:raises FormError: too many, too large, or no picture."""
    if len(uploads) > MOST:
        raise FormError({"images": _("At most three pictures.")})
    found = []
    for upload in uploads:
        if upload.size > LARGEST:
            raise FormError({"images": _("%(name)s is larger than 2 MB.", name=upload.filename)})
        body = upload.file.read()
        kind = kind_of(body)
        if kind is None:
            raise FormError(
                {"images": _("%(name)s is no picture: PNG, JPEG, WebP or GIF, please.", name=upload.filename)}
            )
        found.append(Image(kind, body))
    return found
