"""The list of jobs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from core import db
from core.jobs import registry, service
from core.jobs.queue import ring
from core.jobs.titles import title_of
from core.jobs.words import STATES
from core.web.i18n import Text, _
from core.web.lists import Act, Badge, Cell, Choice, Column, Doing, Listing, Nothing, Scope, badge


async def names(_scope: Scope) -> Sequence[tuple[str, Text | str]]:
    registry.import_core()
    return [(name, title_of(name)) for name in sorted({*registry.names(), *await service.names()})]


async def retry(_doing: Doing, key: int) -> None:
    await db.transaction(service.retry_now, key)
    await ring(key)


async def stop(_doing: Doing, key: int) -> None:
    await db.transaction(service.cancel, key)


def _job(row: Any) -> Cell:
    marks = () if registry.find(row["name"]) else (Badge(_("unknown here"), "warning"),)
    return Cell(title_of(row["name"]), f"/admin/jobs/{row['id']}", note=f"{row['name']} · {row['id']}", badges=marks)


JOBS = Listing(
    name="jobs",
    title=_("Jobs"),
    path="/admin/jobs",
    right="jobs.read",
    key="job.id",
    source="FROM jobs_job job WHERE {whole}",
    rows="SELECT job.id AS row_key, job.id, name, state, tries, error, run_at, created_at, finished_at"
    " FROM jobs_job job WHERE job.id = ANY({keys})",
    order="job.id DESC",
    columns=(
        Column("job", _("Job"), _job),
        Column("state", _("State"), lambda row: badge(STATES, row["state"])),
        Column("tries", _("Tries"), lambda row: row["tries"], kind="number"),
        Column("error", _("Error"), lambda row: row["error"], kind="long"),
        Column("begins", _("Begins"), lambda row: row["run_at"] if row["state"] == "queued" else None),
        Column("written", _("Written"), lambda row: row["created_at"], "job.id"),
        Column("ended", _("Ended"), lambda row: row["finished_at"], "job.finished_at"),
    ),
    filters=(
        Choice("state", _("State"), STATES, "job.state = {value}"),
        Choice("name", _("Kind"), names, "job.name = {value}"),
        Choice(
            "periodic",
            _("Periodic ones"),
            {"0": _("Without the periodic ones"), "1": _("With the periodic ones")},
            {"0": "job.key IS NULL OR NOT starts_with(job.key, 'every:')", "1": "true"},
            default="0",
        ),
    ),
    acts=(
        Act(
            "retry",
            _("Start again"),
            "jobs.edit",
            _("They begin at once, with all their tries."),
            retry,
            "job.state IN ('failed', 'cancelled')",
            _("they neither failed nor were cancelled"),
        ),
        Act(
            "cancel",
            _("Cancel"),
            "jobs.edit",
            _("What they have done so far stays done."),
            stop,
            "job.state IN ('queued', 'running') AND (job.key IS NULL OR NOT starts_with(job.key, 'every:'))",
            _("they are over, or come back by themselves"),
            danger=True,
        ),
    ),
    label=lambda row: f"{row['name']} {row['id']}",
    empty=Nothing(
        _("No jobs yet"),
        _("Mails, imports and whatever takes a while come here."),
        "/admin",
        _("To the console"),
        "list-check",
    ),
)

LISTS = (JOBS,)
