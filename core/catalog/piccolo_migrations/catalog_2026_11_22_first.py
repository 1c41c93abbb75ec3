from core.db import ddl_migration

ID = "2026-11-22T15:00:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "first tables of catalog"

SQL = """
CREATE TABLE catalog_media (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    shop_id      bigint NOT NULL REFERENCES shops_shop,
    sha256       text NOT NULL,
    content_type text NOT NULL
        CHECK (content_type IN ('image/png', 'image/jpeg', 'image/webp', 'image/avif', 'image/gif')),
    width        integer NOT NULL,
    height       integer NOT NULL,
    body         bytea NOT NULL CHECK (length(body) <= 5242880),
    created_at   timestamptz NOT NULL DEFAULT now(),
    UNIQUE (shop_id, sha256)
);
CREATE TABLE catalog_category (
    id        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    shop_id   bigint NOT NULL REFERENCES shops_shop,
    slug      text NOT NULL CHECK (slug ~ '^[a-z0-9][a-z0-9-]{0,79}$'),
    title     jsonb NOT NULL,
    position  integer NOT NULL DEFAULT 0,
    visible   boolean NOT NULL DEFAULT true,
    demo      boolean NOT NULL DEFAULT false,
    UNIQUE (shop_id, slug)
);
CREATE TABLE catalog_product (
    id             bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    shop_id        bigint NOT NULL REFERENCES shops_shop,
    category_id    bigint REFERENCES catalog_category ON DELETE SET NULL,
    slug           text NOT NULL CHECK (slug ~ '^[a-z0-9][a-z0-9-]{0,79}$'),
    title          jsonb NOT NULL,
    summary        jsonb NOT NULL DEFAULT '{}',
    description    jsonb NOT NULL DEFAULT '{}',
    delivery_note  jsonb NOT NULL DEFAULT '{}',
    buyer_fields   jsonb NOT NULL DEFAULT '[]',
    image_id       bigint REFERENCES catalog_media ON DELETE SET NULL,
    state          text NOT NULL DEFAULT 'draft' CHECK (state IN ('draft', 'listed', 'archived')),
    position       integer NOT NULL DEFAULT 0,
    version        integer NOT NULL DEFAULT 1,
    demo           boolean NOT NULL DEFAULT false,
    created_at     timestamptz NOT NULL DEFAULT now(),
    updated_at     timestamptz NOT NULL DEFAULT now(),
    UNIQUE (shop_id, slug)
);
CREATE INDEX catalog_product_category ON catalog_product (category_id);
CREATE TABLE catalog_sku (
    id             bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    shop_id        bigint NOT NULL REFERENCES shops_shop,
    product_id     bigint NOT NULL REFERENCES catalog_product ON DELETE CASCADE,
    code           text NOT NULL CHECK (code ~ '^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$'),
    title          jsonb NOT NULL,
    price          bigint NOT NULL CHECK (price >= 0),
    currency       char(3) NOT NULL,
    face_value     bigint CHECK (face_value >= 0),
    period         text NOT NULL DEFAULT 'none'
        CHECK (period IN ('none', 'day', 'week', 'month', 'season', 'year', 'lifetime')),
    min_per_order  integer NOT NULL DEFAULT 1 CHECK (min_per_order BETWEEN 1 AND 1000),
    max_per_order  integer NOT NULL DEFAULT 10 CHECK (max_per_order BETWEEN 1 AND 1000),
    max_per_buyer  integer CHECK (max_per_buyer >= 1),
    low_stock      integer NOT NULL DEFAULT 5 CHECK (low_stock >= 0),
    listed         boolean NOT NULL DEFAULT true,
    position       integer NOT NULL DEFAULT 0,
    version        integer NOT NULL DEFAULT 1,
    demo           boolean NOT NULL DEFAULT false,
    created_at     timestamptz NOT NULL DEFAULT now(),
    UNIQUE (shop_id, code),
    CHECK (max_per_order >= min_per_order)
);
CREATE INDEX catalog_sku_product ON catalog_sku (product_id);
"""

forwards = ddl_migration("catalog", ID, DESCRIPTION, SQL)
