from core.db import ddl_migration

ID = "2026-11-22T15:00:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "first tables of web"

SQL = """
CREATE UNLOGGED TABLE web_limit (
    bucket        text NOT NULL,
    window_start  timestamptz NOT NULL,
    hits          integer NOT NULL,
    PRIMARY KEY (bucket, window_start)
);
"""

forwards = ddl_migration("web", ID, DESCRIPTION, SQL)
