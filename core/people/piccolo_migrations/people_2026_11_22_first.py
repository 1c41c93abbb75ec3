from core.db import ddl_migration

ID = "2026-11-22T15:00:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "first tables of people"

SQL = """
CREATE TABLE people_staff (
    id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    shop_id         bigint NOT NULL REFERENCES shops_shop,
    email           text NOT NULL CHECK (email = lower(email) AND length(email) BETWEEN 3 AND 254),
    name            text NOT NULL DEFAULT '',
    password_hash   text,
    role            text NOT NULL CHECK (role IN ('owner', 'manager', 'stock', 'support', 'finance', 'readonly')),
    totp_secret     bytea,
    totp_last_step  bigint NOT NULL DEFAULT 0,
    locale          text,
    disabled_at     timestamptz,
    last_sign_in_at timestamptz,
    created_at      timestamptz NOT NULL DEFAULT now(),
    UNIQUE (shop_id, email)
);
CREATE TABLE people_session (
    id_hash     bytea PRIMARY KEY CHECK (length(id_hash) = 32),
    kind        text NOT NULL CHECK (kind IN ('buyer', 'staff')),
    staff_id    bigint REFERENCES people_staff ON DELETE CASCADE,
    created_at  timestamptz NOT NULL DEFAULT now(),
    seen_at     timestamptz NOT NULL DEFAULT now(),
    expires_at  timestamptz NOT NULL,
    confirmed_at timestamptz,
    ip          inet,
    agent       text NOT NULL DEFAULT '',
    data        jsonb NOT NULL DEFAULT '{}',
    CHECK (kind = 'staff' OR staff_id IS NULL)
);
CREATE INDEX people_session_staff ON people_session (staff_id) WHERE staff_id IS NOT NULL;
CREATE INDEX people_session_expires ON people_session (expires_at);
CREATE TABLE people_link (
    token_hash  bytea PRIMARY KEY,
    purpose     text NOT NULL CHECK (purpose IN ('setup', 'invite', 'reset')),
    staff_id    bigint REFERENCES people_staff ON DELETE CASCADE,
    expires_at  timestamptz NOT NULL,
    used_at     timestamptz,
    created_at  timestamptz NOT NULL DEFAULT now()
);
"""

forwards = ddl_migration("people", ID, DESCRIPTION, SQL)
