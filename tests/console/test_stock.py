"""Stock in the console, with a real worker beside the real shop: paste, files, mapping, dry run, import, undo."""

import asyncio
import csv
import io
import re
import time

import pytest

from core import db
from core.config import Config
from core.vault import keys
from tests import stocked
from tests.console import everything, signed_in, words

OVER = ("checked", "failed", "done")


@pytest.fixture(scope="module")
async def shop(server, worker, pool):
    await db.execute("UPDATE shops_shop SET test_mode = false")
    keys.use(keys.load(Config.from_env(server.environ))[0])
    return server.url


@pytest.fixture
async def staff(shop):
    async with signed_in(shop) as staff:
        staff.http.timeout = 60
        yield staff


async def new_sku():
    number = await db.fetchval("SELECT count(*) + 1 FROM catalog_sku")
    product_id = await db.fetchval(
        "INSERT INTO catalog_product (shop_id, slug, title, state) VALUES (1, $1, '{\"en\": \"P\"}', 'listed')"
        " RETURNING id",
        f"p-{number}",
    )
    row = await db.fetchrow(
        "INSERT INTO catalog_sku (shop_id, product_id, code, title, price, currency)"
        " VALUES (1, $1, $2, '{\"en\": \"One\"}', 1990, 'CNY') RETURNING id, code",
        product_id,
        f"STOCK-{number}",
    )
    return stocked.Sku(row["id"], row["code"], [])


async def upload(staff, what, body, name="codes.csv", status=303):
    answer = await staff.http.post(
        "/admin/stock/import", data={"csrf": staff.csrf, "sku": what.code}, files={"file": (name, body, "text/csv")}
    )
    assert answer.status_code == status, words(answer.text)
    return answer.headers["location"] if status == 303 else answer.text


async def paste(staff, what, codes):
    answer = await staff.http.post("/admin/stock/import", data={"csrf": staff.csrf, "sku": what.code, "codes": codes})
    assert answer.status_code == 303, words(answer.text)
    return answer.headers["location"]


async def stock_rows():
    """The worker beside the shop writes jobs of its own at any time."""
    rows = await everything()
    return {name: row for name, row in rows.items() if name.startswith(("vault_", "orders_", "audit_"))}


async def state(path):
    return await db.fetchval("SELECT state FROM vault_import WHERE id = $1", int(path.rpartition("/")[2]))


async def over(staff, path):
    """Ask for progress as the page does until the work is over; the fragments that came."""
    parts = []
    async with asyncio.timeout(60):
        while True:
            answer = await staff.http.get(f"{path}/progress")
            assert answer.status_code == 200
            if answer.headers.get("hx-redirect"):
                assert answer.headers["hx-redirect"] == path
                return parts
            parts.append(answer.text)
            await asyncio.sleep(0.02)


PLAIN = {"encoding": "utf-8-sig", "separator": "none", "width": "1", "code_columns": "0", "joiner": "----"}


async def check(staff, path, **mapping):
    await staff.post(f"{path}/check", **{**PLAIN, **mapping})
    await over(staff, path)
    return words(await staff.get(path))


async def commit(staff, path, **form):
    await staff.post(f"{path}/commit", **{"name": "Batch", **form})
    await over(staff, path)


async def codes(what):
    return await stocked.codes_by_state(what)


async def batch_of(what):
    return await db.fetchval("SELECT max(id) FROM vault_batch WHERE sku_id = $1 AND state = 'ready'", what.id)


async def test_pasted_codes_are_counted_first_and_then_imported(staff):
    what = await new_sku()
    path = await paste(staff, what, "AAAA-1111\nAAAA-2222\n\nAAAA-1111\n")
    page = words(await staff.get(path))
    assert "AAAA-1111" not in page and "-••••" in page
    said = await check(staff, path)
    assert "New 2" in said and "Twice in the file 1" in said and "Import 2 codes" in said
    assert await codes(what) == {}
    await commit(staff, path, name="First", unit_cost="3.50", note="from Li")
    assert await codes(what) == {"free": 2}
    batch = await db.fetchrow("SELECT name, note, unit_cost FROM vault_batch WHERE id = $1", await batch_of(what))
    assert tuple(batch.values()) == ("First", "from Li", 350)
    assert "Done. 2 codes are in stock." in words(await staff.get(path))
    again = await paste(staff, what, "AAAA-1111\nBBBB-1\n")
    assert "In stock already 1" in await check(staff, again)


async def test_a_check_is_stopped_and_begun_anew(staff):
    what = await new_sku()
    path = await paste(staff, what, "CCCC-1\nCCCC-2\n")
    assert "It is over." in words(await staff.post(f"{path}/cancel", 409))
    job_id = await db.fetchval(
        "INSERT INTO jobs_job (name, run_at) VALUES ('vault.check_import', now() + interval '1 hour') RETURNING id"
    )
    import_id = int(path.rpartition("/")[2])
    await db.execute("UPDATE vault_import SET state = 'checking', job_id = $1 WHERE id = $2", job_id, import_id)
    page = await staff.get(path)
    assert f'action="{path}/cancel"' in page and f'hx-get="{path}/progress"' in page
    assert "Checking every line" in words(await staff.get(f"{path}/progress"))
    assert "It was stopped. Nothing of it was stored." in words(await staff.post(f"{path}/cancel"))
    assert await db.fetchval("SELECT state FROM jobs_job WHERE id = $1", job_id) == "cancelled"
    assert "New 2" in await check(staff, path, width="1")


async def test_a_page_asked_for_while_its_work_ends_asks_again(staff):
    """It reads its import as unfinished and then its job as over: it must not wait for ever."""
    path = await paste(staff, await new_sku(), "ENDS-1\n")
    await check(staff, path)
    number = int(path.rpartition("/")[2])

    async def stands(run, state, job):
        await run("UPDATE vault_import SET state = $2 WHERE id = $1", number, state)
        await run(
            "UPDATE jobs_job SET state = $2, lease_until = CASE $2 WHEN 'running' THEN now() + interval '1 hour' END"
            " WHERE id = (SELECT job_id FROM vault_import WHERE id = $1)",
            number,
            job,
        )

    await stands(db.execute, "checking", "running")
    working = await staff.get(path)
    assert 'id="work" hx-get=' in working and "What was found" not in working

    async def end(tx):
        # between the import and its job the page asks for the product
        await tx.execute("LOCK TABLE catalog_product IN ACCESS EXCLUSIVE MODE")
        asked = asyncio.create_task(staff.get(path))
        while not await tx.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"):
            await asyncio.sleep(0)
        await stands(tx.execute, "checked", "done")
        return asked

    page = await (await db.transaction(end))
    assert 'id="work" hx-get=' in page and "What was found" not in page
    moved = await staff.http.get(f"{path}/progress")
    assert moved.headers["HX-Redirect"] == path
    assert "What was found" in await staff.get(path)


async def test_columns_are_chosen_and_what_is_not_taken_is_listed(staff):
    what = await new_sku()
    body = "user,pass,note\nann,pw-1,x\nbob,pw-2,y\nbob,pw-2,z\n,,\ncid,,w\n"
    path = await upload(staff, what, body.encode())
    mapping = {"separator": ",", "width": "3", "header": "on", "note_column": "2"}
    await staff.post(f"{path}/check", 422, **{**PLAIN, **mapping, "code_columns": "7"})
    await staff.post(f"{path}/check", 422, **{**PLAIN, **mapping, "width": "0"})
    await staff.post(f"{path}/check", 422, **{**PLAIN, **mapping, "note_column": "9"})
    await staff.post(f"{path}/commit", 422, name="too early")
    assert await state(path) == "staged"
    answer = await staff.http.post(
        f"{path}/check", data={**PLAIN, **mapping, "code_columns": ["0", "1"], "csrf": staff.csrf}
    )
    assert answer.status_code == 303
    await over(staff, path)
    assert "Download the lines not taken" in await staff.get(path)
    rejects = await staff.http.get(f"{path}/rejects.csv")
    assert "attachment" in rejects.headers["content-disposition"]
    rows = list(csv.reader(io.StringIO(rejects.text.removeprefix("\ufeff"))))
    assert rows[0] == ["line", "reason", "code"] and "4" in [row[0] for row in rows[1:]]
    assert "pw-2" not in rejects.text
    await staff.post(f"{path}/commit", 422, name="")
    await staff.post(f"{path}/commit", 422, name="B", unit_cost="-1")
    page = await staff.post(f"{path}/commit", 422, name="Batch of May", unit_cost="cheap", note="from Li")
    assert all(f'value="{typed}"' in page for typed in ("Batch of May", "cheap", "from Li"))
    await commit(staff, path)
    assert (await codes(what))["free"] >= 2


async def test_uploads_that_cannot_be_used_are_refused_and_nothing_stays(staff):
    what = await new_sku()
    before = await stock_rows()
    assert "Choose a file or paste codes." in words(await staff.post("/admin/stock/import", 422, sku=what.code))
    await staff.post("/admin/stock/import", 422, sku="NO-SUCH", codes="A\n")
    await upload(staff, what, b"", status=422)
    await upload(staff, what, b"PK\x03\x04" + bytes(200), "book.xlsx", status=422)
    assert await stock_rows() == before
    assert await codes(what) == {}


async def test_an_upload_of_another_shop_is_not_there(staff):
    what = await new_sku()
    path = await paste(staff, what, "OTHER-1\n")
    shop_id = await db.fetchval("INSERT INTO shops_shop (code, name, host) VALUES ('x', 'X', 'x.test') RETURNING id")
    await db.execute("UPDATE vault_import SET shop_id = $1 WHERE id = $2", shop_id, int(path.rpartition("/")[2]))
    for act in ("", "/progress", "/rejects.csv"):
        await staff.get(path + act, 404)
    before = await stock_rows()
    for act, form in (("/check", PLAIN), ("/commit", {"name": "x"})):
        await staff.post(path + act, 404, **form)
    await staff.post(f"{path}/drop", 409)
    await staff.post("/admin/stock/batches/999999/undo", 409)
    assert await stock_rows() == before


async def test_a_dropped_upload_is_gone(staff):
    what = await new_sku()
    path = await paste(staff, what, "DROP-1\n")
    assert "Upload thrown away" in words(await staff.post(f"{path}/drop"))
    pieces = "SELECT count(*) FROM vault_import_piece WHERE import_id = $1"
    assert await db.fetchval(pieces, int(path.rpartition("/")[2])) == 0
    await staff.get(path)
    await staff.get(f"{path}/rejects.csv", 404)
    await staff.post(f"{path}/check", 422, **PLAIN)
    assert await codes(what) == {}


async def test_a_batch_is_undone_until_one_of_its_codes_is_sold(staff):
    what = await new_sku()
    path = await paste(staff, what, "UNDO-1\nUNDO-2\n")
    await check(staff, path)
    await commit(staff, path)
    batch_id = await batch_of(what)
    placed = await stocked.order(what)
    before = await stock_rows()
    assert "reserved" in words(await staff.post(f"/admin/stock/batches/{batch_id}/undo", 409)).lower()
    assert await stock_rows() == before
    await staff.post(f"/admin/orders/{placed.ref}/confirm-paid", note="")
    before = await stock_rows()
    await staff.post(f"/admin/stock/batches/{batch_id}/undo", 409)
    assert await stock_rows() == before
    assert await codes(what) == {"delivered": 1, "free": 1}
    page = words(await staff.get("/admin/stock"))
    assert re.search(rf"{what.code} 1 low 0 1 ", page), page
    sold = await paste(staff, what, "UNDO-1\nUNDO-2\nUNDO-3\n")
    said = await check(staff, sold)
    assert "Sold already 1" in said and "New 1" in said and "In stock already 1" in said
    await commit(staff, sold)
    form = {"csrf": staff.csrf}
    undo = f"/admin/stock/batches/{await batch_of(what)}/undo"
    answers = await asyncio.gather(*(staff.http.post(undo, data=form) for _ in range(3)))
    assert sorted(answer.status_code for answer in answers) == [303, 409, 409]
    assert await codes(what) == {"delivered": 1, "free": 1}
    assert await db.fetchval("SELECT count(*) FROM audit_entry WHERE act = 'batch.undone'") == 1


async def test_a_hundred_thousand_lines_go_through_the_browser_door(staff):
    what = await new_sku()
    body = "".join(f"MANY-{n:06}-{n * 7919 % 1000003:06}\n" for n in range(100_000)).encode()
    began = time.monotonic()
    path = await upload(staff, what, body, "many.txt")
    await staff.post(f"{path}/check", **PLAIN)
    parts = await over(staff, path)
    assert all("<html" not in part and "<progress" in part for part in parts)
    page = words(await staff.get(path))
    assert "New 100,000" in page and "Import 100,000 codes" in page
    await commit(staff, path, name="Many")
    assert await codes(what) == {"free": 100_000}
    assert "100,000" in words(await staff.get("/admin/stock"))
    assert time.monotonic() - began < 60
