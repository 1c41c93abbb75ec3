"""The tables of plugins: each plugin is brought up to date in a transaction of its own, and may touch only its own.

What a migration did is read from the catalogue of the database, not from its text. Whatever a plugin makes is named
after it (``promotions_coupon``, ``promotions_coupon_use``); with anything else made, changed or filled, the whole
transaction is rolled back.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import io
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from core import db

FOLDER = "piccolo_migrations"
STATEMENT_SECONDS = 60
ALL_SECONDS = 120

# Everything a migration could make or change, by kind and name, with all that describes it.
THINGS = """
SELECT c.relkind::text AS kind, CASE WHEN n.nspname = 'public' THEN c.relname ELSE n.nspname || '.' || c.relname END
           AS name,
       md5(concat_ws('|', c.relfilenode, c.relowner, c.relpersistence, c.reloptions, c.relacl, c.relrowsecurity,
           (SELECT string_agg(concat_ws(',', a.attnum, a.attname, a.atttypid, a.atttypmod, a.attnotnull, a.attidentity,
                                        pg_get_expr(d.adbin, d.adrelid)), ';' ORDER BY a.attnum)
            FROM pg_attribute a LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
            WHERE a.attrelid = c.oid AND a.attnum > 0),
           (SELECT string_agg(conname || pg_get_constraintdef(oid), ';' ORDER BY conname)
            FROM pg_constraint WHERE conrelid = c.oid),
           (SELECT string_agg(pg_get_indexdef(indexrelid), ';' ORDER BY indexrelid)
            FROM pg_index WHERE indrelid = c.oid),
           (SELECT string_agg(pg_get_triggerdef(oid) || tgenabled::text, ';' ORDER BY oid)
            FROM pg_trigger WHERE tgrelid = c.oid AND NOT tgisinternal),
           (SELECT string_agg(pg_get_ruledef(oid), ';' ORDER BY oid) FROM pg_rewrite WHERE ev_class = c.oid),
           -- a table of somebody else that rows of this plugin would hold fast
           (SELECT string_agg(conrelid::regclass::text, ';' ORDER BY conname)
            FROM pg_constraint WHERE confrelid = c.oid AND conrelid <> c.oid)
       )) AS shape
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S') AND n.nspname !~ '^(pg_|information_schema$)'
UNION ALL
SELECT 'function', p.proname, md5(string_agg(pg_get_function_identity_arguments(p.oid) || p.prosrc, ';' ORDER BY p.oid))
FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
WHERE n.nspname !~ '^(pg_|information_schema$)' GROUP BY p.proname
UNION ALL
SELECT 'type', t.typname, md5(concat_ws('|', t.typtype, t.typbasetype,
    (SELECT string_agg(enumlabel, ';' ORDER BY enumsortorder) FROM pg_enum WHERE enumtypid = t.oid)))
FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace
WHERE t.typtype IN ('e', 'd') AND n.nspname !~ '^(pg_|information_schema$)'
UNION ALL
SELECT 'schema', nspname, '' FROM pg_namespace WHERE nspname !~ '^(pg_|information_schema$)'
"""

ROWS_TOUCHED = "SELECT relname, n_tup_ins + n_tup_upd + n_tup_del AS number FROM pg_stat_xact_user_tables"

RAN = "INSERT INTO hooks_migration (plugin, id) VALUES ($1, $2)"

OWN = """
INSERT INTO hooks_table (name, plugin) SELECT name, $1 FROM unnest($2::text[]) AS made (name) ON CONFLICT DO NOTHING
"""

OPEN_TRANSACTION = "SELECT pg_current_xact_id()::text"


class BadMigration(Exception):
    """The text says which migration, and what is wrong with it."""


@dataclass(frozen=True, slots=True)
class Step:
    id: str
    file: str
    module: ModuleType


async def done() -> dict[str, set[str]]:
    """The migrations that were run, by plugin."""
    ran: dict[str, set[str]] = {}
    for row in await db.fetch("SELECT plugin, id FROM hooks_migration"):
        ran.setdefault(row["plugin"], set()).add(row["id"])
    return ran


def steps(folder: Path, package: str) -> list[Step]:
    """The migrations in a plugin's folder, in their order. ``package`` is what the plugin is imported as.

    :raises BadMigration: a file is no migration, or two have one ID.
    """
    found = []
    for path in sorted((folder / FOLDER).glob("*.py")):
        if path.stem == "__init__":
            continue
        module = importlib.import_module(f"{package}.{FOLDER}.{path.stem}")
        if not isinstance(getattr(module, "ID", None), str) or not callable(getattr(module, "forwards", None)):
            raise BadMigration(f"{FOLDER}/{path.name} must have an ID and forwards")
        found.append(Step(module.ID, path.name, module))
    twice = [id for id, times in Counter(step.id for step in found).items() if times > 1]
    if twice:
        raise BadMigration(f"two migrations have the ID {twice[0]}")
    return sorted(found, key=lambda step: step.id)


async def migrate(plugin: str, wanted: Sequence[Step]) -> None:
    """Bring the tables of one plugin up to date, all of them or none.

    :raises BadMigration: naming the file and what it did wrong.
    """
    try:
        async with asyncio.timeout(ALL_SECONDS):
            await db.transaction(_migrate, plugin, wanted)
    except TimeoutError as error:
        raise BadMigration(f"its tables were not ready within {ALL_SECONDS} s") from error


async def _migrate(tx: db.Tx, plugin: str, wanted: Sequence[Step]) -> None:
    await tx.execute("SET LOCAL lock_timeout = 0")
    await tx.execute("SELECT pg_advisory_xact_lock($1)", db.MIGRATION_LOCK)
    await tx.execute("SET LOCAL lock_timeout = '5s'")
    await tx.execute(f"SET LOCAL statement_timeout = '{STATEMENT_SECONDS}s'")
    ran = {row["id"] for row in await tx.fetch("SELECT id FROM hooks_migration WHERE plugin = $1", plugin)}
    owners = {row["name"]: row["plugin"] for row in await tx.fetch("SELECT name, plugin FROM hooks_table")}
    open_transaction = await tx.fetchval(OPEN_TRANSACTION)
    for step in wanted:
        if step.id not in ran:
            before = await _look(tx)
            await _run(step)
            if not tx.connection.is_in_transaction() or await tx.fetchval(OPEN_TRANSACTION) != open_transaction:
                raise BadMigration(f"{step.file} ended the transaction it is run in")
            await _check(tx, plugin, step, before, owners)
            await tx.execute(RAN, plugin, step.id)


async def _run(step: Step) -> None:
    manager = await step.module.forwards()
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # Piccolo talks
            await manager.run()
    except Exception as error:
        words = str(error).splitlines()
        raise BadMigration(f"{step.file}: {words[0] if words else type(error).__name__}") from error


Look = tuple[Mapping[tuple[str, str], str], Mapping[str, int]]


async def _look(tx: db.Tx) -> Look:
    things = {(row["kind"], row["name"]): row["shape"] for row in await tx.fetch(THINGS)}
    return things, {row["relname"]: row["number"] for row in await tx.fetch(ROWS_TOUCHED)}


async def _check(tx: db.Tx, plugin: str, step: Step, before: Look, owners: dict[str, str]) -> None:
    after = await _look(tx)
    touched = {key[1] for key in before[0].keys() | after[0].keys() if before[0].get(key) != after[0].get(key)}
    touched |= {name for name, number in after[1].items() if number != before[1].get(name, 0)}
    prefix = plugin.replace(".", "_")
    made = [name for _kind, name in after[0].keys() - before[0].keys()]
    for name in sorted(touched):
        mine = name == prefix or name.startswith(f"{prefix}_")
        if not mine or owners.get(name, plugin) != plugin or (name not in made and name not in owners):
            raise BadMigration(f"{step.file} touches {name}; whatever it makes must be called {prefix}_…")
    await tx.execute(OWN, plugin, made)
    gone = [name for _kind, name in before[0].keys() - after[0].keys()]
    await tx.execute("DELETE FROM hooks_table WHERE plugin = $1 AND name = ANY($2)", plugin, gone)
    owners.update(dict.fromkeys(made, plugin))
