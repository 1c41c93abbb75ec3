from core.db import ddl_migration

ID = "2026-11-22T15:00:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "first tables of review"

SQL = """
CREATE TABLE review_item (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    shop_id      bigint NOT NULL REFERENCES shops_shop,
    kind         text NOT NULL,
    key          text NOT NULL UNIQUE,
    order_id     bigint REFERENCES orders_order,
    attempt_id   bigint REFERENCES payments_attempt,
    reason       text NOT NULL,
    data         jsonb NOT NULL DEFAULT '{}',
    state        text NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'done')),
    resolution   text NOT NULL DEFAULT '',
    resolved_by  bigint REFERENCES people_staff ON DELETE SET NULL,
    created_at   timestamptz NOT NULL DEFAULT now(),
    resolved_at  timestamptz
);
CREATE INDEX review_item_open ON review_item (created_at) WHERE state = 'open';
CREATE INDEX review_item_order ON review_item (order_id);
"""

forwards = ddl_migration("review", ID, DESCRIPTION, SQL)
