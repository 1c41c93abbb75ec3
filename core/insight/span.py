"""Which days a page is about, in the shop's own time zone, and the days before them to compare with."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, time, timedelta

from babel import dates

from core import clock
from core.web.i18n import Text, _

NAMES: dict[str, Text] = {
    "today": _("Today"),
    "7": _("7 days"),
    "30": _("30 days"),
    "custom": _("Chosen days"),
}
LONGEST = timedelta(days=3653)
EARLIEST = date(2000, 1, 1)


@dataclass(frozen=True, slots=True)
class Span:
    """``first`` to ``last`` are whole days, both included; what lies in the future is cut off at ``end``.

    ``before`` and ``before_end`` are the same stretch of time, directly before: a day that is half over is compared
    with half a day.
    """

    key: str
    first: date
    last: date
    start: datetime
    end: datetime
    before: datetime
    before_end: datetime
    zone: str

    @property
    def days(self) -> int:
        return (self.last - self.first).days + 1


def of(key: str, first: date | None, last: date | None, zone_name: str) -> Span:
    """``today``, ``7``, ``30``, or ``custom`` with its first and last day; seven days for anything else."""
    zone = dates.get_timezone(zone_name)
    now = clock.now().astimezone(zone)
    today = now.date()
    if key == "custom" and (first or last):
        last = max(min(last or today, today), EARLIEST)
        first = max(min(first or last, last), last - LONGEST)
    else:
        key = key if key in ("today", "7", "30") else "7"
        last, first = today, today - timedelta(days={"today": 0, "7": 6, "30": 29}[key])
    shift = last - first + timedelta(days=1)
    end = min(now, _midnight(last + timedelta(days=1), zone))
    return Span(
        key=key,
        first=first,
        last=last,
        start=_midnight(first, zone),
        end=end,
        before=_midnight(first - shift, zone),
        before_end=end - shift,
        zone=zone_name,
    )


def _midnight(day: date, zone: object) -> datetime:
    return datetime.combine(day, time(), zone)  # type: ignore[arg-type]
