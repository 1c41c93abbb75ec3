from core.db import ddl_migration

ID = "2026-11-22T15:00:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "first tables of hooks"

SQL = """
CREATE TABLE hooks_plugin (
    id          text PRIMARY KEY,
    enabled     boolean NOT NULL DEFAULT false,
    settings    jsonb NOT NULL DEFAULT '{}',
    secrets     bytea,
    version     integer NOT NULL DEFAULT 1,
    updated_at  timestamptz NOT NULL DEFAULT now()
);
-- One row; its number rises with every change, so that each process knows when to look again.
CREATE TABLE hooks_revision (
    one       boolean PRIMARY KEY DEFAULT true CHECK (one),
    revision  bigint NOT NULL DEFAULT 1
);
INSERT INTO hooks_revision DEFAULT VALUES;
"""

forwards = ddl_migration("hooks", ID, DESCRIPTION, SQL)
