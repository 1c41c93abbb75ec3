"""Acts on many rows and large exports: asked for, counted, then done row by row with a report."""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from core import clock, db
from core.audit import service as audit
from core.db import Tx
from core.jobs import enqueue, ring
from core.jobs import service as jobs
from core.lists import export
from core.people import rights
from core.refused import Refused
from core.web import lists
from core.web.i18n import _
from core.web.lists import DEEPEST, Act, Doing, Listing, Scope, Wanted

log = logging.getLogger("vouchsafe.lists")

AT_ONCE = 50
"""So many rows are done while one waits; more of them become a job."""
EXPORTED_AT_ONCE = 5_000
KEPT = timedelta(days=2)
NAMED = 20

Progress = Callable[[int, int], Awaitable[None]]

NEW = """
INSERT INTO lists_run (shop_id, staff_id, whole, ip, locale, list, act, query, keys, total, fields, state, created_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13) RETURNING id
"""
OF_STAFF = """
SELECT run.id, run.shop_id, run.staff_id, run.whole, run.ip, run.locale, run.list, run.act, run.query, run.fields,
       run.state, run.job_id, run.total, run.file_name, run.created_at, run.finished_at, run.keys,
       run.file IS NOT NULL AS has_file, staff.role, shop.currency, shop.timezone
FROM lists_run run JOIN people_staff staff ON staff.id = run.staff_id AND staff.disabled_at IS NULL
JOIN shops_shop shop ON shop.id = run.shop_id WHERE run.id = $1
"""
REPORT = "SELECT outcome, count(*) AS number FROM lists_result WHERE run_id = $1 GROUP BY outcome"
BEGIN = """
INSERT INTO lists_result (run_id, key, label, outcome, reason) VALUES ($1, $2, $3, 'failed', $4)
ON CONFLICT (run_id, key) DO NOTHING RETURNING run_id
"""
RESULT = "UPDATE lists_result SET outcome = $3, reason = $4 WHERE run_id = $1 AND key = $2"


@dataclass(frozen=True, slots=True)
class Run:
    """One of them with its list, and the person it is done for, with the rights of that person now."""

    row: Any
    listing: Listing
    scope: Scope

    @property
    def id(self) -> int:
        return int(self.row["id"])

    @property
    def act(self) -> Act:
        act = self.listing.act(self.row["act"])
        if act is None:
            raise Refused(_("There is no such act."))
        return act

    @property
    def is_export(self) -> bool:
        return str(self.row["act"]).startswith("export:")

    def doing(self, fields: dict[str, str] | None = None) -> Doing:
        ip = str(self.row["ip"]) if self.row["ip"] else None
        return Doing(self.scope, ip, fields if fields is not None else self.row["fields"])


def listing_of(name: str) -> Listing:
    found = lists.known().get(name)
    if found is None:
        raise Refused(_("There is no such list."))
    return found


async def load(run_id: int, staff_id: int | None = None) -> Run | None:
    """``staff_id``: only when it is that person's own."""
    row = await db.fetchrow(OF_STAFF, run_id)
    if row is None or (staff_id is not None and row["staff_id"] != staff_id):
        return None
    may = functools.partial(rights.may, row["role"], whole_server=row["whole"])
    scope = Scope(row["shop_id"], row["staff_id"], row["whole"], row["currency"], row["timezone"], may)
    return Run(row, listing_of(row["list"]), scope)


# -- an act on many rows ----------------------------------------------------------------


async def ask(want: Wanted, act: Act, keys: list[Any], locale: str, ip: str | None) -> int:
    """Write down which rows are meant; nothing is done yet."""
    return await _new(want, act.name, keys, len(keys), {}, locale, ip, "asked")


async def matching(want: Wanted) -> list[Any]:
    return await want.keys(DEEPEST)


async def known_keys(want: Wanted, ids: list[str]) -> list[Any]:
    """Those of the chosen rows that are on this list at all."""
    numbers = [int(one) for one in ids if one.isascii() and one.isdigit() and len(one) <= 18]
    if not numbers:
        return []
    chosen = ",".join(map(str, numbers))
    text, values = want.keys_statement(len(numbers), only=f"{want.listing.key} IN ({chosen})")
    return [row["row_key"] for row in await db.fetch(text, *values)]


async def _new(
    want: Wanted, act: str, keys: list[Any], total: int, fields: dict[str, str], locale: str, ip: str | None, state: str
) -> int:
    scope = want.scope
    facts = (want.listing.name, act, want.asked.query(), keys, total, fields, state, clock.now())
    return int(await db.fetchval(NEW, scope.shop_id, scope.staff_id, scope.whole_server, ip, locale, *facts))


async def start(run: Run, fields: dict[str, str]) -> None:
    """Do it: at once when it is little, else as a job.

    :raises Refused: it was begun before, or the person may not.
    """
    act = run.act
    if not run.scope.may(act.right):
        raise Refused(_("You may not do this."))
    small = run.row["total"] <= AT_ONCE

    async def write(tx: Tx) -> int | None:
        begun = await tx.fetchval(
            "UPDATE lists_run SET state = 'running', fields = $2 WHERE id = $1 AND state = 'asked' RETURNING id",
            run.id,
            fields,
        )
        if begun is None:
            raise Refused(_("This was begun before."))
        detail = {"list": run.listing.name, "act": act.name, "rows": run.row["total"], **fields}
        await audit.record(
            tx,
            f"staff:{run.scope.staff_id}",
            "lists.act",
            f"list:{run.listing.name}",
            detail,
            shop_id=run.scope.shop_id,
            ip=run.doing().ip,
        )
        return None if small else await _job(tx, run.id)

    job_id = await db.transaction(write)
    if job_id is not None:
        await ring(job_id)
        return
    again = await load(run.id)
    if again is not None:
        await carry_out(again)


async def go_on(run: Run) -> None:
    """Take up again what was cancelled or broke off, as a job. A row that was begun is never begun again.

    :raises Refused: it is over or at work, or the person may not.
    """
    if not run.is_export and not run.scope.may(run.act.right):
        raise Refused(_("You may not do this."))

    async def write(tx: Tx) -> int:
        row = await tx.fetchrow("SELECT state, job_id FROM lists_run WHERE id = $1 FOR UPDATE", run.id)
        if row is None or row["state"] != "running":
            raise Refused(_("It is over."))
        job_id = row["job_id"]
        if not await jobs.take_up(tx, job_id):
            job_id = await _job(tx, run.id)
        detail = {"list": run.listing.name, "act": run.row["act"], "run": run.id}
        await audit.record(
            tx,
            f"staff:{run.scope.staff_id}",
            "lists.went_on",
            f"list:{run.listing.name}",
            detail,
            shop_id=run.scope.shop_id,
            ip=run.doing().ip,
        )
        return job_id

    await ring(await db.transaction(write))


async def _job(tx: Tx, run_id: int) -> int:
    job_id = await enqueue(tx, "lists.run", {"run": run_id}, key=f"lists.run:{run_id}")
    await tx.execute("UPDATE lists_run SET job_id = $2 WHERE id = $1", run_id, job_id)
    return job_id


async def carry_out(run: Run, progress: Progress | None = None) -> None:
    """Row by row, each once. One that is refused is skipped, one that breaks is noted.

    What was begun is written down first: a second percent off a price would be worse than a row that is told as failed
    because the server went down over it.
    """
    act, doing = run.act, run.doing()
    keys = run.row["keys"]
    labels = await _labels(run, keys)
    cut_off = str(_("It was interrupted. Look whether it is done."))
    for number, key in enumerate(keys, 1):
        if await db.fetchval(BEGIN, run.id, str(key), labels.get(key, str(key)), cut_off) is not None:
            outcome, reason = await _one(act, doing, run, key)
            await db.execute(RESULT, run.id, str(key), outcome, reason)
        if progress:
            await progress(number, len(keys))
    await _finish(run.id)


async def _one(act: Act, doing: Doing, run: Run, key: Any) -> tuple[str, str]:
    if not run.scope.may(act.right):
        return "skipped", str(_("You may not do this."))
    try:
        await act.run(doing, key)
    except Refused as refused:
        return "skipped", str(refused.text)
    except Exception:
        # The others are still to be done; what broke stands in the log and in the report.
        log.exception("%s of %s broke for %s", act.name, run.listing.name, key)
        return "failed", str(_("Something broke. The log of the server says what."))
    return "done", ""


async def _labels(run: Run, keys: list[Any]) -> dict[Any, str]:
    want = Wanted(run.listing, run.scope, lists.Asked())
    found: dict[Any, str] = {}
    for at in range(0, len(keys), 1000):
        found.update(
            {row["row_key"]: str(run.listing.label(row))[:200] for row in await want.rows(keys[at : at + 1000])}
        )
    return found


async def _finish(run_id: int) -> None:
    await db.execute("UPDATE lists_run SET state = 'done', finished_at = $2 WHERE id = $1", run_id, clock.now())


async def report(run_id: int) -> dict[str, int]:
    counts = {row["outcome"]: row["number"] for row in await db.fetch(REPORT, run_id)}
    return {outcome: counts.get(outcome, 0) for outcome in ("done", "skipped", "failed")}


async def left_out(run_id: int, limit: int | None = None) -> list[Any]:
    """What was not done, with the reason; what broke first."""
    return await db.fetch(
        "SELECT key, label, outcome, reason FROM lists_result WHERE run_id = $1 AND outcome <> 'done'"
        " ORDER BY outcome, label LIMIT $2",
        run_id,
        limit,
    )


# -- exports ----------------------------------------------------------------------------


async def export_now(want: Wanted, form: str, ip: str | None) -> tuple[str, bytes]:
    keys = await want.keys(EXPORTED_AT_ONCE)
    file = export.new_file(form)
    async for rows in export.table(want, keys):
        await asyncio.to_thread(file.add, rows)
    await db.transaction(_note_export, want, form, len(keys), ip)
    return export.name_of(want, form, clock.now()), await asyncio.to_thread(file.bytes)


async def export_later(want: Wanted, form: str, locale: str, ip: str | None) -> int:
    run_id = await _new(want, f"export:{form}", [], 0, {}, locale, ip, "running")

    async def write(tx: Tx) -> int:
        await _note_export(tx, want, form, None, ip)
        return await _job(tx, run_id)

    await ring(await db.transaction(write))
    return run_id


async def _note_export(tx: Tx, want: Wanted, form: str, rows: int | None, ip: str | None) -> None:
    detail = {"form": form, "filters": want.asked.query(), "rows": rows if rows is not None else "> 5000"}
    await audit.record(
        tx,
        f"staff:{want.scope.staff_id}",
        "lists.exported",
        f"list:{want.listing.name}",
        detail,
        shop_id=want.scope.shop_id,
        ip=ip,
    )


async def carry_out_export(run: Run, progress: Progress) -> None:
    form = run.row["act"].partition(":")[2]
    want = await lists.wanted(run.listing, run.scope, lists.read(run.listing, run.row["query"]))
    keys = await want.keys(export.MOST)
    file, done = export.new_file(form), -1
    async for rows in export.table(want, keys):
        await asyncio.to_thread(file.add, rows)
        done += len(rows)
        await progress(min(done, len(keys) - 1), len(keys))
    name = export.name_of(want, form, run.row["created_at"])
    await db.execute(
        "UPDATE lists_run SET state = 'done', finished_at = $4, file = $2, file_name = $3, total = $5 WHERE id = $1",
        run.id,
        await asyncio.to_thread(file.bytes),
        name,
        clock.now(),
        len(keys),
    )


async def file_of(run_id: int) -> bytes | None:
    content: bytes | None = await db.fetchval("SELECT file FROM lists_run WHERE id = $1", run_id)
    return content


async def forget_old() -> None:
    await db.execute("DELETE FROM lists_run WHERE created_at < $1", clock.now() - KEPT)
