from core.db import ddl_migration

ID = "2026-11-23T02:00:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "first tables of site"

SQL = """
CREATE TABLE site_look (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    shop_id      bigint NOT NULL REFERENCES shops_shop (id) ON DELETE CASCADE,
    theme        text NOT NULL CHECK (theme ~ '^[a-z][a-z0-9_-]{0,39}$'),
    settings     jsonb NOT NULL DEFAULT '{}',
    edits        integer NOT NULL DEFAULT 1,
    staff_id     bigint,
    created_at   timestamptz NOT NULL DEFAULT now(),
    published_at timestamptz
);
CREATE UNIQUE INDEX site_look_one_draft ON site_look (shop_id) WHERE published_at IS NULL;
CREATE INDEX site_look_published ON site_look (shop_id, id DESC) WHERE published_at IS NOT NULL;

ALTER TABLE shops_shop ADD COLUMN look_id bigint REFERENCES site_look (id) ON DELETE SET NULL;

CREATE TABLE site_page (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    shop_id      bigint NOT NULL REFERENCES shops_shop (id) ON DELETE CASCADE,
    slug         text NOT NULL CHECK (slug ~ '^[a-z0-9][a-z0-9-]{0,59}$'),
    title        jsonb NOT NULL,
    body         jsonb NOT NULL,
    in_footer    boolean NOT NULL DEFAULT true,
    place        integer NOT NULL DEFAULT 0,
    edits        integer NOT NULL DEFAULT 1,
    updated_at   timestamptz NOT NULL DEFAULT now(),
    UNIQUE (shop_id, slug)
);
"""

forwards = ddl_migration("site", ID, DESCRIPTION, SQL)
