from core.db import ddl_migration

ID = "2026-11-23T04:20:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "what happened to a job that takes long or went wrong"

SQL = """
-- Of jobs that tell how far they are, break or are stopped; the many that are simply done have no row here.
CREATE TABLE jobs_log (
    id      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    job_id  bigint NOT NULL REFERENCES jobs_job ON DELETE CASCADE,
    at      timestamptz NOT NULL DEFAULT now(),
    kind    text NOT NULL CHECK (kind IN ('begun', 'note', 'again', 'asked', 'retried', 'done', 'failed', 'cancelled')),
    text    text NOT NULL DEFAULT ''
);
CREATE INDEX jobs_log_job ON jobs_log (job_id, id);
"""

forwards = ddl_migration("jobs", ID, DESCRIPTION, SQL)
