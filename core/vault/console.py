"""Stock in the console: what is there, bringing codes in step by step, batches and their undoing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated, Any

import msgspec
from litestar import Request, Response, get, post
from litestar.params import FromPath
from litestar.response import Stream
from msgspec import Meta

from core import clock, db
from core.audit import service as audit
from core.jobs import service as jobs
from core.refused import Refused
from core.vault import import_layout, import_words
from core.vault import import_service as imports
from core.vault.import_text import ENCODINGS
from core.vault.lists import BATCHES, STOCKED
from core.web.amounts import read_amount_from_zero
from core.web.errors import FormError, NotFound
from core.web.flash import flash
from core.web.forms import Line, Upload, errors_of, read_form
from core.web.i18n import Text, _
from core.web.list_page import list_page
from core.web.render import fragment, page, see_other
from core.web.request import shop_of
from core.web.words import zone

MOST_BYTES = 64_000_000
CHUNK = 256 * 1024
Pasted = Annotated[str, Meta(max_length=4_000_000)]

SEPARATORS: dict[str, Text | str] = {
    "": _("None: each line is one code"),
    "----": "----",
    "\t": _("Tab"),
    ",": _("Comma"),
    ";": _("Semicolon"),
    "|": "|",
}
ENCODING_NAMES = {"utf-8-sig": "UTF-8", "gb18030": "GB18030 / GBK", "utf-16": "UTF-16"}
COUNTS: dict[str, tuple[Text, str]] = {
    "new": (_("New"), "good"),
    "duplicate_in_file": (_("Twice in the file"), "warning"),
    "duplicate_in_stock": (_("In stock already"), "warning"),
    "already_sold": (_("Sold already"), "bad"),
    "malformed": (_("Cannot be used"), "bad"),
}


class NewImport(msgspec.Struct):
    sku: Line
    file: Upload | None = None
    codes: Pasted = ""


class MappingForm(msgspec.Struct):
    encoding: Line
    width: Annotated[int, Meta(ge=1, le=100)]
    code_columns: list[int] = []
    separator: str = ""
    other_separator: Annotated[str, Meta(max_length=10)] = ""
    header: bool = False
    above: import_layout.Above = 0
    joiner: Annotated[str, Meta(max_length=10)] = "----"
    expiry_column: int | None = None
    note_column: int | None = None


class CommitForm(msgspec.Struct):
    name: Line
    note: Line = ""
    unit_cost: Line = ""


# -- what is there ----------------------------------------------------------------------


@get("/stock", opt={"who": "staff:stock.read", "repeats": ("col",)})
async def stock_page(request: Request[Any, Any, Any]) -> Response[Any]:
    return await _stock_page(request)


async def _stock_page(request: Request[Any, Any, Any], problem: Any = "", status: int = 200) -> Response[Any]:
    context = {
        "open_imports": await db.fetch(
            "SELECT id, filename, state, created_at FROM vault_import WHERE shop_id = $1"
            " AND state NOT IN ('done', 'dropped') ORDER BY id DESC LIMIT 20",
            shop_of(request).id,
        ),
        "problem": problem,
    }
    return await list_page(request, STOCKED, context, template="vault/stock.html", status=status)


@get("/stock/batches", opt={"who": "staff:stock.read", "repeats": ("col",)})
async def batch_list(request: Request[Any, Any, Any]) -> Response[Any]:
    return await _batch_list(request)


async def _batch_list(request: Request[Any, Any, Any], problem: Any = "", status: int = 200) -> Response[Any]:
    return await list_page(request, BATCHES, {"problem": problem}, template="vault/batches.html", status=status)


@post("/stock/batches/{batch_id:int}/undo", opt={"who": "staff:stock.undo"})
async def undo(request: Request[Any, Any, Any], batch_id: FromPath[int]) -> Response[Any]:
    shop, staff_id = shop_of(request), request.state.session.staff_id

    async def write(tx: db.Tx) -> int:
        codes = await imports.undo(tx, shop.id, batch_id)
        await audit.record(
            tx, f"staff:{staff_id}", "batch.undone", f"batch:{batch_id}", {"codes": codes}, shop_id=shop.id
        )
        return codes

    try:
        codes = await db.transaction(write)
    except Refused as refused:
        return await _batch_list(request, refused.text, 409)
    return flash(see_other("/admin/stock/batches"), _("Batch undone, %(codes)d codes taken out.", codes=codes))


# -- bringing codes in ------------------------------------------------------------------


@get("/stock/import", opt={"who": "staff:stock.import"})
async def import_page(request: Request[Any, Any, Any]) -> Response[str]:
    return await _import_page(request, {"sku": request.query_params.get("sku", "")}, {})


async def _import_page(
    request: Request[Any, Any, Any], kept: dict[str, Any], errors: dict[str, Any], status: int = 200
) -> Response[str]:
    skus = await db.fetch(
        "SELECT sku.code, sku.title, product.title AS product_title FROM catalog_sku sku"
        " JOIN catalog_product product ON product.id = sku.product_id WHERE sku.shop_id = $1"
        " ORDER BY product.position, product.id, sku.position, sku.id",
        shop_of(request).id,
    )
    return page(request, "vault/import_new.html", {"skus": skus, "kept": kept, "errors": errors}, status=status)


@post("/stock/import", opt={"who": "staff:stock.import", "max_body": MOST_BYTES})
async def stage(request: Request[Any, Any, Any]) -> Response[Any]:
    try:
        form = await read_form(request, NewImport)
    except FormError as error:
        return await _import_page(request, error.kept, dict(error.fields), 422)
    shop = shop_of(request)
    sku_id = await db.fetchval("SELECT id FROM catalog_sku WHERE shop_id = $1 AND code = $2", shop.id, form.sku)
    if form.file is None and not form.codes.strip():
        return await _import_page(request, {"sku": form.sku}, {"file": _("Choose a file or paste codes.")}, 422)
    pasted = _now_text()
    try:
        import_id = await imports.stage(
            shop.id,
            _chunks(form),
            form.file.filename if form.file else f"{pasted}.txt",
            sku_id or 0,
            request.state.session.staff_id,
        )
    except Refused as refused:
        return await _import_page(request, {"sku": form.sku}, {"form": refused.text}, 422)
    return see_other(f"/admin/stock/imports/{import_id}")


def _now_text() -> str:
    return f"{clock.now().astimezone(zone()):%Y-%m-%d %H%M}"


async def _chunks(form: NewImport) -> AsyncIterator[bytes]:
    if form.file is None:
        yield form.codes.encode()
        return
    while chunk := await asyncio.to_thread(form.file.file.read, CHUNK):
        yield chunk


@get("/stock/imports/{import_id:int}", opt={"who": "staff:stock.import"})
async def one_import(request: Request[Any, Any, Any], import_id: FromPath[int]) -> Response[str]:
    return await _one_import(request, import_id)


async def _one_import(
    request: Request[Any, Any, Any],
    import_id: int,
    errors: dict[str, Any] | None = None,
    status: int = 200,
    kept: dict[str, Any] | None = None,
) -> Response[str]:
    shop = shop_of(request)
    report = await _report(shop.id, import_id)
    sku = await db.fetchrow(
        "SELECT sku.code, sku.title, product.title AS product_title FROM catalog_sku sku"
        " JOIN catalog_product product ON product.id = sku.product_id WHERE sku.id = $1",
        report.sku_id,
    )
    preview = None
    if report.state in ("staged", "checked", "failed"):
        preview = await imports.preview(shop.id, import_id, report.mapping)
    context = {
        "report": report,
        "sku": sku,
        "preview": preview,
        "encodings": [(name, ENCODING_NAMES.get(name, name)) for name in ENCODINGS],
        "separators": [(key or "none", text) for key, text in SEPARATORS.items()],
        "known_separators": import_layout.SEPARATORS,
        "columns": _column_names(preview) if preview else [],
        "numeric": [str(name) for at, name in _column_names(preview) if at in preview.numeric] if preview else [],
        "counts": COUNTS,
        "problems": import_words.PROBLEMS,
        "errors": errors or {},
        "kept": kept or {"name": report.filename[:100]},
        **await _at_work(report),
    }
    return page(request, "vault/import_one.html", context, status=status)


async def _at_work(report: imports.Report) -> dict[str, Any]:
    return {
        "ended": report.state not in ("checking", "importing"),
        "work": await jobs.work(report.job_id),
        "refresh": f"/admin/stock/imports/{report.id}/progress",
        "note": _("Checking every line") if report.state == "checking" else _("Encrypting and storing"),
    }


def _column_names(preview: imports.Preview) -> list[tuple[int, Any]]:
    given = dict(enumerate(preview.names))
    return [(at, given.get(at) or _("Column %(number)s", number=at + 1)) for at in range(preview.mapping.width)]


async def _report(shop_id: int, import_id: int) -> imports.Report:
    try:
        return await imports.report(shop_id, import_id)
    except imports.UploadError:
        raise NotFound() from None


@get("/stock/imports/{import_id:int}/progress", opt={"who": "staff:stock.import"})
async def progress(request: Request[Any, Any, Any], import_id: FromPath[int]) -> Response[Any]:
    """Asked by the page until the work is over; then it loads the page anew."""
    facts = await _at_work(await _report(shop_of(request).id, import_id))
    if facts["ended"] or facts["work"] is None:
        return Response(None, status_code=200, headers={"HX-Redirect": f"/admin/stock/imports/{import_id}"})
    return fragment(request, "jobs/_work.html", facts)


@post("/stock/imports/{import_id:int}/cancel", opt={"who": "staff:stock.import"})
async def cancel(request: Request[Any, Any, Any], import_id: FromPath[int]) -> Response[Any]:
    """Nothing of what was checked or stored so far stays."""
    shop_id = shop_of(request).id
    await _report(shop_id, import_id)
    try:
        await imports.stop(shop_id, import_id)
    except Refused as refused:
        return await _one_import(request, import_id, {"form": refused.text}, 409)
    return see_other(f"/admin/stock/imports/{import_id}")


@post("/stock/imports/{import_id:int}/check", opt={"who": "staff:stock.import"})
async def check(request: Request[Any, Any, Any], import_id: FromPath[int]) -> Response[Any]:
    try:
        form = await read_form(request, MappingForm)
        await imports.dry_run(shop_of(request).id, import_id, _mapping(form))
    except FormError as error:
        return await _one_import(request, import_id, dict(error.fields), 422)
    except Refused as refused:
        return await _one_import(request, import_id, {"form": refused.text}, 422)
    return see_other(f"/admin/stock/imports/{import_id}")


def _mapping(form: MappingForm) -> import_layout.Mapping:
    separator = form.other_separator if form.separator == "other" else form.separator
    columns = [column for column in form.code_columns if 0 <= column < form.width]
    named = [column for column in (form.expiry_column, form.note_column) if column is not None]
    if not columns or any(not 0 <= column < form.width for column in named):
        raise Refused(import_words.REFUSALS["bad_mapping"])
    return import_layout.Mapping(
        encoding=form.encoding,
        separator="" if separator == "none" else separator,
        header=form.header,
        above=form.above if form.header else 0,
        width=form.width,
        code_columns=tuple(columns),
        joiner=form.joiner,
        expiry_column=form.expiry_column,
        note_column=form.note_column,
    )


@post("/stock/imports/{import_id:int}/commit", opt={"who": "staff:stock.import"})
async def commit(request: Request[Any, Any, Any], import_id: FromPath[int]) -> Response[Any]:
    shop, staff_id = shop_of(request), request.state.session.staff_id
    try:
        form = await read_form(request, CommitForm)
        facts = imports.BatchFacts(name=form.name, note=form.note, unit_cost=_unit_cost(form.unit_cost, shop.currency))
        await imports.commit(shop.id, import_id, facts, staff_id)
    except FormError as error:
        return await _one_import(request, import_id, dict(error.fields), 422, error.kept)
    except Refused as refused:
        kept = msgspec.to_builtins(form)
        return await _one_import(request, import_id, errors_of(refused), 422, kept)
    return see_other(f"/admin/stock/imports/{import_id}")


def _unit_cost(text: str, currency: str) -> int | None:
    return read_amount_from_zero(text, currency, "unit_cost").amount if text else None


@post("/stock/imports/{import_id:int}/drop", opt={"who": "staff:stock.import"})
async def drop(request: Request[Any, Any, Any], import_id: FromPath[int]) -> Response[Any]:
    try:
        await imports.drop(shop_of(request).id, import_id)
    except Refused as refused:
        return await _stock_page(request, refused.text, 409)
    return flash(see_other("/admin/stock"), _("Upload thrown away, nothing was imported."), "info")


@get("/stock/imports/{import_id:int}/rejects.csv", opt={"who": "staff:stock.import"})
async def rejects(request: Request[Any, Any, Any], import_id: FromPath[int]) -> Stream:
    report = await _report(shop_of(request).id, import_id)
    if report.state == "dropped":
        raise NotFound()
    headers = {
        "content-disposition": f'attachment; filename="rejects-{import_id}.csv"',
        "cache-control": "no-store",
    }
    return Stream(imports.reject_csv(shop_of(request).id, import_id), media_type="text/csv", headers=headers)


ROUTES = (stock_page, batch_list, undo, import_page, stage, one_import, progress, cancel, check, commit, drop, rejects)
