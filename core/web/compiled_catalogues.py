"""Catalogues compiled once, and kept beside their ``.po`` files as Python keeps what it compiles.

Compiling them anew was a quarter of the start of every process.
"""

from __future__ import annotations

import hashlib
import os
import sys
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from tempfile import NamedTemporaryFile


def read(source: Path, locale: str, keep: bool = not sys.dont_write_bytecode) -> bytes:
    """The ``.mo`` of a ``.po`` file. It is known by what the source says, so an old one is never taken."""
    text = source.read_bytes()
    folder = source.parent / "__pycache__"
    kept = folder / f"{source.stem}.{hashlib.sha256(text).hexdigest()[:16]}.mo"
    with suppress(OSError):
        return kept.read_bytes()
    from babel.messages.mofile import write_mo
    from babel.messages.pofile import read_po

    binary = BytesIO()
    write_mo(binary, read_po(BytesIO(text), locale=locale))
    if keep:
        with suppress(OSError):  # where the program may not write, every start compiles
            _keep(kept, binary.getvalue(), [*folder.glob(f"{source.stem}.????????????????.mo")])
    return binary.getvalue()


def _keep(kept: Path, binary: bytes, old: list[Path]) -> None:
    kept.parent.mkdir(exist_ok=True)
    with NamedTemporaryFile(dir=kept.parent, delete=False) as file:
        file.write(binary)
    os.replace(file.name, kept)
    for one in old:
        one.unlink(missing_ok=True)
