"""Pages, jobs, tables and packages with a mistake in them: the plugin is set aside with the reason, nothing is left."""

import logging
import sys

import pytest

from core import db
from core.hooks import discovery
from core.hooks.manager import State
from core.hooks.runtime import Runtime

MANIFEST = """
id = "{id}"
kind = "apps"
version = "1.0.0"
api = 1
core = ">=0.1,<1"
[title]
en = "{id}"
[summary]
en = "Does something."
"""
START = """
from litestar import get, post, websocket
from core.api import Act, Nav, Pages, Plugin, PluginJob
@get("/", opt={"who": "anyone"})
async def fine() -> str: return ""
async def run(ctx, args): ...
class Mine(Plugin):
"""
END = "\nplugin = Mine()\n"
MIGRATION = """
from core.api import ddl_migration
ID = "2026-11-22T00:00:00:00000{number}"
SQL = '''{sql}'''
forwards = ddl_migration("{id}", ID, "change", SQL)
"""
GOOD_TABLE = "CREATE TABLE {prefix}_own (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, text text);"


def route(opt, mark="get"):
    return f'@{mark}("/other", opt={opt})\nasync def other() -> str: return ""\n'


BODIES = {
    "no_who": (route("{}"), "pages = Pages(buyer=[other])", "say who may use it"),
    "no_act": (
        route('{"who": "staff:apps.no_act.do"}'),
        "pages = Pages(console=[other])",
        "does not know the act apps.no_act.do",
    ),
    "other_act": ("", 'pages = Pages(acts=[Act("orders.read", "x")])', 'must be called "apps.other_act.…"'),
    "no_role": ("", 'pages = Pages(acts=[Act("apps.no_role.a", "x", ["king"])])', "there is no role called king"),
    "buyers_desk": (route('{"who": "buyer"}'), "pages = Pages(console=[other])", "a console page is for staff"),
    "fresh_get": (
        route('{"who": "staff:orders.read", "fresh": True}'),
        "pages = Pages(console=[other])",
        "only a POST can ask",
    ),
    "no_limit": (
        route('{"who": "anyone", "limit": "nothing"}'),
        "pages = Pages(buyer=[other])",
        "there is no limit called nothing",
    ),
    "twice": (
        '@get("/", opt={"who": "anyone"})\nasync def other() -> str: return ""\n',
        "pages = Pages(buyer=[fine, other])",
        "two handlers for GET /",
    ),
    "strange_nav": (
        "",
        'pages = Pages(nav=[Nav("x", "/admin/orders", "box")])',
        "must lead to /admin/x/apps.strange_nav",
    ),
    "socket": (
        '@websocket("/s", opt={"who": "anyone"})\nasync def other(socket) -> None: ...\n',
        "pages = Pages(buyer=[other])",
        "pages are made with get and post",
    ),
    "no_page": ("", "pages = Pages(buyer=[lambda: 1])", "pages are made with get and post"),
    "job_name": ("", 'jobs = (PluginJob("Do it", run),)', "'Do it' is not the name of a job"),
    "job_twice": ("", 'jobs = (PluginJob("do", run), PluginJob("do", run))', "two jobs are called do"),
    "job_blocks": ("", 'jobs = (PluginJob("do", print),)', "must be run by an async function"),
    "job_races": ("", 'jobs = (PluginJob("do", run, every=0.01),)', "not more often than once a second"),
}

TABLES = {
    "foreign": ("CREATE TABLE orders_mine (id bigint);", "touches orders_mine; whatever it makes must be called apps_"),
    "alters": ("ALTER TABLE shops_shop ADD COLUMN mine int;", "touches shops_shop"),
    "drops": ("DROP TABLE hooks_off;", "touches hooks_off"),
    "fills": ("UPDATE shops_shop SET name = 'Mine';", "touches shops_shop"),
    "empties": ("TRUNCATE audit_alarm;", "touches audit_alarm"),
    "holds": ("CREATE TABLE {prefix}_b (shop bigint REFERENCES shops_shop (id));", "touches shops_shop"),
    "triggers": (
        "CREATE FUNCTION {prefix}_f() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RETURN NULL; END$$;"
        "CREATE TRIGGER {prefix}_t BEFORE INSERT ON shops_shop FOR EACH ROW EXECUTE FUNCTION {prefix}_f();",
        "touches shops_shop",
    ),
    "function": ("CREATE FUNCTION mine() RETURNS int LANGUAGE sql AS 'SELECT 1';", "touches mine"),
    "schema": ("CREATE SCHEMA mine; CREATE TABLE mine.apps_schema_x (id int);", "touches mine"),
    "wrong_sql": ("CREATE TABLE {prefix}_b (id nothing);", 'type "nothing" does not exist'),
    "of_another": ("ALTER TABLE apps_base_own ADD COLUMN mine int;", "touches apps_base_own"),
}


@pytest.fixture
async def strangers(pool, operator, tmp_path, caplog):
    """``put(id, code, migrations)`` writes a plugin; ``start()`` gives the runtime with all of them on."""
    caplog.set_level(logging.CRITICAL)
    folder, ids, runtimes = tmp_path / "strangers", [], []

    def put(name, code, *migrations):
        id = f"apps.{name}"
        place = folder / "apps" / name
        (place / "piccolo_migrations").mkdir(parents=True)
        (place / "plugin.toml").write_text(MANIFEST.format(id=id))
        (place / "__init__.py").write_text(code)
        for number, sql in enumerate(migrations):
            text = MIGRATION.format(number=number, id=id, sql=sql.replace("{prefix}", id.replace(".", "_")))
            (place / "piccolo_migrations" / f"m{number}.py").write_text(text)
        ids.append(id)
        return place

    async def start():
        await operator.enables(*ids)
        runtime = Runtime(folder=folder, package=folder.name, environ={})
        runtimes.append(runtime)
        await runtime.start()
        return runtime

    put.start = start
    yield put
    for runtime in runtimes:
        await runtime.close()


def states(runtime):
    return {one.id: one.state for one in runtime.plugins}


async def test_wrong_pages_and_jobs_set_a_plugin_aside_and_leave_its_neighbours_alone(strangers):
    for name, (before, body, _reason) in BODIES.items():
        strangers(name, START.replace("class Mine", before + "class Mine") + f"    {body}" + END)
    strangers("good", START + "    pages = Pages(buyer=[fine])" + END)
    template = strangers("template", START + "    pages = None" + END) / "templates"
    template.mkdir()
    (template / "layout.html").write_text("")
    runtime = await strangers.start()
    failed = {f"apps.{name}" for name in BODIES} | {"apps.template"}
    assert states(runtime) == {**dict.fromkeys(failed, State.FAILED), "apps.good": State.ACTIVE}
    for name, (_before, _body, reason) in BODIES.items():
        assert reason in str(runtime.plugin(f"apps.{name}").reason), name
    assert "templates belong into templates/apps.template/" in str(runtime.plugin("apps.template").reason)
    assert [await runtime.pages_of(f"apps.{name}", 1) is not None for name in ("good", "twice")] == [True, False]


async def names():
    return {
        row[0] for row in await db.fetch("SELECT relname FROM pg_class WHERE relname ~ '^(apps_|orders_mine|mine)'")
    }


async def test_a_migration_that_touches_what_is_not_its_own_is_rolled_back_and_named(strangers):
    before = await db.fetchrow("SELECT * FROM shops_shop")
    strangers("own", START + "    pages = None" + END, GOOD_TABLE)
    strangers("base", START + "    pages = None" + END, GOOD_TABLE)
    for name, (sql, _reason) in TABLES.items():
        strangers(name, START + "    pages = None" + END, GOOD_TABLE, sql)
    runtime = await strangers.start()
    for name, (_sql, reason) in TABLES.items():
        loaded = runtime.plugin(f"apps.{name}")
        assert loaded.state is State.FAILED, name
        assert "m1.py" in str(loaded.reason) and reason in str(loaded.reason), (name, loaded.reason)
    assert [runtime.plugin(id).state for id in ("apps.own", "apps.base")] == [State.ACTIVE, State.ACTIVE]
    assert {name for name in await names() if name.endswith("_own")} == {"apps_own_own", "apps_base_own"}
    assert not {name for name in await names() if name.startswith(("orders_mine", "mine"))}
    assert await db.fetchrow("SELECT * FROM shops_shop") == before
    ran = [row["plugin"] for row in await db.fetch("SELECT plugin FROM hooks_migration ORDER BY plugin")]
    assert ran == ["apps.base", "apps.own"]


async def test_a_name_that_begins_with_two_plugins_belongs_to_the_one_that_made_it(strangers):
    strangers("net_list", START + "    pages = None" + END, GOOD_TABLE)
    await strangers.start()
    strangers("net", START + "    pages = None" + END, "DROP TABLE apps_net_list_own;")
    runtime = await strangers.start()
    assert "touches apps_net_list_own" in str(runtime.plugin("apps.net").reason)
    assert "apps_net_list_own" in await names()


async def test_a_migration_that_commits_is_found_out(strangers):
    strangers("commits", START + "    pages = None" + END, "COMMIT; BEGIN;")
    runtime = await strangers.start()
    assert "m0.py ended the transaction it is run in" in str(runtime.plugin("apps.commits").reason)


async def test_later_migrations_run_once_and_what_the_plugin_made_it_may_change(strangers):
    place = strangers("grows", START + "    pages = None" + END, GOOD_TABLE, "ALTER TABLE {prefix}_own ADD a int;")
    await strangers.start()
    later = MIGRATION.format(number=7, id="apps.grows", sql="ALTER TABLE apps_grows_own DROP COLUMN a;")
    (place / "piccolo_migrations" / "m7.py").write_text(later)
    for _start in range(2):
        runtime = await strangers.start()
        assert runtime.plugin("apps.grows").state is State.ACTIVE
    columns = "SELECT string_agg(column_name, ' ') FROM information_schema.columns WHERE table_name = 'apps_grows_own'"
    assert await db.fetchval(columns) == "id text"
    assert await db.fetchval("SELECT count(*) FROM hooks_migration WHERE plugin = 'apps.grows'") == 3


# -- where plugins come from ------------------------------------------------------------


def package(site, name, id, module, code):
    about = site / f"{name}-1.0.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(f"[{discovery.GROUP}]\n{id} = {module}\n")
    if code is not None:
        folder = site.joinpath(*module.split("."))
        folder.mkdir(parents=True)
        (folder / "plugin.toml").write_text(MANIFEST.format(id=id))
        (folder / "__init__.py").write_text(code)


async def test_plugins_come_from_the_shop_the_merchants_folder_and_packages(strangers, operator, tmp_path, monkeypatch):
    site, merchants = tmp_path / "site", tmp_path / "merchants"
    good = START + "    pages = None" + END
    package(site, "one", "apps.one", "stranger_one", good)
    package(site, "deep", "apps.deep", "stranger_deep.inside.it", good)
    package(site, "gone", "apps.gone", "stranger_gone", None)
    package(site, "double", "apps.double", "stranger_double", good)
    for name in ("mine", "double"):
        place = merchants / "apps" / name
        place.mkdir(parents=True)
        (place / "plugin.toml").write_text(MANIFEST.format(id=f"apps.{name}"))
        (place / "__init__.py").write_text("from .inner import plugin")
        (place / "inner.py").write_text(good)
    monkeypatch.syspath_prepend(str(site))
    before = set(sys.modules)
    found = {one.id: one for one in discovery.packages()}
    assert {"apps.one", "apps.deep", "apps.gone", "apps.double"} <= found.keys()
    assert set(sys.modules) == before

    await operator.enables("apps.one", "apps.deep", "apps.gone", "apps.double", "apps.mine")
    runtime = Runtime(folder=tmp_path / "none", merchants_folder=merchants, packages=discovery.packages, environ={})
    await runtime.start()
    loaded = {one.id: (one.state, one.source) for one in runtime.plugins if one.id in found or one.id == "apps.mine"}
    assert loaded == {
        "apps.deep": (State.ACTIVE, "package"),
        "apps.double": (State.FAILED, "folder"),
        "apps.gone": (State.FAILED, "package"),
        "apps.mine": (State.ACTIVE, "folder"),
        "apps.one": (State.ACTIVE, "package"),
    }
    assert str(runtime.plugin("apps.gone").reason) == "The package stranger_gone it should be in cannot be found."
    places = f"{merchants / 'apps' / 'double'}, {site / 'stranger_double'}"
    assert str(runtime.plugin("apps.double").reason) == f"It is there 2 times; take all but one away: {places}"
    assert "stranger_double" not in sys.modules
    await runtime.close()
