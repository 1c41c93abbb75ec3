from core.db import ddl_migration

ID = "2026-11-23T01:20:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "first tables of lists"

SQL = """
ALTER TABLE web_view ADD FOREIGN KEY (staff_id) REFERENCES people_staff ON DELETE CASCADE;
-- An act on many rows, or an export. Of an act the keys are fixed when it is asked for, so that what was counted is
-- what is done.
CREATE TABLE lists_run (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    shop_id      bigint NOT NULL REFERENCES shops_shop,
    staff_id     bigint NOT NULL REFERENCES people_staff ON DELETE CASCADE,
    whole        boolean NOT NULL,
    ip           inet,
    locale       text NOT NULL,
    list         text NOT NULL,
    act          text NOT NULL,
    query        text NOT NULL,
    fields       jsonb NOT NULL DEFAULT '{}',
    keys         jsonb NOT NULL DEFAULT '[]',
    state        text NOT NULL DEFAULT 'asked' CHECK (state IN ('asked', 'running', 'done')),
    job_id       bigint,
    total        integer NOT NULL DEFAULT 0,
    file         bytea,
    file_name    text NOT NULL DEFAULT '',
    created_at   timestamptz NOT NULL,
    finished_at  timestamptz
);
CREATE INDEX lists_run_created ON lists_run (created_at);
CREATE INDEX lists_run_job ON lists_run (job_id) WHERE job_id IS NOT NULL;
ALTER TABLE lists_run ALTER COLUMN file SET STORAGE EXTERNAL;
-- What became of each row. It is written beside the act, so that a run that is taken up again does nothing twice.
CREATE TABLE lists_result (
    run_id   bigint NOT NULL REFERENCES lists_run ON DELETE CASCADE,
    key      text NOT NULL,
    label    text NOT NULL,
    outcome  text NOT NULL CHECK (outcome IN ('done', 'skipped', 'failed')),
    reason   text NOT NULL DEFAULT '',
    PRIMARY KEY (run_id, key)
);
"""

forwards = ddl_migration("lists", ID, DESCRIPTION, SQL)
