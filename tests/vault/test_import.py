"""Whole imports on a real PostgreSQL: dry run, import, duplicates, undo, and what they leave behind."""

from __future__ import annotations

import asyncio
import base64
import itertools
import random
import secrets
import subprocess
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import asyncpg
import pytest
from msgspec import structs

from core import clock, db
from core.jobs import Cancelled, LeaseLost
from core.jobs.runner import Runner
from core.vault import cipher, import_command, import_run, import_service, jobs, stock
from core.vault.import_run import BatchFacts, Counts, Meter
from core.vault.import_service import Mapping, Report, UndoRefused, UploadError
from tests.vault.conftest import in_pieces, new_sku
from tests.vault.test_sheets import xlsx


async def staged(sku_id: int, data: str | bytes, filename: str = "codes.txt") -> int:
    raw = data.encode() if isinstance(data, str) else data
    return await import_service.stage(1, in_pieces(raw), filename, sku_id)


async def checked(import_id: int, mapping: Mapping) -> Report:
    await db.transaction(import_service.begin, 1, import_id, "checking", mapping)
    await db.transaction(import_run.run_check, import_id, Meter(), import_run.no_guard)
    return await import_service.report(1, import_id)


async def imported(import_id: int, mapping: Mapping | None = None, name: str = "batch") -> Report:
    await db.transaction(import_service.begin, 1, import_id, "importing", mapping)
    await db.transaction(import_run.run_import, import_id, BatchFacts(name=name), None, Meter(), import_run.no_guard)
    return await import_service.report(1, import_id)


async def brought_in(sku_id: int, data: str, mapping: Mapping | None = None) -> Report:
    return await imported(await staged(sku_id, data), mapping or Mapping())


def counts(report: Report) -> Counts:
    assert report.findings is not None
    return report.findings.counts


async def opened(sku_id: int) -> list[str]:
    """Every code of an SKU as its buyer would get it."""
    rows = await db.fetch(
        "SELECT code.*, wrapped_key, key_version FROM vault_code code JOIN vault_batch batch ON batch.id = batch_id"
        " WHERE code.sku_id = $1",
        sku_id,
    )
    texts = []
    for row in rows:
        batch = cipher.open_batch(
            row["wrapped_key"], row["key_version"], row["shop_id"], row["sku_id"], row["batch_id"]
        )
        texts.append(batch.open(row["id"], row["blob"]).reveal())
        assert row["mask"] == cipher.mask(texts[-1])
        assert row["fingerprint"] == cipher.fingerprint(1, texts[-1])
        if row["expires_on"]:
            assert row["slot"] == stock.slot(row["fingerprint"], row["expires_on"])
        assert row["state"] == "free"
    return sorted(texts)


async def sell(sku_id: int, code: str, state: str = "delivered") -> None:
    done = await db.execute(
        "UPDATE vault_code SET state = $3, line_id = 1, delivered_at = CASE WHEN $3 = 'delivered' THEN now() END"
        " WHERE sku_id = $1 AND fingerprint = $2",
        sku_id,
        cipher.fingerprint(1, code),
        state,
    )
    assert done == "UPDATE 1"


async def rejected(import_id: int) -> list[tuple[int, str, str]]:
    return [tuple(reject) async for reject in import_service.rejects(1, import_id)]


def codes(number: int, prefix: str = "CODE") -> list[str]:
    return [f"{prefix}-{secrets.token_hex(6).upper()}" for _ in range(number)]


# -- the way of a file ------------------------------------------------------------------


async def test_a_text_file_becomes_stock(sku_id: int) -> None:
    import_id = await staged(
        sku_id, "AAAA-1111-0001\n BBBB-2222-0001 \r\n\nAAAA-1111-0001\nＢＢＢＢ-2222-0001\nC\x00C\n"
    )
    look = await import_service.preview(1, import_id)
    assert look.mapping == Mapping()
    assert look.rows[0].cells == ["AAA•-••••-••••"]
    report = await checked(import_id, look.mapping)
    wanted = Counts(new=2, duplicate_in_file=2, malformed=1)
    assert (report.state, counts(report)) == ("checked", wanted)
    assert await opened(sku_id) == []
    assert await db.fetchval("SELECT count(*) FROM vault_batch WHERE sku_id = $1", sku_id) == 0
    problems = [
        (4, "duplicate_in_file", "••••001"),
        (5, "duplicate_in_file", "••••001"),
        (6, "control_signs", "••••"),
    ]
    assert await rejected(import_id) == problems

    report = await imported(import_id, name="first batch")
    assert (report.state, counts(report)) == ("done", wanted)
    assert await opened(sku_id) == ["AAAA-1111-0001", "BBBB-2222-0001"]
    assert await rejected(import_id) == problems
    batch = await db.fetchrow("SELECT * FROM vault_batch WHERE id = $1", report.batch_id)
    assert batch is not None
    assert (batch["name"], batch["state"], batch["sku_id"]) == ("first batch", "ready", sku_id)
    assert batch["counts"] == {"imported": 2, "refused": 3}
    assert await db.fetchval("SELECT count(*) FROM vault_import_piece WHERE import_id = $1", import_id) == 0
    audit = await db.fetchrow("SELECT * FROM audit_entry WHERE object = $1", f"import:{import_id}")
    assert audit is not None
    assert (audit["actor"], audit["act"]) == ("system", "stock.import")


async def test_what_is_in_stock_or_sold_is_told_apart(sku_id: int) -> None:
    other = await new_sku()
    await brought_in(other, "IN-STOCK-0001\nSOLD-0001\nHELD-0001\n")
    await sell(other, "SOLD-0001")
    await sell(other, "HELD-0001", "reserved")
    text = "SOLD-0001\nIN-STOCK-0001\nNEW-0001\nHELD-0001\nIN-STOCK-0001\nNEW-0001\n"
    import_id = await staged(sku_id, text)
    wanted = Counts(new=1, duplicate_in_file=1, duplicate_in_stock=3, already_sold=1)
    report = await checked(import_id, Mapping())
    assert counts(report) == wanted
    first = await rejected(import_id)
    assert [row[:2] for row in first] == [
        (1, "already_sold"), (2, "duplicate_in_stock"), (4, "duplicate_in_stock"), (5, "duplicate_in_stock"),
        (6, "duplicate_in_file"),
    ]  # fmt: skip
    report = await imported(import_id)
    assert counts(report) == wanted
    assert await rejected(import_id) == first
    assert await opened(sku_id) == ["NEW-0001"]


async def test_a_file_with_nothing_new_makes_no_batch(sku_id: int) -> None:
    await brought_in(sku_id, "ONCE-0001\n")
    report = await brought_in(sku_id, "ONCE-0001\nONCE-0001\n")
    assert (report.batch_id, counts(report)) == (None, Counts(duplicate_in_stock=2))
    assert await db.fetchval("SELECT count(*) FROM vault_batch WHERE sku_id = $1", sku_id) == 1


async def test_a_hundred_thousand_lines_with_every_kind_of_trouble(sku_id: int) -> None:
    """The dry run, the import and a plain model of both agree line by line."""
    chance = random.Random(7)
    old = codes(300, "OLD")
    await brought_in(sku_id, "\n".join(old))
    for code in old[:5]:
        await sell(sku_id, code)
    lines = codes(100_000)
    for at in chance.sample(range(100_000), 900):
        lines[at] = chance.choice([lines[chance.randrange(100_000)], chance.choice(old), "", "bad\x01line"])
    seen: set[str] = set()
    wanted = []
    for number, line in enumerate(lines, 1):
        if not line:
            continue
        if line in old:
            wanted.append((number, "already_sold" if line in old[:5] else "duplicate_in_stock"))
        elif "\x01" in line:
            wanted.append((number, "control_signs"))
        elif line in seen:
            wanted.append((number, "duplicate_in_file"))
        seen.add(line)
    import_id = await staged(sku_id, "\n".join(lines))
    report = await checked(import_id, Mapping())
    assert [row[:2] for row in await rejected(import_id)] == wanted
    dry = counts(report)
    report = await imported(import_id)
    assert [row[:2] for row in await rejected(import_id)] == wanted
    assert counts(report) == dry
    new = {line for line in lines if line and "\x01" not in line} - set(old)
    assert counts(report).new == len(new)
    assert await db.fetchval("SELECT count(*) FROM vault_code WHERE batch_id = $1", report.batch_id) == len(new)
    assert report.findings is not None
    assert all(len(some) <= 10 for some in report.findings.samples.values())


async def test_a_code_is_good_until_its_day_is_over_at_the_shop(sku_id: int, monkeypatch: pytest.MonkeyPatch) -> None:
    # 21:30 in New York, and the next day in Greenwich
    monkeypatch.setattr(clock, "now", lambda: datetime(2026, 11, 23, 2, 30, tzinfo=UTC))
    before = await db.fetchval("SELECT timezone FROM shops_shop WHERE id = 1")
    await db.execute("UPDATE shops_shop SET timezone = 'America/New_York' WHERE id = 1")
    try:
        import_id = await staged(sku_id, "code,expires\nENDS-TODAY-1,2026-11-22\nENDED-BEFORE,2026-11-21\n", "x.csv")
        mapping = (await import_service.preview(1, import_id)).mapping
        wanted = Counts(new=1, malformed=1)
        assert counts(await checked(import_id, mapping)) == wanted
        assert counts(await imported(import_id)) == wanted
    finally:
        await db.execute("UPDATE shops_shop SET timezone = $1 WHERE id = 1", before)
    assert await opened(sku_id) == ["ENDS-TODAY-1"]


async def test_a_spreadsheet_with_accounts_expiry_and_notes(sku_id: int) -> None:
    rows: list[list[Any]] = [
        ["账号", "密码", "有效期", "备注"],
        ["a@x.com", "pw-1", date(2027, 1, 31), "first"],
        ["b@x.com", 4711, date(2020, 1, 31), "expired"],
        ["c@x.com", 1234567890123456, None, "lost"],
        ["d@x.com", "pw-4", None, None],
    ]
    import_id = await staged(sku_id, xlsx({"Notes": [], "Stock": rows}), "stock.xlsx")
    look = await import_service.preview(1, import_id)
    assert (look.names, look.upload.sheet, look.upload.sheets) == (rows[0], "Stock", ("Notes", "Stock"))
    assert look.mapping.code_columns == (0, 1)
    assert (look.mapping.expiry_column, look.mapping.note_column) == (2, 3)
    assert "pw-1" not in str(look)
    report = await imported(import_id, look.mapping)
    assert counts(report) == Counts(new=2, malformed=2)
    assert await rejected(import_id) == [(3, "expired", "••••m"), (4, "lost_digits", "••••m")]
    assert await opened(sku_id) == ["a@x.com----pw-1", "d@x.com----pw-4"]
    kept = await db.fetch("SELECT note, expires_on FROM vault_code WHERE sku_id = $1 ORDER BY note", sku_id)
    assert [tuple(row) for row in kept] == [("", None), ("first", date(2027, 1, 31))]


async def test_a_spreadsheet_that_holds_codes_as_numbers_is_no_silent_loss(sku_id: int, tmp_path: Any) -> None:
    rows: list[list[Any]] = [["面值", "卡号", "卡密"], [100, 4711, "AAAA-1"], [100, "0815", "AAAA-2"]]
    file = tmp_path / "numbers.xlsx"
    file.write_bytes(xlsx({"Stock": rows}))
    import_id = await staged(sku_id, file.read_bytes(), file.name)
    look = await import_service.preview(1, import_id)
    assert (look.mapping.code_columns, look.numeric) == ((1, 2), [1])
    assert (await import_service.preview(1, import_id, structs.replace(look.mapping, code_columns=(2,)))).numeric == []
    sku = await db.fetchval("SELECT code FROM catalog_sku WHERE id = $1", sku_id)
    facts = await import_command.run(file, sku=sku)
    assert facts["numeric_columns"] == [2]
    assert "Column 2 holds numbers, not text" in import_command.summary(facts)
    assert await opened(sku_id) == ["0815----AAAA-2", "4711----AAAA-1"]


async def test_codes_past_their_date_leave_the_shelf(sku_id: int) -> None:
    await brought_in(
        sku_id, "KEEP-0001,2099-01-01\nGONE-0001,2099-01-01\n", Mapping(separator=",", width=2, expiry_column=1)
    )
    gone = cipher.fingerprint(1, "GONE-0001")
    await db.execute(
        "UPDATE vault_code SET expires_on = '2020-01-01', slot = vault_first_slot('2020-01-01') WHERE fingerprint = $1",
        gone,
    )
    await jobs.tidy(None)  # type: ignore[arg-type]
    rows = await db.fetch("SELECT fingerprint, state FROM vault_code WHERE sku_id = $1", sku_id)
    assert {row["fingerprint"]: row["state"] for row in rows} == {
        gone: "quarantined",
        cipher.fingerprint(1, "KEEP-0001"): "free",
    }


# -- through jobs -----------------------------------------------------------------------


async def test_dry_run_and_import_as_jobs(sku_id: int) -> None:
    lines = codes(3000)
    import_id = await staged(sku_id, "\n".join(lines))
    runner = Runner(2)
    job_id = await import_service.dry_run(1, import_id, Mapping())
    with pytest.raises(UploadError) as busy:
        await import_service.commit(1, import_id, BatchFacts(name="too early"))
    assert busy.value.reason == "busy"
    await (await runner.start(job_id))
    report = await import_service.report(1, import_id)
    assert (report.state, report.done, report.total) == ("checked", 3000, 3000)
    job_id = await import_service.commit(1, import_id, BatchFacts(name="by job", unit_cost=250))
    await (await runner.start(job_id))
    report = await import_service.report(1, import_id)
    assert (report.state, counts(report)) == ("done", Counts(new=3000))
    assert await opened(sku_id) == sorted(lines)
    assert await db.fetchval("SELECT unit_cost FROM vault_batch WHERE id = $1", report.batch_id) == 250
    args = await db.fetchval("SELECT string_agg(args::text, '') FROM jobs_job")
    assert "CODE-" not in args
    with pytest.raises(UploadError) as gone:
        await import_service.commit(1, import_id, BatchFacts(name="again"))
    assert gone.value.reason == "no_such_import"


async def test_an_upload_that_lost_a_part_fails_with_its_reason(sku_id: int) -> None:
    import_id = await staged(sku_id, "\n".join(codes(40_000)))
    await db.execute("DELETE FROM vault_import_piece WHERE import_id = $1 AND position = 1", import_id)
    job_id = await import_service.commit(1, import_id, BatchFacts(name="broken"), mapping=Mapping())
    await (await Runner(1).start(job_id))
    report = await import_service.report(1, import_id)
    assert (report.state, report.error) == ("failed", "incomplete")
    assert "Upload the file again" in report.words
    assert await opened(sku_id) == []
    await import_service.drop(1, import_id)
    assert await db.fetchval("SELECT count(*) FROM vault_import_piece WHERE import_id = $1", import_id) == 0


async def test_a_piece_put_in_another_place_does_not_open(sku_id: int) -> None:
    import_id = await staged(sku_id, "\n".join(codes(40_000)))
    await db.execute(
        "UPDATE vault_import_piece SET blob = (SELECT blob FROM vault_import_piece"
        " WHERE import_id = $1 AND position = 0) WHERE import_id = $1 AND position = 1",
        import_id,
    )
    with pytest.raises(cipher.DecryptError):
        await imported(import_id, Mapping())
    assert await opened(sku_id) == []


async def test_a_worker_that_lost_its_lease_writes_nothing(sku_id: int) -> None:
    import_id = await staged(sku_id, "\n".join(codes(100)))
    await db.transaction(import_service.begin, 1, import_id, "importing", Mapping())

    async def lost(tx: db.Tx) -> None:
        raise LeaseLost

    with pytest.raises(LeaseLost):
        await db.transaction(import_run.run_import, import_id, BatchFacts(name="x"), None, Meter(), lost)
    assert await opened(sku_id) == []
    assert (await import_service.report(1, import_id)).state == "importing"


async def test_a_person_may_stop_an_import(sku_id: int) -> None:
    import_id = await staged(sku_id, "\n".join(codes(100)))
    job_id = await import_service.commit(1, import_id, BatchFacts(name="stopped"), mapping=Mapping())
    await db.execute("UPDATE jobs_job SET cancel = true WHERE id = $1", job_id)
    await (await Runner(1).start(job_id))
    assert await opened(sku_id) == []
    assert (await import_service.report(1, import_id)).state == "failed"
    stopped = Meter(stop=Cancelled())
    await db.transaction(import_service.begin, 1, import_id, "importing")
    with pytest.raises(Cancelled):
        await db.transaction(
            import_run.run_import, import_id, BatchFacts(name="stopped"), None, stopped, import_run.no_guard
        )
    assert await opened(sku_id) == []


# -- the order of sale ------------------------------------------------------------------


async def slots(sku_id: int) -> list[int]:
    rows = await db.fetch("SELECT slot FROM vault_code WHERE sku_id = $1 ORDER BY id", sku_id)
    return [row["slot"] for row in rows]


async def test_codes_of_a_file_stand_evenly_all_over_the_order_of_sale(sku_id: int) -> None:
    long = [f"{code}-{'X' * 600}" for code in codes(4000)]
    await brought_in(sku_id, "\n".join(long))
    found = await slots(sku_id)
    assert found == sorted(found)
    gaps = [after - before for before, after in itertools.pairwise([0, *found, stock.SLOTS])]
    assert max(gaps) < 3 * stock.SLOTS // 4000


async def test_the_few_new_codes_of_a_file_stand_all_over_the_order_of_sale_too(sku_id: int) -> None:
    old, new = codes(1000), codes(20, "LATE")
    await brought_in(sku_id, "\n".join(old))
    report = await brought_in(sku_id, "\n".join(old + new))
    assert counts(report) == Counts(new=20, duplicate_in_stock=1000)
    rows = await db.fetch("SELECT slot, fingerprint FROM vault_code WHERE batch_id = $1", report.batch_id)
    assert {row["slot"] for row in rows} == {stock.slot(row["fingerprint"], None) for row in rows}
    assert {row["fingerprint"] for row in rows} == set(cipher.fingerprints(1, new))


# -- at the same time -------------------------------------------------------------------


async def test_one_file_imported_twice_at_once_is_stock_once(sku_id: int) -> None:
    text = "\n".join(codes(5000))
    other = await new_sku()
    reports = await asyncio.gather(brought_in(sku_id, text), brought_in(other, text))
    assert sorted(counts(report).new for report in reports) == [0, 5000]
    assert sorted(counts(report).duplicate_in_stock for report in reports) == [0, 5000]


async def test_a_code_that_arrives_from_elsewhere_meanwhile(sku_id: int, database: str) -> None:
    lines = codes(100)
    mark = cipher.fingerprint(1, lines[50])
    supplier = await asyncpg.connect(database)
    import_id = await staged(sku_id, "\n".join(lines))
    await supplier.execute("BEGIN")
    await supplier.execute(
        "INSERT INTO vault_code (shop_id, sku_id, batch_id, slot, blob, fingerprint, mask)"
        " VALUES (1, $1, 1, 0, 'x', $2, '')",
        sku_id,
        mark,
    )
    running = asyncio.create_task(imported(import_id, Mapping()))
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    while not await supplier.fetchval(waiting):
        assert not running.done()
    await supplier.execute("COMMIT")
    report = await running
    assert counts(report) == Counts(new=99, duplicate_in_stock=1)
    assert [row[:2] for row in await rejected(import_id)] == [(51, "duplicate_in_stock")]
    await supplier.close()


async def test_an_import_that_is_being_worked_on_says_so_at_once(sku_id: int, database: str) -> None:
    import_id = await staged(sku_id, "BUSY-0001\n")
    await db.transaction(import_service.begin, 1, import_id, "importing", Mapping())
    worker = await asyncpg.connect(database)
    await worker.execute("BEGIN")
    await worker.fetchval("SELECT 1 FROM vault_import WHERE id = $1 FOR UPDATE", import_id)
    for act in (import_service.drop(1, import_id), import_service.dry_run(1, import_id, Mapping())):
        with pytest.raises(UploadError) as refusal:
            await act
        assert refusal.value.reason == "busy"
    await worker.execute("ROLLBACK")
    await worker.close()
    assert (await import_service.report(1, import_id)).state == "importing"


# -- undo -------------------------------------------------------------------------------


async def test_undo_takes_a_batch_out_and_its_codes_may_come_again(sku_id: int) -> None:
    lines = codes(500)
    report = await brought_in(sku_id, "\n".join(lines))
    assert await db.transaction(import_service.undo, 1, report.batch_id) == 500
    assert await opened(sku_id) == []
    assert await db.fetchval("SELECT state FROM vault_batch WHERE id = $1", report.batch_id) == "undone"
    with pytest.raises(UploadError) as twice:
        await db.transaction(import_service.undo, 1, report.batch_id)
    assert twice.value.reason == "undone"
    assert counts(await brought_in(sku_id, "\n".join(lines))).new == 500


@pytest.mark.parametrize(("state", "numbers"), [("delivered", (0, 1)), ("reserved", (1, 0))])
async def test_undo_is_refused_when_anything_left(sku_id: int, state: str, numbers: tuple[int, int]) -> None:
    lines = codes(50)
    report = await brought_in(sku_id, "\n".join(lines))
    await sell(sku_id, lines[7], state)
    with pytest.raises(UndoRefused) as refusal:
        await db.transaction(import_service.undo, 1, report.batch_id)
    assert (refusal.value.reserved, refusal.value.delivered) == numbers
    assert f"{numbers[1]} of its codes were delivered, {numbers[0]} are reserved" in str(refusal.value)
    assert await db.fetchval("SELECT count(*) FROM vault_code WHERE batch_id = $1", report.batch_id) == 50
    assert await db.fetchval("SELECT state FROM vault_batch WHERE id = $1", report.batch_id) == "ready"


async def test_nobody_undoes_the_batch_of_another_shop(sku_id: int) -> None:
    report = await brought_in(sku_id, "MINE-0001\n")
    with pytest.raises(UploadError) as refusal:
        await db.transaction(import_service.undo, 2, report.batch_id)
    assert refusal.value.reason == "no_such_batch"
    assert await opened(sku_id) == ["MINE-0001"]


async def test_a_batch_with_codes_cannot_be_deleted(sku_id: int) -> None:
    report = await brought_in(sku_id, "HERE-0001\n")
    with pytest.raises(asyncpg.ForeignKeyViolationError):
        await db.execute("DELETE FROM vault_batch WHERE id = $1", report.batch_id)


# -- refused uploads --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty"),
        (b"\x89PNG\r\n\x1a\n" + bytes(100), "not_text"),
        (b"%PDF-1.7\n" + b"text" * 100, "not_text"),
        (random.Random(3).randbytes(400_000), "not_text"),
        (b'\xef\xbb\xbf\n<HTML xmlns:x="urn:schemas-microsoft-com:office:excel"><table><tr><td>AAAA', "page"),
        (b'<?xml version="1.0"?><Workbook><Worksheet/></Workbook>', "page"),
        (b"PK\x03\x04" + bytes(1000), "broken"),
        (b"PK\x03\x04" + bytes((1 << 26) + 1), "too_big"),
    ],
)
async def test_files_that_are_refused_leave_nothing(sku_id: int, data: bytes, reason: str) -> None:
    before = await db.fetchval("SELECT count(*) FROM vault_import")
    with pytest.raises(UploadError) as refusal:
        await staged(sku_id, data)
    assert refusal.value.reason == reason
    assert str(refusal.value) != reason
    assert await db.fetchval("SELECT count(*) FROM vault_import") == before
    assert await db.fetchval("SELECT count(*) FROM vault_import_piece WHERE import_id > $1", before) == 0


async def test_ten_megabytes_in_one_line(sku_id: int) -> None:
    report = await brought_in(sku_id, "A" * 10_000_000 + "\nGOOD-0001\n")
    assert counts(report) == Counts(new=1, malformed=1)
    assert await opened(sku_id) == ["GOOD-0001"]


async def test_an_upload_that_breaks_off_leaves_nothing(sku_id: int) -> None:
    async def broken() -> Any:
        yield b"CODE-0001\n" * 60_000
        raise ConnectionResetError

    before = await db.fetchval("SELECT count(*) FROM vault_import_piece")
    with pytest.raises(ConnectionResetError):
        await import_service.stage(1, broken(), "codes.txt", sku_id)
    assert await db.fetchval("SELECT count(*) FROM vault_import_piece") == before


@pytest.mark.parametrize(
    "mapping",
    [
        Mapping(code_columns=()),
        Mapping(code_columns=(1,)),
        Mapping(width=2, code_columns=(0, 0)),
        Mapping(width=2, code_columns=(0,), note_column=0),
        Mapping(separator='"', width=2),
        Mapping(separator="\n", width=2),
        Mapping(encoding="rot13"),
    ],
)
async def test_columns_that_do_not_fit_are_refused(sku_id: int, mapping: Mapping) -> None:
    import_id = await staged(sku_id, "AAAA-0001,x\n")
    for act in (import_service.preview(1, import_id, mapping), import_service.dry_run(1, import_id, mapping)):
        with pytest.raises(UploadError) as refusal:
            await act
        assert refusal.value.reason == "bad_mapping"
    assert (await import_service.report(1, import_id)).state == "staged"


async def test_an_import_is_seen_only_in_its_own_shop(sku_id: int) -> None:
    import_id = await staged(sku_id, "AAAA-0001\n")
    for act in (
        import_service.preview(2, import_id),
        import_service.report(2, import_id),
        import_service.drop(2, import_id),
    ):
        with pytest.raises(UploadError) as refusal:
            await act
        assert refusal.value.reason == "no_such_import"
    with pytest.raises(UploadError):
        await import_service.dry_run(2, import_id, Mapping())
    with pytest.raises(UploadError) as refusal:
        await import_service.stage(2, in_pieces(b"x"), "x.txt", sku_id)
    assert refusal.value.reason == "no_such_sku"


# -- what is left behind ----------------------------------------------------------------


def holding(folder: Path, needles: list[bytes]) -> set[bytes]:
    """Which of the needles stand in any file below the folder."""
    found = set()
    for path in folder.rglob("*"):
        try:
            data = path.read_bytes() if path.is_file() else b""
        except FileNotFoundError:
            continue
        found |= {needle for needle in needles if needle in data}
    return found


async def test_no_plaintext_is_left_anywhere(sku_id: int, database: str, engines: Any, caplog: Any) -> None:
    """Canaries in every role a line can have: not in the database, the engines' files, a log or a report."""
    good, double, broken, waiting, control = (f"CANARY{secrets.token_hex(8).upper()}" for _ in range(5))
    text = f"{good}\n{double}\n{double}\n{broken}\x01\n{'A' * 5000 + broken}\n"
    import_id = await staged(sku_id, text)
    await staged(sku_id, f"{waiting}\n" * 20_000)
    look = await import_service.preview(1, import_id)
    report = await checked(import_id, Mapping())
    # What is no secret shows that the search finds what is there.
    report = await imported(import_id, name=control)
    csv = b"".join([piece async for piece in import_service.reject_csv(1, import_id)]).decode()
    assert csv.startswith('\ufeffline,reason,code\r\n3,"stands in the file more than once","••••')
    dump = subprocess.run(
        [f"{engines.programs}/pg_dump", "--inserts", database],
        capture_output=True,
        check=True,
        stdin=subprocess.DEVNULL,
    ).stdout.decode()
    everywhere = "\n".join([dump, csv, caplog.text, repr(look), repr(report)])
    secret = [good, double, broken, waiting]
    for canary in secret:
        for form in (canary, canary.encode().hex(), base64.b64encode(canary.encode()).decode()[:-4], canary[::-1]):
            assert form not in everywhere
    assert control in dump
    folder = Path(parse_qs(urlsplit(engines.database_url).query)["host"][0]).parent
    needles = [canary.encode() for canary in [*secret, control]]
    assert holding(folder, needles) == {control.encode()}


async def test_uploads_nobody_imports_are_forgotten(sku_id: int) -> None:
    import_id = await staged(sku_id, "OLD-UPLOAD-1\n")
    await db.execute("UPDATE vault_import SET updated_at = now() - interval '25 hours' WHERE id = $1", import_id)
    await jobs.tidy(None)  # type: ignore[arg-type]
    assert await db.fetchval("SELECT count(*) FROM vault_import WHERE id = $1", import_id) == 0
    assert await db.fetchval("SELECT count(*) FROM vault_import_piece WHERE import_id = $1", import_id) == 0


# -- the command line -------------------------------------------------------------------


async def test_import_codes_from_the_command_line(sku_id: int, tmp_path: Any) -> None:
    sku = await db.fetchval("SELECT code FROM catalog_sku WHERE id = $1", sku_id)
    file = tmp_path / "june.csv"
    file.write_text("卡密;面值\nCLI-0001;5\nCLI-0002;5\nCLI-0001;5\n", "gb18030")
    before = await db.fetchval("SELECT count(*) FROM vault_import")
    facts = await import_command.run(file, sku=sku, dry_run=True)
    assert (facts["new"], facts["duplicate_in_file"], facts["batch_id"]) == (2, 1, None)
    assert await opened(sku_id) == []
    assert await db.fetchval("SELECT count(*) FROM vault_import") == before
    facts = await import_command.run(file, sku=sku, batch="June")
    assert facts["problems"] == [{"line": 4, "reason": "duplicate_in_file", "code": "••••01"}]
    assert import_command.summary(facts) == (
        f"2 codes were added to {sku}.\n1 stand in the file more than once.\n"
        "  line 4: ••••01 stands in the file more than once"
    )
    assert await opened(sku_id) == ["CLI-0001", "CLI-0002"]
    assert await db.fetchval("SELECT name FROM vault_batch WHERE id = $1", facts["batch_id"]) == "June"
    with pytest.raises(UploadError, match="no such SKU"):
        await import_command.run(file, sku="NONE")


async def test_the_command_line_guesses_no_columns(sku_id: int, tmp_path: Any) -> None:
    sku = await db.fetchval("SELECT code FROM catalog_sku WHERE id = $1", sku_id)
    file = tmp_path / "accounts.txt"
    file.write_text("one@example.com|secret-1\ntwo@example.com|secret-2\n")
    with pytest.raises(UploadError) as refusal:
        await import_command.run(file, sku=sku)
    assert refusal.value.reason == "which_columns"
    for wrong in ("0", "x", "1,1", "1,3", ""):
        with pytest.raises(UploadError) as refusal:
            await import_command.run(file, sku=sku, columns=wrong)
        assert refusal.value.reason == "bad_mapping"
    assert await opened(sku_id) == []
    await import_command.run(file, sku=sku, columns="1,2")
    assert await opened(sku_id) == ["one@example.com----secret-1", "two@example.com----secret-2"]
