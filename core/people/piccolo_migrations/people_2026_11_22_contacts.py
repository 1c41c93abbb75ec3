from core.db import ddl_migration

ID = "2026-11-22T18:44:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "buyers who have shown that a contact is theirs"

SQL = """
-- A link sent to a contact; used once.
CREATE TABLE people_contact_link (
    token_hash  bytea PRIMARY KEY CHECK (length(token_hash) = 32),
    shop_id     bigint NOT NULL REFERENCES shops_shop,
    contact     text NOT NULL,
    expires_at  timestamptz NOT NULL
);
CREATE INDEX people_contact_link_over ON people_contact_link (expires_at);
-- A session that opened such a link.
CREATE TABLE people_contact_proof (
    session_hash  bytea NOT NULL REFERENCES people_session ON DELETE CASCADE,
    shop_id       bigint NOT NULL REFERENCES shops_shop,
    contact       text NOT NULL,
    expires_at    timestamptz NOT NULL,
    PRIMARY KEY (session_hash, shop_id, contact)
);
"""

forwards = ddl_migration("people", ID, DESCRIPTION, SQL)
