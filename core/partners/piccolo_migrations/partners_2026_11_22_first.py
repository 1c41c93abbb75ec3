from core.db import ddl_migration

ID = "2026-11-22T21:30:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "first tables of partners"

SQL = """
CREATE TABLE partners_partner (
    id             bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    shop_id        bigint NOT NULL REFERENCES shops_shop,
    name           text NOT NULL CHECK (length(name) BETWEEN 1 AND 60),
    api_key        text NOT NULL UNIQUE,
    secret_sealed  bytea NOT NULL,
    -- Hundredths of a percent taken off the catalogue price.
    discount       integer NOT NULL DEFAULT 0 CHECK (discount BETWEEN 0 AND 10000),
    notify_url     text NOT NULL DEFAULT '' CHECK (length(notify_url) <= 500),
    -- The session its orders belong to. Nobody holds its token.
    session_hash   bytea NOT NULL REFERENCES people_session,
    created_by     bigint REFERENCES people_staff ON DELETE SET NULL,
    created_at     timestamptz NOT NULL DEFAULT now(),
    stopped_at     timestamptz,
    UNIQUE (shop_id, name)
);
CREATE TABLE partners_order (
    order_id      bigint PRIMARY KEY REFERENCES orders_order,
    partner_id    bigint NOT NULL REFERENCES partners_partner,
    reference     text NOT NULL CHECK (length(reference) BETWEEN 1 AND 100),
    channel       text NOT NULL,
    callback_url  text NOT NULL DEFAULT '' CHECK (length(callback_url) <= 500),
    told          text NOT NULL DEFAULT 'waiting' CHECK (told IN ('waiting', 'delivered', 'cancelled')),
    UNIQUE (partner_id, reference)
);
CREATE INDEX partners_order_partner ON partners_order (partner_id, order_id);
CREATE INDEX partners_order_to_tell ON partners_order (order_id) WHERE callback_url <> '' AND told = 'waiting';
-- Price and stock of a SKU as partners were last told of them.
CREATE TABLE partners_stand (
    sku_id  bigint PRIMARY KEY REFERENCES catalog_sku ON DELETE CASCADE,
    stand   text NOT NULL
);
"""

forwards = ddl_migration("partners", ID, DESCRIPTION, SQL)
