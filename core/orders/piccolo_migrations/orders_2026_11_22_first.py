from core.db import ddl_migration

ID = "2026-11-22T15:00:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "first tables of orders"

SQL = """
CREATE TABLE orders_order (
    id                bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    shop_id           bigint NOT NULL REFERENCES shops_shop,
    ref               text NOT NULL UNIQUE,
    key               text NOT NULL,
    contact           text NOT NULL CHECK (length(contact) <= 254),
    contact_kind      text NOT NULL CHECK (contact_kind IN ('email', 'phone', 'partner')),
    locale            text NOT NULL,
    currency          char(3) NOT NULL,
    total             bigint NOT NULL CHECK (total >= 0),
    paid              bigint NOT NULL DEFAULT 0,
    payment_state     text NOT NULL DEFAULT 'unpaid'
        CHECK (payment_state IN ('unpaid', 'paid', 'expired', 'cancelled', 'mismatch', 'refunded')),
    fulfilment_state  text NOT NULL DEFAULT 'reserved'
        CHECK (fulfilment_state IN ('reserved', 'released', 'preparing', 'delivered', 'review', 'void')),
    token_hash        bytea NOT NULL CHECK (length(token_hash) = 32),
    token_sealed      bytea NOT NULL,
    ip                inet,
    contact_slot      smallint NOT NULL DEFAULT 1 CHECK (contact_slot > 0),
    address           inet,
    address_slot      smallint NOT NULL DEFAULT 1 CHECK (address_slot > 0),
    agent             text NOT NULL DEFAULT '',
    test              boolean NOT NULL DEFAULT false,
    created_at        timestamptz NOT NULL DEFAULT now(),
    expires_at        timestamptz NOT NULL,
    paid_at           timestamptz,
    delivered_at      timestamptz,
    UNIQUE (shop_id, key),
    CHECK (fulfilment_state <> 'delivered' OR delivered_at IS NOT NULL)
) WITH (fillfactor = 85);
CREATE INDEX orders_order_open ON orders_order (expires_at)
    WHERE payment_state = 'unpaid' AND fulfilment_state = 'reserved';
CREATE INDEX orders_order_unfinished ON orders_order (paid_at)
    WHERE payment_state = 'paid' AND fulfilment_state NOT IN ('delivered', 'void');
CREATE INDEX orders_order_contact ON orders_order (shop_id, contact);
-- Open orders of one contact and of one network address sit in numbered places: nobody can hold more than the
-- shop has places for, however many requests come at once.
CREATE UNIQUE INDEX orders_order_contact_slot ON orders_order (shop_id, contact, contact_slot)
    WHERE payment_state = 'unpaid' AND fulfilment_state = 'reserved';
CREATE UNIQUE INDEX orders_order_address_slot ON orders_order (address, address_slot)
    WHERE payment_state = 'unpaid' AND fulfilment_state = 'reserved' AND address IS NOT NULL;
CREATE INDEX orders_order_created ON orders_order USING brin (created_at)
    WITH (pages_per_range = 32, autosummarize = on);
CREATE TABLE orders_line (
    id             bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    order_id       bigint NOT NULL REFERENCES orders_order,
    sku_id         bigint NOT NULL REFERENCES catalog_sku,
    product_id     bigint NOT NULL,
    product_title  jsonb NOT NULL,
    sku_title      jsonb NOT NULL,
    sku_code       text NOT NULL,
    delivery_note  jsonb NOT NULL DEFAULT '{}',
    quantity       integer NOT NULL CHECK (quantity BETWEEN 1 AND 1000),
    unit_price     bigint NOT NULL CHECK (unit_price >= 0),
    total          bigint NOT NULL CHECK (total >= 0),
    fields         jsonb NOT NULL DEFAULT '{}',
    state          text NOT NULL DEFAULT 'reserved'
        CHECK (state IN ('reserved', 'released', 'preparing', 'delivered', 'review', 'void'))
) WITH (fillfactor = 85);
CREATE INDEX orders_line_order ON orders_line (order_id);
CREATE INDEX orders_line_sku ON orders_line (sku_id);
CREATE TABLE orders_event (
    id        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    order_id  bigint NOT NULL REFERENCES orders_order,
    at        timestamptz NOT NULL DEFAULT clock_timestamp(),
    kind      text NOT NULL,
    actor     text NOT NULL,
    data      jsonb NOT NULL DEFAULT '{}'
);
CREATE INDEX orders_event_order ON orders_event (order_id);
CREATE TABLE orders_access (
    order_id      bigint NOT NULL REFERENCES orders_order,
    session_hash  bytea NOT NULL REFERENCES people_session ON DELETE CASCADE,
    how           text NOT NULL CHECK (how IN ('bought', 'link', 'code')),
    at            timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (session_hash, order_id)
);
CREATE INDEX orders_access_order ON orders_access (order_id);
"""

forwards = ddl_migration("orders", ID, DESCRIPTION, SQL)
