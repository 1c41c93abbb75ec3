from core.db import ddl_migration

ID = "2026-11-23T04:25:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "how the shop looks from outside"

SQL = """
-- What was found last, by the name of the look; facts are what its sentence says.
CREATE TABLE admin_outside (
    name       text PRIMARY KEY CHECK (name IN ('callback', 'stream', 'dns')),
    outcome    text NOT NULL,
    facts      jsonb NOT NULL DEFAULT '{}',
    looked_at  timestamptz NOT NULL
);
-- A call of the shop to itself that is under way: good for one key, and only for a moment.
CREATE TABLE admin_call (
    key_hash    bytea PRIMARY KEY CHECK (length(key_hash) = 32),
    answer      text NOT NULL,
    expires_at  timestamptz NOT NULL
);
"""

forwards = ddl_migration("admin", ID, DESCRIPTION, SQL)
