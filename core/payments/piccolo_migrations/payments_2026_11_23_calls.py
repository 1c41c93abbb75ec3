from core.db import ddl_migration

ID = "2026-11-23T02:20:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "every call of a gateway and every question to it, for whoever looks what went wrong"

SQL = """
-- Evidence, not money: what a call did stands in payments_event. payload has its secrets masked. order_id is what the
-- call names; of a forged one (said = 'forged') that is a claim of whoever sent it.
CREATE TABLE payments_call (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at          timestamptz NOT NULL,
    method      text NOT NULL,
    order_id    bigint,
    attempt     text NOT NULL DEFAULT '',
    came_by     text NOT NULL CHECK (came_by IN ('callback', 'query')),
    said        text NOT NULL,
    ms          integer NOT NULL CHECK (ms >= 0),
    ip          inet,
    request_id  text NOT NULL DEFAULT '',
    payload     jsonb NOT NULL DEFAULT '{}'
);
CREATE INDEX payments_call_order ON payments_call (order_id) WHERE order_id IS NOT NULL;
CREATE INDEX payments_call_at ON payments_call USING brin (at);
-- Rows come in the order of time; an index of a few pages finds a period.
CREATE INDEX payments_attempt_created ON payments_attempt USING brin (created_at);
"""

forwards = ddl_migration("payments", ID, DESCRIPTION, SQL)
