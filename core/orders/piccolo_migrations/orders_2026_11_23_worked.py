from core.db import ddl_migration

ID = "2026-11-23T01:13:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "whether what was bought worked for its buyer"

SQL = """
-- The first answer for a line stands. guide_id is the guide that was read, if there was one.
CREATE TABLE orders_worked (
    line_id     bigint PRIMARY KEY REFERENCES orders_line,
    product_id  bigint NOT NULL,
    guide_id    bigint REFERENCES catalog_guide ON DELETE SET NULL,
    worked      boolean NOT NULL,
    device      text NOT NULL CHECK (device IN ('ios', 'android', 'pc', 'tv', 'any')),
    at          timestamptz NOT NULL
);
CREATE INDEX orders_worked_product ON orders_worked (product_id, at);
CREATE INDEX orders_worked_guide ON orders_worked (guide_id) WHERE guide_id IS NOT NULL;
"""

forwards = ddl_migration("orders", ID, DESCRIPTION, SQL)
