from core.db import ddl_migration

ID = "2026-11-23T00:55:11:000000"
VERSION = "1.38.0"
DESCRIPTION = "tags, words for search engines, and what a search looks through"

SQL = """
-- found_by: every word a product can be found by, but those of its SKUs and its category.
ALTER TABLE catalog_product
    ADD COLUMN tags jsonb NOT NULL DEFAULT '[]' CHECK (jsonb_typeof(tags) = 'array'),
    ADD COLUMN seo_title jsonb NOT NULL DEFAULT '{}',
    ADD COLUMN seo_description jsonb NOT NULL DEFAULT '{}',
    ADD COLUMN found_by text GENERATED ALWAYS AS (
        jsonb_path_query_array(title, '$.*')::text || jsonb_path_query_array(summary, '$.*')::text || tags::text
    ) STORED;
"""

forwards = ddl_migration("catalog", ID, DESCRIPTION, SQL)
