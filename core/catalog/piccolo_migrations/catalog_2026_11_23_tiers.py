from core.db import ddl_migration

ID = "2026-11-23T00:55:30:000000"
VERSION = "1.38.0"
DESCRIPTION = "prices for larger quantities"

SQL = """
CREATE TABLE catalog_price_tier (
    id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    sku_id        bigint NOT NULL REFERENCES catalog_sku ON DELETE CASCADE,
    from_quantity integer NOT NULL CHECK (from_quantity BETWEEN 2 AND 1000),
    price         bigint NOT NULL CHECK (price > 0),
    UNIQUE (sku_id, from_quantity)
);

-- Whoever takes more pays less for each. Deferred, so that tiers may be written in any order; the SKU is locked so
-- that two who write at once see each other. The SKU's own price may fall below a tier: then the lower one counts.
CREATE FUNCTION catalog_tiers_fall() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM 1 FROM catalog_sku WHERE id = NEW.sku_id FOR NO KEY UPDATE;
    IF EXISTS (SELECT 1 FROM catalog_price_tier one JOIN catalog_price_tier more
               ON more.sku_id = one.sku_id AND more.from_quantity > one.from_quantity AND more.price >= one.price
               WHERE one.sku_id = NEW.sku_id) THEN
        RAISE EXCEPTION USING ERRCODE = 'check_violation', CONSTRAINT = 'catalog_tiers_fall',
            TABLE = 'catalog_price_tier', MESSAGE = 'a price for more pieces must be below the one for fewer';
    END IF;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER catalog_tiers_fall AFTER INSERT OR UPDATE ON catalog_price_tier
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION catalog_tiers_fall();

-- Amounts of one currency are no prices in another.
CREATE FUNCTION catalog_tiers_end() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM catalog_price_tier WHERE sku_id = NEW.id;
    RETURN NULL;
END $$;
CREATE TRIGGER catalog_tiers_end AFTER UPDATE OF currency ON catalog_sku FOR EACH ROW
    WHEN (OLD.currency <> NEW.currency AND NOT NEW.demo) EXECUTE FUNCTION catalog_tiers_end();
"""

forwards = ddl_migration("catalog", ID, DESCRIPTION, SQL)
