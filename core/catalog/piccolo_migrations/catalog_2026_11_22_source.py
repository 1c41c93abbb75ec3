from core.db import ddl_migration

ID = "2026-11-22T21:33:17:000000"
VERSION = "1.38.0"
DESCRIPTION = "where the goods of a SKU come from"

SQL = """
-- codes: from the vault, claimed when the order is placed. supplier: bought after it is paid. hand: a person delivers.
-- available: how many can be sold that are not in the vault, kept by core.supply; NULL when nobody counts them.
-- account_fields: what a top-up must know of the buyer, as buyer fields of the SKU.
ALTER TABLE catalog_sku
    ADD COLUMN source text NOT NULL DEFAULT 'codes' CHECK (source IN ('codes', 'supplier', 'hand')),
    ADD COLUMN own_first boolean NOT NULL DEFAULT false,
    ADD COLUMN available integer CHECK (available >= 0),
    ADD COLUMN account_fields jsonb NOT NULL DEFAULT '[]';
"""

forwards = ddl_migration("catalog", ID, DESCRIPTION, SQL)
