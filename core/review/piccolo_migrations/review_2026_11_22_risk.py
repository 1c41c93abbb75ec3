from core.db import ddl_migration

ID = "2026-11-22T21:36:06:000000"
VERSION = "1.38.0"
DESCRIPTION = "who works on a question, and what risk rules found"

SQL = """
ALTER TABLE review_item ADD COLUMN claimed_by bigint REFERENCES people_staff ON DELETE SET NULL;
ALTER TABLE review_item ADD COLUMN claimed_at timestamptz;
ALTER TABLE review_item ADD COLUMN note text NOT NULL DEFAULT '';
-- An order that was not placed: who wanted what. One row for each form and contact, however often it is sent.
CREATE TABLE review_refused (
    id        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    shop_id   bigint NOT NULL REFERENCES shops_shop,
    key       text NOT NULL,
    at        timestamptz NOT NULL,
    tries     integer NOT NULL DEFAULT 1,
    contact   text NOT NULL,
    ip        inet,
    device    text NOT NULL,
    agent     text NOT NULL,
    total     bigint NOT NULL,
    currency  char(3) NOT NULL,
    lines     jsonb NOT NULL,
    score     integer NOT NULL,
    UNIQUE (shop_id, key, contact)
);
CREATE INDEX review_refused_at ON review_refused (at);
-- What one rule found, about an order or about one that was not placed. ``title`` and ``reason`` are kept so that
-- they read well after the rule is gone.
CREATE TABLE review_evidence (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    order_id    bigint REFERENCES orders_order,
    refused_id  bigint REFERENCES review_refused ON DELETE CASCADE,
    rule        text NOT NULL,
    title       jsonb NOT NULL,
    score       integer NOT NULL CHECK (score BETWEEN 0 AND 100),
    action      text NOT NULL CHECK (action IN ('score', 'review', 'refuse', 'allow', 'note')),
    reason      jsonb NOT NULL,
    data        jsonb NOT NULL,
    at          timestamptz NOT NULL DEFAULT now(),
    CHECK ((order_id IS NULL) <> (refused_id IS NULL))
);
CREATE INDEX review_evidence_order ON review_evidence (order_id);
CREATE INDEX review_evidence_refused ON review_evidence (refused_id);
CREATE INDEX review_evidence_at ON review_evidence (at);
"""

forwards = ddl_migration("review", ID, DESCRIPTION, SQL)
