"""`server.py import-codes`: a file into stock, in this process, without a job."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from msgspec import structs

from core import db
from core.money import Money
from core.refused import Refused
from core.shops import service as shops
from core.terminal import _
from core.vault import import_layout, import_run, import_service
from core.vault.import_run import BatchFacts, Meter
from core.vault.import_service import Mapping, Preview, Report
from core.vault.import_staging import UploadError
from core.vault.import_words import PROBLEMS

READ = 1 << 18
SHOWN = 20

Facts = dict[str, Any]


async def run(
    file: Path,
    *,
    sku: str,
    batch: str | None = None,
    cost: str | None = None,
    columns: str | None = None,
    dry_run: bool = False,
) -> Facts:
    """Import ``file`` for the SKU of that code in the main shop; with ``dry_run`` only say what would happen.

    ``cost`` is what one code cost, in the shop's currency, such as ``19.90``; ``columns`` those that make the code,
    counted from one, such as ``1,2``.
    """
    shop = await shops.main_shop()
    unit_cost = _unit_cost(cost, shop.currency)
    sku_id = await db.fetchval("SELECT id FROM catalog_sku WHERE shop_id = $1 AND code = $2", shop.id, sku)
    if sku_id is None:
        raise UploadError("no_such_sku")
    import_id = await import_service.stage(shop.id, _pieces(file), file.name, sku_id)
    try:
        mapping = _mapping(await import_service.preview(shop.id, import_id), columns)
        numeric = (await import_service.preview(shop.id, import_id, mapping)).numeric
        if dry_run:
            await db.transaction(_check, shop.id, import_id, mapping)
        else:
            await db.transaction(
                _import, shop.id, import_id, mapping, BatchFacts(name=batch or file.stem, unit_cost=unit_cost)
            )
        report = await import_service.report(shop.id, import_id)
        return {**await _facts(report, sku, dry_run), "numeric_columns": [column + 1 for column in numeric]}
    finally:
        await _forget(shop.id, import_id)


def _unit_cost(text: str | None, currency: str) -> int | None:
    if text is None:
        return None
    try:
        amount = Money.parse(text, currency).amount
    except ValueError:
        amount = -1
    if amount < 0:
        raise Refused(_("Write an amount in digits, such as 19.90."))
    return amount


def _mapping(preview: Preview, columns: str | None) -> Mapping:
    """As proposed, except where that is a guess among several columns: nobody looks it over here."""
    proposed = preview.mapping
    if columns is not None:
        return structs.replace(proposed, code_columns=_numbers(columns))
    is_certain = proposed.width == len(proposed.code_columns) or import_layout.names_code(preview.names)
    if not is_certain:
        raise UploadError("which_columns")
    return proposed


def _numbers(columns: str) -> tuple[int, ...]:
    numbers = [int(text) if text.strip().isdecimal() else 0 for text in columns.split(",")]
    if min(numbers) < 1:
        raise UploadError("bad_mapping")
    return tuple(number - 1 for number in numbers)


async def _pieces(file: Path) -> AsyncIterator[bytes]:
    with file.open("rb") as source:
        while piece := source.read(READ):
            yield piece


async def _check(tx: db.Tx, shop_id: int, import_id: int, mapping: Mapping) -> None:
    await import_service.begin(tx, shop_id, import_id, "checking", mapping)
    await import_run.run_check(tx, import_id, Meter(), import_run.no_guard)


async def _import(tx: db.Tx, shop_id: int, import_id: int, mapping: Mapping, facts: BatchFacts) -> None:
    await import_service.begin(tx, shop_id, import_id, "importing", mapping)
    await import_run.run_import(tx, import_id, facts, None, Meter(), import_run.no_guard)


async def _forget(shop_id: int, import_id: int) -> None:
    """A finished import stays, as from the console; an upload that was only looked at goes."""
    await db.execute("DELETE FROM vault_import WHERE id = $1 AND shop_id = $2 AND state <> 'done'", import_id, shop_id)


async def _facts(report: Report, sku: str, dry_run: bool) -> Facts:
    findings = report.findings
    if findings is None:
        raise RuntimeError("an import ended without findings")
    problems = []
    async for reject in import_service.rejects(report.shop_id, report.id):
        problems.append({"line": reject.line, "reason": reject.reason, "code": reject.mask})
        if len(problems) == SHOWN:
            break
    counts = findings.counts
    return {
        "dry_run": dry_run,
        "sku": sku,
        "file": report.filename,
        "batch_id": report.batch_id,
        "new": counts.new,
        "duplicate_in_file": counts.duplicate_in_file,
        "duplicate_in_stock": counts.duplicate_in_stock,
        "already_sold": counts.already_sold,
        "malformed": counts.malformed,
        "problems": problems,
    }


def summary(facts: Facts) -> str:
    """The facts for a person at a terminal."""
    new = {"number": facts["new"], "sku": facts["sku"]}
    added = _("%(number)s codes would be added to %(sku)s.", **new)
    lines = [added if facts["dry_run"] else _("%(number)s codes were added to %(sku)s.", **new)]
    for number, words in (
        (
            facts["duplicate_in_file"],
            _("%(number)s stand in the file more than once.", number=facts["duplicate_in_file"]),
        ),
        (facts["duplicate_in_stock"], _("%(number)s are in stock already.", number=facts["duplicate_in_stock"])),
        (facts["already_sold"], _("%(number)s were sold already.", number=facts["already_sold"])),
        (facts["malformed"], _("%(number)s cannot be used.", number=facts["malformed"])),
    ):
        if number:
            lines.append(words)
    if facts["numeric_columns"]:
        columns = ", ".join(map(str, facts["numeric_columns"]))
        lines.append(
            _("Column %(columns)s holds numbers, not text: zeros at their beginning get lost.", columns=columns)
        )
    for problem in facts["problems"]:
        why = PROBLEMS[problem["reason"]]
        lines.append("  " + _("line %(line)s: %(code)s %(why)s", line=problem["line"], code=problem["code"], why=why))
    return "\n".join(lines)
