"""Pictures that buyers attach: each becomes a small WebP that does not tell where and with what it was taken."""

from __future__ import annotations

from collections.abc import Sequence

from core.api import FormError, Refused, Upload, _, clean_picture

from .tickets import Image

MOST = 3
LARGEST = 2 * 1024 * 1024
BODY = MOST * LARGEST + 200_000
ACCEPTED = "image/png,image/jpeg,image/webp,image/gif,image/avif"
KIND = "image/webp"
LONGEST_SIDE = 1600


async def read(uploads: Sequence[Upload]) -> list[Image]:
    """:raises FormError: too many, too large, or no picture."""
    if len(uploads) > MOST:
        raise FormError({"images": _("At most three pictures.")})
    return [await _cleaned(upload) for upload in uploads]


async def _cleaned(upload: Upload) -> Image:
    if upload.size > LARGEST:
        raise FormError({"images": _("%(name)s is larger than 2 MB.", name=upload.filename)})
    try:
        return Image(KIND, await clean_picture(upload.file, LONGEST_SIDE))
    except Refused:
        raise FormError(
            {"images": _("%(name)s is no picture: PNG, JPEG, WebP or GIF, please.", name=upload.filename)}
        ) from None
