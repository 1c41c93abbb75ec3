from core.db import ddl_migration

ID = "2026-11-22T19:00:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "the plan of backups, and each backup that was made"

SQL = """
-- public_key seals; whoever has its other half opens. Empty: nothing is made by itself.
CREATE TABLE backup_plan (
    one          boolean PRIMARY KEY DEFAULT true CHECK (one),
    public_key   text NOT NULL DEFAULT '' CHECK (public_key = '' OR starts_with(public_key, 'age1')),
    every_hours  integer NOT NULL DEFAULT 24 CHECK (every_hours BETWEEN 1 AND 720),
    keep         integer NOT NULL DEFAULT 14 CHECK (keep BETWEEN 1 AND 1000)
);
INSERT INTO backup_plan DEFAULT VALUES;
CREATE TABLE backup_file (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    path        text NOT NULL,
    host        text NOT NULL,
    planned     boolean NOT NULL,
    state       text NOT NULL DEFAULT 'running' CHECK (state IN ('running', 'done', 'failed', 'removed')),
    size        bigint,
    rows        bigint,
    error       text NOT NULL DEFAULT '',
    started_at  timestamptz NOT NULL DEFAULT now(),
    ended_at    timestamptz,
    CHECK ((state = 'running') = (ended_at IS NULL))
);
CREATE INDEX backup_file_done ON backup_file (started_at) WHERE state = 'done';
"""

forwards = ddl_migration("backup", ID, DESCRIPTION, SQL)
