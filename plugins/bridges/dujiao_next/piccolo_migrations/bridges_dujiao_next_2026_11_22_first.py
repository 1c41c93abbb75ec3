from core.api import ddl_migration

ID = "2026-11-22T22:00:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "first tables of bridges.dujiao_next"

SQL = """
-- Signatures of orders that came lately: the protocol has no nonce, so a call is known again by its signature.
CREATE TABLE bridges_dujiao_next_seen (
    mark      bytea PRIMARY KEY,
    seen_at   timestamptz NOT NULL
);
CREATE INDEX bridges_dujiao_next_seen_at ON bridges_dujiao_next_seen (seen_at);
"""

forwards = ddl_migration("bridges.dujiao_next", ID, DESCRIPTION, SQL)
