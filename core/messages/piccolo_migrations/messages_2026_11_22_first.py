from core.db import ddl_migration

ID = "2026-11-22T15:00:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "first tables of messages"

SQL = """
CREATE TABLE messages_template (
    id       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    shop_id  bigint NOT NULL REFERENCES shops_shop,
    event    text NOT NULL,
    channel  text NOT NULL,
    locale   text NOT NULL,
    subject  text NOT NULL,
    body     text NOT NULL,
    updated_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (shop_id, event, channel, locale)
);
CREATE TABLE messages_message (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    shop_id     bigint NOT NULL REFERENCES shops_shop,
    order_id    bigint REFERENCES orders_order,
    event       text NOT NULL,
    channel     text NOT NULL,
    recipient   text NOT NULL,
    locale      text NOT NULL,
    key         text NOT NULL UNIQUE,
    state       text NOT NULL DEFAULT 'queued' CHECK (state IN ('queued', 'sending', 'sent', 'failed', 'held')),
    subject     text NOT NULL DEFAULT '',
    tries       integer NOT NULL DEFAULT 0,
    error       text NOT NULL DEFAULT '',
    receipt     text NOT NULL DEFAULT '',
    created_at  timestamptz NOT NULL DEFAULT now(),
    sent_at     timestamptz
);
CREATE INDEX messages_message_order ON messages_message (order_id);
CREATE INDEX messages_message_created ON messages_message (shop_id, created_at);
"""

forwards = ddl_migration("messages", ID, DESCRIPTION, SQL)
