"""Hands out theme files: from memory, compressed once, cacheable for ever under their hashed address."""

from __future__ import annotations

import functools
import gzip
import mimetypes
from pathlib import Path
from typing import Any

from litestar import Request, Response, get
from litestar.params import FromPath

from core.web.errors import NotFound
from core.web.themes import Themes

FOREVER = "public, max-age=31536000, immutable"
COMPRESSIBLE = ("text/", "application/javascript", "application/json", "image/svg+xml")
TYPES = {".js": "text/javascript", ".svg": "image/svg+xml", ".webmanifest": "application/manifest+json"}


@get("/static/{look:str}/{path:path}", opt={"who": "anyone"})
async def static_file(request: Request[Any, Any, Any], look: FromPath[str], path: FromPath[str]) -> Response[bytes]:
    themes: Themes = request.app.state.themes
    theme_id, _dash, hash_ = look.rpartition("-")
    ready = themes.ready(theme_id)
    found = ready.static.content(path.lstrip("/")) if ready else ()
    if ready is None or not found:
        raise NotFound()
    # After an update, pages made before it still ask for the old address: they get the new file, uncached.
    cache = FOREVER if hash_ == ready.static.hash else "no-cache"
    media_type, plain, small = _loaded(found)
    headers = {"cache-control": cache, "vary": "Accept-Encoding"}
    if small is not None and "gzip" in request.headers.get("accept-encoding", ""):
        headers["content-encoding"] = "gzip"
        return Response(small, media_type=media_type, headers=headers)
    return Response(plain, media_type=media_type, headers=headers)


@functools.lru_cache(maxsize=512)
def _loaded(paths: tuple[Path, ...]) -> tuple[str, bytes, bytes | None]:
    first = paths[0]
    media_type = TYPES.get(first.suffix) or mimetypes.guess_type(first.name)[0] or "application/octet-stream"
    plain = b"\n".join(path.read_bytes() for path in paths)
    if not media_type.startswith(COMPRESSIBLE):
        return media_type, plain, None
    small = gzip.compress(plain, 9, mtime=0)
    return media_type, plain, small if len(small) < len(plain) else None
