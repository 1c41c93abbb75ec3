from core.db import ddl_migration

ID = "2026-11-23T04:15:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "a code in the mail, for the browser that asked for it"

SQL = """
-- Browsers that asked for a mail to a contact: only there its code is good, and only so often tried.
CREATE TABLE people_contact_ask (
    cookie_hash  bytea NOT NULL CHECK (length(cookie_hash) = 32),
    shop_id      bigint NOT NULL REFERENCES shops_shop,
    contact      text NOT NULL,
    tries        smallint NOT NULL DEFAULT 0 CHECK (tries BETWEEN 0 AND 5),
    expires_at   timestamptz NOT NULL,
    PRIMARY KEY (cookie_hash, shop_id)
);
CREATE INDEX people_contact_ask_over ON people_contact_ask (expires_at);
-- The code of the newest mail to a contact, under a key that is not in the database; used once.
CREATE TABLE people_contact_code (
    shop_id     bigint NOT NULL REFERENCES shops_shop,
    contact     text NOT NULL,
    code_hash   bytea NOT NULL CHECK (length(code_hash) = 32),
    expires_at  timestamptz NOT NULL,
    PRIMARY KEY (shop_id, contact)
);
CREATE INDEX people_contact_code_over ON people_contact_code (expires_at);
"""

forwards = ddl_migration("people", ID, DESCRIPTION, SQL)
