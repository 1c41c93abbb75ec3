"""Pictures of products: whatever a merchant uploads becomes one clean, small WebP without hidden data."""

from __future__ import annotations

import asyncio
import hashlib
import io
import warnings
from concurrent.futures import ThreadPoolExecutor
from typing import IO, Any

from core.db import Tx
from core.refused import Refused
from core.web.i18n import _

LONGEST_SIDE = 1200
MOST_PIXELS = 40_000_000
TOO_MANY_PIXELS = _("This picture has too many pixels. Choose a smaller one.")
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "AVIF")
QUALITY = 82

_one_by_one = ThreadPoolExecutor(1, "pictures")
"""A picture of a few kilobytes may unpack to 350 MB: several at once would fill the memory of a small machine."""


async def read(file: IO[bytes]) -> tuple[bytes, int, int]:
    """``(body, width, height)`` of the picture as it is kept.

    :raises Refused: it is no picture we read, or it is far too large.
    """
    return await _encoded(file, LONGEST_SIDE)


async def clean_picture(file: IO[bytes], longest_side: int = 1600) -> bytes:
    """An uploaded picture as a WebP no longer or wider than that, without place, camera or anything else hidden in it.

    :raises Refused: it is no picture we read (PNG, JPEG, WebP, AVIF, GIF), or it has far too many pixels.
    """
    return (await _encoded(file, longest_side))[0]


async def _encoded(file: IO[bytes], longest_side: int) -> tuple[bytes, int, int]:
    return await asyncio.get_running_loop().run_in_executor(_one_by_one, _encode, file, longest_side)


def _encode(file: IO[bytes], longest_side: int) -> tuple[bytes, int, int]:
    from PIL import Image  # not needed before there is a picture

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            return _drawn_anew(file, longest_side)
    except Refused:
        raise
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):
        raise Refused(TOO_MANY_PIXELS, "image") from None
    except Exception:  # noqa: BLE001  a broken file makes its readers stumble in ways that no list of errors holds
        raise Refused(_("This is not a picture we can read. Use PNG, JPEG, WebP, AVIF or GIF."), "image") from None


def _drawn_anew(file: IO[bytes], longest_side: int) -> tuple[bytes, int, int]:
    from PIL import Image, ImageOps

    picture: Any = Image.open(file, formats=FORMATS)
    if picture.width * picture.height > MOST_PIXELS:
        raise Refused(TOO_MANY_PIXELS, "image")
    picture = ImageOps.exif_transpose(picture)
    picture.thumbnail((longest_side, longest_side))
    picture = picture.convert("RGBA" if "A" in picture.getbands() or "transparency" in picture.info else "RGB")
    body = io.BytesIO()
    picture.save(body, "WEBP", quality=QUALITY, method=4)
    return body.getvalue(), picture.width, picture.height


async def keep(tx: Tx, shop_id: int, body: bytes, width: int, height: int) -> int:
    """Store it once; the same picture again gives the same id."""
    return await tx.fetchval(
        "INSERT INTO catalog_media (shop_id, sha256, content_type, width, height, body)"
        " VALUES ($1, $2, 'image/webp', $3, $4, $5)"
        " ON CONFLICT (shop_id, sha256) DO UPDATE SET content_type = excluded.content_type RETURNING id",
        shop_id,
        hashlib.sha256(body).hexdigest(),
        width,
        height,
        body,
    )
