from core.db import ddl_migration

ID = "2026-11-23T01:10:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "what a visitor has put into the cart"

SQL = """
-- A wish, no claim: nothing is reserved before an order is placed. Lines sit in numbered places, so that a cart can
-- hold no more than there are places for, however many requests come at once.
CREATE TABLE checkout_cart_line (
    session_hash bytea NOT NULL REFERENCES people_session ON DELETE CASCADE,
    shop_id      bigint NOT NULL REFERENCES shops_shop,
    place        smallint NOT NULL CHECK (place BETWEEN 1 AND 20),
    sku_id       bigint NOT NULL REFERENCES catalog_sku ON DELETE CASCADE,
    quantity     integer NOT NULL CHECK (quantity BETWEEN 1 AND 1000),
    added_at     timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (session_hash, sku_id),
    CONSTRAINT checkout_cart_line_place UNIQUE (session_hash, shop_id, place)
);
CREATE INDEX checkout_cart_line_sku ON checkout_cart_line (sku_id);
"""

forwards = ddl_migration("checkout", ID, DESCRIPTION, SQL)
