from core.db import ddl_migration

ID = "2026-11-22T15:00:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "first tables of jobs"

SQL = """
CREATE TABLE jobs_job (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name         text NOT NULL,
    args         jsonb NOT NULL DEFAULT '{}',
    key          text UNIQUE,
    state        text NOT NULL DEFAULT 'queued' CHECK (state IN ('queued', 'running', 'done', 'failed', 'cancelled')),
    run_at       timestamptz NOT NULL DEFAULT now(),
    fence        integer NOT NULL DEFAULT 0,
    lease_until  timestamptz,
    tries        integer NOT NULL DEFAULT 0,
    error        text NOT NULL DEFAULT '',
    progress     jsonb NOT NULL DEFAULT '{}',
    cancel       boolean NOT NULL DEFAULT false,
    created_at   timestamptz NOT NULL DEFAULT now(),
    finished_at  timestamptz
) WITH (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 500);
CREATE INDEX jobs_job_due ON jobs_job (run_at) WHERE state = 'queued';
CREATE INDEX jobs_job_leased ON jobs_job (lease_until) WHERE state = 'running';
CREATE INDEX jobs_job_finished ON jobs_job (finished_at) WHERE finished_at IS NOT NULL;
CREATE TABLE jobs_worker (
    name       text PRIMARY KEY,
    beat_at    timestamptz NOT NULL DEFAULT now(),
    started_at timestamptz NOT NULL DEFAULT now()
);
"""

forwards = ddl_migration("jobs", ID, DESCRIPTION, SQL)
