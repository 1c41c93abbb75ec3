from core.api import ddl_migration

ID = "2026-11-22T22:00:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "messages to buyers and staff, and how far staff have read"

SQL = """
-- A message to a buyer belongs to an order: whoever may see the order may read it. One to staff has none to read it by.
CREATE TABLE notifiers_inbox_message (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    shop       text NOT NULL,
    reader     text NOT NULL CHECK (reader IN ('buyer', 'staff')),
    kind       text NOT NULL,
    key        text NOT NULL UNIQUE,
    order_ref  text NOT NULL DEFAULT '',
    data       jsonb NOT NULL DEFAULT '{}',
    made_at    timestamptz NOT NULL DEFAULT now(),
    read_at    timestamptz,
    CHECK (reader = 'staff' OR order_ref <> '')
);
CREATE INDEX notifiers_inbox_message_buyer ON notifiers_inbox_message (order_ref) WHERE reader = 'buyer';
CREATE INDEX notifiers_inbox_message_staff ON notifiers_inbox_message (shop, id) WHERE reader = 'staff';
CREATE INDEX notifiers_inbox_message_old ON notifiers_inbox_message (made_at);
CREATE TABLE notifiers_inbox_read (
    staff_id  bigint PRIMARY KEY,
    up_to     bigint NOT NULL
);
"""

forwards = ddl_migration("notifiers_inbox", ID, DESCRIPTION, SQL)
