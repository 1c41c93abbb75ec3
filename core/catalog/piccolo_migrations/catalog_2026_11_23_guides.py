from core.db import ddl_migration

ID = "2026-11-23T01:12:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "how to redeem what was bought, for each device"

SQL = """
-- texts: {device: {locale: Markdown}}. A SKU without a guide of its own has that of its product.
CREATE TABLE catalog_guide (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    shop_id     bigint NOT NULL REFERENCES shops_shop,
    name        text NOT NULL CHECK (length(name) BETWEEN 1 AND 100),
    texts       jsonb NOT NULL DEFAULT '{}',
    link        text NOT NULL DEFAULT '' CHECK (link = '' OR link ~ '^https?://'),
    version     integer NOT NULL DEFAULT 1,
    created_at  timestamptz NOT NULL DEFAULT now(),
    updated_at  timestamptz NOT NULL DEFAULT now()
);
CREATE UNIQUE INDEX catalog_guide_name ON catalog_guide (shop_id, lower(name));
CREATE TABLE catalog_guide_picture (
    guide_id  bigint NOT NULL REFERENCES catalog_guide ON DELETE CASCADE,
    media_id  bigint NOT NULL REFERENCES catalog_media ON DELETE CASCADE,
    PRIMARY KEY (guide_id, media_id)
);
ALTER TABLE catalog_product ADD COLUMN guide_id bigint REFERENCES catalog_guide;
ALTER TABLE catalog_sku ADD COLUMN guide_id bigint REFERENCES catalog_guide;
CREATE INDEX catalog_product_guide ON catalog_product (guide_id) WHERE guide_id IS NOT NULL;
CREATE INDEX catalog_sku_guide ON catalog_sku (guide_id) WHERE guide_id IS NOT NULL;
"""

forwards = ddl_migration("catalog", ID, DESCRIPTION, SQL)
