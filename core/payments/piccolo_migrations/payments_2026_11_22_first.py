from core.db import ddl_migration

ID = "2026-11-22T15:00:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "first tables of payments"

SQL = """
CREATE TABLE payments_attempt (
    id             bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    ref            text NOT NULL UNIQUE,
    order_id       bigint NOT NULL REFERENCES orders_order,
    method         text NOT NULL,
    label          jsonb NOT NULL DEFAULT '{}',
    option         text NOT NULL DEFAULT '',
    amount         bigint NOT NULL CHECK (amount >= 0),
    currency       char(3) NOT NULL,
    state          text NOT NULL DEFAULT 'created'
        CHECK (state IN ('created', 'waiting', 'paid', 'failed', 'expired')),
    started        jsonb,
    error          text NOT NULL DEFAULT '',
    gateway_ref    text,
    queries        integer NOT NULL DEFAULT 0,
    next_query_at  timestamptz,
    created_at     timestamptz NOT NULL DEFAULT now(),
    settled_at     timestamptz
) WITH (fillfactor = 85);
CREATE INDEX payments_attempt_order ON payments_attempt (order_id);
CREATE INDEX payments_attempt_query ON payments_attempt (next_query_at) WHERE next_query_at IS NOT NULL;
-- One row per thing a gateway said; the unique key makes a repeat harmless.
CREATE TABLE payments_event (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    method       text NOT NULL,
    event_key    text NOT NULL,
    attempt_id   bigint REFERENCES payments_attempt,
    order_id     bigint REFERENCES orders_order,
    source       text NOT NULL CHECK (source IN ('callback', 'query', 'staff')),
    state        text NOT NULL,
    amount       bigint,
    currency     char(3),
    gateway_ref  text,
    outcome      text NOT NULL,
    received_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    UNIQUE (method, event_key)
);
CREATE INDEX payments_event_order ON payments_event (order_id);
"""

forwards = ddl_migration("payments", ID, DESCRIPTION, SQL)
