from core.db import ddl_migration

ID = "2026-11-22T18:55:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "keys for programs"

SQL = """
CREATE TABLE people_api_key (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    shop_id      bigint NOT NULL REFERENCES shops_shop,
    name         text NOT NULL CHECK (length(name) BETWEEN 1 AND 300),
    token_hash   bytea NOT NULL UNIQUE CHECK (length(token_hash) = 32),
    shown        text NOT NULL CHECK (length(shown) = 4),
    scopes       text[] NOT NULL CHECK (cardinality(scopes) > 0),
    created_by   bigint REFERENCES people_staff ON DELETE SET NULL,
    created_at   timestamptz NOT NULL,
    expires_at   timestamptz,
    last_used_at timestamptz,
    revoked_at   timestamptz
);
CREATE INDEX people_api_key_shop ON people_api_key (shop_id);
"""

forwards = ddl_migration("people", ID, DESCRIPTION, SQL)
