from core.api import ddl_migration

ID = "2026-11-22T21:50:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "where webhooks go, what was sent there, and how each try ended"

SQL = """
-- The secret of an endpoint is made of the plugin's own secret and its salt, so that it is stored nowhere.
CREATE TABLE notifiers_webhook_endpoint (
    id             bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    shop           text NOT NULL,
    url            text NOT NULL CHECK (length(url) BETWEEN 8 AND 500),
    note           text NOT NULL DEFAULT '' CHECK (length(note) <= 120),
    events         text[] NOT NULL,
    state          text NOT NULL DEFAULT 'on' CHECK (state IN ('on', 'off', 'given_up')),
    salt           bytea NOT NULL CHECK (length(salt) = 16),
    old_salt       bytea CHECK (length(old_salt) = 16),
    old_until      timestamptz,
    failing_since  timestamptz,
    made_at        timestamptz NOT NULL DEFAULT now(),
    CHECK ((old_salt IS NULL) = (old_until IS NULL))
);
CREATE INDEX notifiers_webhook_endpoint_shop ON notifiers_webhook_endpoint (shop, id);
CREATE TABLE notifiers_webhook_delivery (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    endpoint_id  bigint NOT NULL REFERENCES notifiers_webhook_endpoint ON DELETE CASCADE,
    message      text NOT NULL,
    event        text NOT NULL,
    body         text NOT NULL CHECK (length(body) <= 20000),
    state        text NOT NULL DEFAULT 'queued' CHECK (state IN ('queued', 'sent', 'failed')),
    tries        integer NOT NULL DEFAULT 0,
    round        integer NOT NULL DEFAULT 1,
    next_at      timestamptz,
    made_at      timestamptz NOT NULL DEFAULT now(),
    UNIQUE (endpoint_id, message)
);
CREATE INDEX notifiers_webhook_delivery_old ON notifiers_webhook_delivery (made_at);
CREATE TABLE notifiers_webhook_try (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    delivery_id  bigint NOT NULL REFERENCES notifiers_webhook_delivery ON DELETE CASCADE,
    at           timestamptz NOT NULL,
    status       integer,
    millis       integer NOT NULL,
    answer       text NOT NULL DEFAULT '',
    error        text NOT NULL DEFAULT ''
);
CREATE INDEX notifiers_webhook_try_delivery ON notifiers_webhook_try (delivery_id, id);
"""

forwards = ddl_migration("notifiers_webhook", ID, DESCRIPTION, SQL)
