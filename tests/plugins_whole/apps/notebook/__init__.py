"""Has everything the machine offers: pages of all three kinds, acts, a menu entry, a slot, tables, jobs."""

import asyncio

import msgspec
from litestar import Request, Response, get, post
from litestar.params import FromPath

from core.api import (
    Act,
    Conflict,
    Nav,
    NotFound,
    Pages,
    Plugin,
    PluginJob,
    flash,
    page,
    plugin_context,
    read_form,
    read_json,
    record_act,
    see_other,
    visit_of,
)


class Note(msgspec.Struct):
    text: str


@get("/", opt={"who": "anyone"})
async def notes(request: Request) -> Response:
    rows = await plugin_context(request).db.fetch("SELECT id, text FROM apps_notebook_note ORDER BY id")
    return page(request, "apps.notebook/notes.html", {"notes": rows}, cache=True)


@get("/{note_id:int}", opt={"who": "anyone"})
async def note(request: Request, note_id: FromPath[int]) -> dict:
    text = await plugin_context(request).db.fetchval("SELECT text FROM apps_notebook_note WHERE id = $1", note_id)
    if text is None:
        raise NotFound()
    return {"text": text, "shop": visit_of(request).shop.name}


@get("/breaks/{how:str}", opt={"who": "anyone"})
async def breaks(request: Request, how: FromPath[str]) -> str:
    if how == "exits":
        raise SystemExit(3)
    if how == "hangs":
        await asyncio.sleep(3600)
    if how == "says_no":
        raise Conflict("Not twice", "You did it already.", "Look below.")
    raise ZeroDivisionError(how)


@get("/", opt={"who": "staff:apps.notebook.read"})
async def desk(request: Request) -> Response:
    return page(request, "apps.notebook/desk.html", {"errors": {}})


@post("/", opt={"who": "staff:apps.notebook.write"})
async def write(request: Request) -> Response:
    form = await read_form(request, Note)

    async def work(tx) -> None:
        await tx.execute("INSERT INTO apps_notebook_note (text) VALUES ($1)", form.text)
        await tx.enqueue("shout", {"text": form.text}, key=form.text)
        act = "undeclared" if form.text == "undeclared" else "wrote"
        await record_act(tx, request, act, "note", {"length": len(form.text), "starts": form.text[:3000]})
        if form.text == "breaks off":
            raise ZeroDivisionError(form.text)

    await plugin_context(request).db.transaction(work)
    return flash(see_other("/admin/x/apps.notebook"), "Written")


@post("/", opt={"who": "key:codes.verify"})
async def program(request: Request) -> dict:
    return {"text": (await read_json(request, Note)).text}


async def shout(ctx, args) -> None:
    if args["text"] == "breaks":
        raise ZeroDivisionError("loud")
    await ctx.db.execute("INSERT INTO apps_notebook_note (text) VALUES ($1)", args["text"].upper())


async def tick(ctx, args) -> None:
    await ctx.db.execute("INSERT INTO apps_notebook_note (text) VALUES ('tick')")


class Notebook(Plugin):
    pages = Pages(
        buyer=[notes, note, breaks],
        console=[desk, write],
        rest=[program],
        acts=[Act("apps.notebook.read", "See notes", ("support",)), Act("apps.notebook.write", "Write notes")],
        recorded={"wrote": "Wrote a note"},
        nav=[Nav("Notes", "/admin/x/apps.notebook", "message", right="apps.notebook.read")],
    )
    jobs = (PluginJob("shout", shout, tries=2, backoff_seconds=60), PluginJob("tick", tick, every=3600))


plugin = Notebook()
