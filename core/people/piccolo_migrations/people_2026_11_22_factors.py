from core.db import ddl_migration

ID = "2026-11-22T18:50:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "passkeys, recovery codes, values signed and good once"

SQL = """
CREATE TABLE people_passkey (
    id             bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    staff_id       bigint NOT NULL REFERENCES people_staff ON DELETE CASCADE,
    credential_id  bytea NOT NULL UNIQUE CHECK (length(credential_id) BETWEEN 16 AND 1023),
    public_key     bytea NOT NULL,
    sign_count     bigint NOT NULL CHECK (sign_count >= 0),
    name           text NOT NULL CHECK (length(name) BETWEEN 1 AND 60),
    created_at     timestamptz NOT NULL DEFAULT now(),
    used_at        timestamptz
);
CREATE INDEX people_passkey_staff ON people_passkey (staff_id);
CREATE TABLE people_recovery_code (
    staff_id   bigint NOT NULL REFERENCES people_staff ON DELETE CASCADE,
    code_hash  bytea NOT NULL CHECK (length(code_hash) = 32),
    used_at    timestamptz,
    PRIMARY KEY (staff_id, code_hash)
);
-- Signs what is handed out without being stored: it proves nothing but that we made it.
CREATE TABLE people_signing_key (
    one  boolean PRIMARY KEY DEFAULT true CHECK (one),
    key  bytea NOT NULL CHECK (length(key) = 32)
);
INSERT INTO people_signing_key (key)
VALUES (sha256(uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid())));
-- Signed values that were used and are good once.
CREATE TABLE people_used_value (
    value_hash  bytea PRIMARY KEY CHECK (length(value_hash) = 32),
    over_at     timestamptz NOT NULL
);
CREATE INDEX people_used_value_over ON people_used_value (over_at);
"""

forwards = ddl_migration("people", ID, DESCRIPTION, SQL)
