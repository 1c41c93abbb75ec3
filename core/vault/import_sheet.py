"""XLSX, XLS and ODS files, read in a process of their own.

A spreadsheet of a few kilobytes can ask for terabytes (a cell at XFD1048576, a billion repeated rows, a zip
bomb). The child has hard limits on memory and time, reads the file from its standard input and writes rows to
its standard output: nothing of it touches a disk, and when it dies the shop does not.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from core import tasks

CHILD = Path(__file__).with_name("import_sheet_child.py")
READ = 1 << 18
SECONDS = 120


class SheetError(Exception):
    """The file is no spreadsheet we can read. ``reason``: broken, too_big, locked, empty or no_such_sheet."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True)
class Sheet:
    name: str
    names: tuple[str, ...]


async def read(file: bytes, wanted: str | None = None) -> AsyncIterator[Sheet | bytes]:
    """First the sheet that is read, then its rows as lines of JSON, in pieces."""
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-I", CHILD, wanted or "",
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
        env={"LC_ALL": "C.UTF-8"}, limit=READ,
    )  # fmt: skip
    assert child.stdin is not None and child.stdout is not None  # noqa: S101 - asked for above
    feeding = asyncio.create_task(_feed(child.stdin, file))
    try:
        async with asyncio.timeout(SECONDS):
            yield _head(await child.stdout.readline())
            while piece := await child.stdout.read(READ):
                yield piece
            if await child.wait():
                raise SheetError("too_big")
    except (TimeoutError, ValueError):
        raise SheetError("too_big") from None
    finally:
        if child.returncode is None:
            child.kill()
        await tasks.end(feeding)
        await child.wait()


async def _feed(stdin: asyncio.StreamWriter, file: bytes) -> None:
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        stdin.write(file)
        await stdin.drain()
    stdin.close()


def _head(line: bytes) -> Sheet:
    if not line:
        raise SheetError("too_big")
    head = json.loads(line)
    if "problem" in head:
        raise SheetError(head["problem"])
    return Sheet(head["name"], tuple(head["names"]))
