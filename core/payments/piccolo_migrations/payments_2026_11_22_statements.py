from core.db import ddl_migration

ID = "2026-11-22T21:30:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "statements of gateways, held against our own payments"

SQL = """
-- One row for each day of each gateway's books; begins_at and ends_at are that day in the gateway's own time zone.
CREATE TABLE payments_statement (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    method      text NOT NULL,
    day         date NOT NULL,
    begins_at   timestamptz NOT NULL,
    ends_at     timestamptz NOT NULL,
    next_at     timestamptz NOT NULL,
    tries       integer NOT NULL DEFAULT 0,
    error       text NOT NULL DEFAULT '',
    fetched_at  timestamptz,
    UNIQUE (method, day)
);
CREATE INDEX payments_statement_due ON payments_statement (next_at) WHERE fetched_at IS NULL;
-- A line and what of ours it stands for; each payment and refund of ours stands behind one line at most.
CREATE TABLE payments_statement_line (
    id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    statement_id  bigint NOT NULL REFERENCES payments_statement,
    shop_id       bigint NOT NULL REFERENCES shops_shop,
    method        text NOT NULL,
    key           text NOT NULL,
    kind          text NOT NULL CHECK (kind IN ('payment', 'refund', 'fee', 'chargeback')),
    gateway_ref   text NOT NULL,
    our_ref       text NOT NULL,
    amount        bigint NOT NULL,
    currency      char(3) NOT NULL,
    fee           bigint NOT NULL DEFAULT 0,
    fee_currency  char(3) NOT NULL,
    fee_booked    boolean NOT NULL DEFAULT false,
    at            timestamptz NOT NULL,
    result        text NOT NULL DEFAULT 'theirs' CHECK (result IN ('theirs', 'matched', 'differs')),
    order_id      bigint REFERENCES orders_order,
    payment_id    bigint UNIQUE REFERENCES payments_event,
    refund_id     bigint UNIQUE REFERENCES payments_refund,
    UNIQUE (method, key)
);
CREATE INDEX payments_statement_line_day ON payments_statement_line (statement_id);
CREATE INDEX payments_statement_line_open ON payments_statement_line (method) WHERE result = 'theirs';
CREATE INDEX payments_statement_line_fee ON payments_statement_line (method) WHERE fee <> 0 AND NOT fee_booked;
-- Rows come in the order of time; an index of a few pages finds a day.
CREATE INDEX payments_event_at ON payments_event USING brin (received_at);
"""

forwards = ddl_migration("payments", ID, DESCRIPTION, SQL)
