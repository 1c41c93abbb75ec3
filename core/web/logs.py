"""One line for each thing that happened, whatever was in it; errors with their path through the code, but
without values of variables and without request bodies."""

from __future__ import annotations

import logging
import re
import time
import traceback
from types import TracebackType

from core.web import visit as visits

BREAKS = re.compile(r"[\x00-\x1f\x7f\x85\u2028\u2029]")
LONGEST_MESSAGE = 2000
LONGEST_ERROR = 300
MOST_FRAMES = 25


def one_line(text: str) -> str:
    """``text`` with everything that could start a new line or move a terminal's cursor made visible."""
    return BREAKS.sub(lambda sign: sign[0].encode("unicode_escape").decode(), text)


def told(error: BaseException) -> str:
    """What happened and where, the cause behind it included. Of the error's own text only its first line
    counts: databases and parsers add the offending data below it."""
    parts = []
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        first_line = (str(current).splitlines() or [""])[0][:LONGEST_ERROR]
        parts.append(f"{type(current).__name__}: {first_line} at {_path(current.__traceback__)}")
        current = current.__cause__ or (None if current.__suppress_context__ else current.__context__)
    return " | caused by ".join(parts)


def _path(trace: TracebackType | None) -> str:
    frames = traceback.extract_tb(trace)[-MOST_FRAMES:]
    return " > ".join(
        f"{frame.filename.rpartition('site-packages/')[2]}:{frame.lineno} {frame.name}" for frame in frames
    )


class OneLine(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        visit = visits.current()
        request = f" [{visit.id}]" if visit else ""
        line = (
            f"{moment}.{int(record.msecs):03d}Z {record.levelname} {record.name}{request} "
            f"{record.getMessage()[:LONGEST_MESSAGE]}"
        )
        if record.exc_info and record.exc_info[1] is not None:
            line += f" | {told(record.exc_info[1])}"
        return one_line(line)
