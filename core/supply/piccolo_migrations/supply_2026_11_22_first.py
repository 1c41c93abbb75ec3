from core.db import ddl_migration

ID = "2026-11-22T21:33:17:000000"
VERSION = "1.38.0"
DESCRIPTION = "first tables of supply"

SQL = """
-- One row for each supplier that was ever seen; key and title are what its plugin delivers.
CREATE TABLE supply_supplier (
    key            text PRIMARY KEY CHECK (key ~ '^[a-z0-9][a-z0-9_.-]{0,63}$'),
    title          jsonb NOT NULL DEFAULT '{}',
    -- What one unit of a supplier's currency is worth in the shop's, where the two differ.
    rates          jsonb NOT NULL DEFAULT '{}',
    balance        bigint,
    currency       char(3),
    balance_at     timestamptz,
    low_balance    bigint CHECK (low_balance >= 0),
    low_told       boolean NOT NULL DEFAULT false,
    catalogue_at   timestamptz,
    synced_at      timestamptz,
    next_sync_at   timestamptz,
    sync_error     text NOT NULL DEFAULT '',
    failures       integer NOT NULL DEFAULT 0
);
CREATE TABLE supply_offer (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    supplier    text NOT NULL REFERENCES supply_supplier,
    item        text NOT NULL CHECK (length(item) BETWEEN 1 AND 100),
    title       text NOT NULL,
    category    text NOT NULL DEFAULT '',
    description text NOT NULL DEFAULT '',
    image_url   text NOT NULL DEFAULT '',
    delivers    text NOT NULL CHECK (delivers IN ('codes', 'top_up')),
    cost        bigint NOT NULL CHECK (cost >= 0),
    currency    char(3) NOT NULL,
    stock       integer CHECK (stock >= 0),
    listed      boolean NOT NULL,
    face_value  bigint,
    face_currency char(3),
    least       integer NOT NULL DEFAULT 1 CHECK (least >= 1),
    most        integer CHECK (most >= least),
    fields      jsonb NOT NULL DEFAULT '[]',
    gone        boolean NOT NULL DEFAULT false,
    seen_at     timestamptz NOT NULL,
    changed_at  timestamptz NOT NULL,
    UNIQUE (supplier, item)
);
-- How a SKU that is not sold from the vault is priced and guarded. Amounts are in the SKU's currency.
CREATE TABLE supply_sku (
    sku_id          bigint PRIMARY KEY REFERENCES catalog_sku ON DELETE CASCADE,
    routing         text NOT NULL DEFAULT 'cheapest' CHECK (routing IN ('cheapest', 'order')),
    price_follows   boolean NOT NULL DEFAULT false,
    markup          integer NOT NULL DEFAULT 0 CHECK (markup BETWEEN -10000 AND 1000000),
    fixed           bigint NOT NULL DEFAULT 0,
    round_to        bigint NOT NULL DEFAULT 1 CHECK (round_to >= 1),
    least_margin    bigint NOT NULL DEFAULT 0 CHECK (least_margin >= 0),
    below_margin    text NOT NULL DEFAULT 'delist' CHECK (below_margin IN ('delist', 'alarm')),
    jump            integer CHECK (jump BETWEEN 1 AND 100000),
    cost            bigint,
    accepted_cost   bigint,
    paused          text NOT NULL DEFAULT '' CHECK (paused IN ('', 'cost_jump', 'hand')),
    sells_below     boolean NOT NULL DEFAULT false
);
CREATE TABLE supply_link (
    sku_id    bigint NOT NULL REFERENCES catalog_sku ON DELETE CASCADE,
    offer_id  bigint NOT NULL REFERENCES supply_offer,
    position  integer NOT NULL DEFAULT 0,
    PRIMARY KEY (sku_id, offer_id)
);
CREATE INDEX supply_link_offer ON supply_link (offer_id);
CREATE TABLE supply_purchase (
    id             bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    shop_id        bigint NOT NULL REFERENCES shops_shop,
    order_id       bigint NOT NULL REFERENCES orders_order,
    line_id        bigint NOT NULL REFERENCES orders_line,
    offer_id       bigint NOT NULL REFERENCES supply_offer,
    supplier       text NOT NULL REFERENCES supply_supplier,
    ref            text NOT NULL UNIQUE CHECK (ref ~ '^[A-Za-z0-9-]{1,32}$'),
    quantity       integer NOT NULL CHECK (quantity BETWEEN 1 AND 1000),
    price_cap      bigint NOT NULL CHECK (price_cap >= 0),
    currency       char(3) NOT NULL,
    state          text NOT NULL DEFAULT 'created'
        CHECK (state IN ('created', 'sent', 'waiting', 'unknown', 'done', 'failed')),
    failure        text NOT NULL DEFAULT '',
    supplier_ref   text NOT NULL DEFAULT '',
    got            integer NOT NULL DEFAULT 0,
    cost           bigint,
    cost_currency  char(3),
    error          text NOT NULL DEFAULT '',
    queries        integer NOT NULL DEFAULT 0,
    next_query_at  timestamptz,
    created_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    sent_at        timestamptz,
    ended_at       timestamptz,
    CHECK ((state IN ('done', 'failed')) = (ended_at IS NOT NULL))
);
-- While one purchase of a line may still become a sale, there is no second one.
CREATE UNIQUE INDEX supply_purchase_live ON supply_purchase (line_id)
    WHERE state IN ('created', 'sent', 'waiting', 'unknown');
CREATE INDEX supply_purchase_line ON supply_purchase (line_id);
CREATE INDEX supply_purchase_order ON supply_purchase (order_id);
CREATE INDEX supply_purchase_offer ON supply_purchase (offer_id);
CREATE INDEX supply_purchase_query ON supply_purchase (next_query_at)
    WHERE state IN ('sent', 'waiting', 'unknown');
CREATE INDEX supply_purchase_created ON supply_purchase (created_at) WHERE state = 'created';
-- What suppliers answered and called, as it came, sealed. An answer is never changed.
CREATE TABLE supply_answer (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    supplier     text NOT NULL REFERENCES supply_supplier,
    purchase_id  bigint REFERENCES supply_purchase,
    ref          text NOT NULL,
    came_by      text NOT NULL CHECK (came_by IN ('purchase', 'query', 'callback', 'staff')),
    size         integer NOT NULL,
    blob         bytea NOT NULL,
    at           timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX supply_answer_purchase ON supply_answer (purchase_id);
CREATE TABLE supply_event (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    purchase_id  bigint NOT NULL REFERENCES supply_purchase,
    kind         text NOT NULL,
    actor        text NOT NULL,
    data         jsonb NOT NULL DEFAULT '{}',
    at           timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX supply_event_purchase ON supply_event (purchase_id);
"""

forwards = ddl_migration("supply", ID, DESCRIPTION, SQL)
