from core.db import ddl_migration

ID = "2026-11-23T01:38:21:000000"
VERSION = "1.38.0"
DESCRIPTION = "what the shelf knows of a product's SKUs, kept by the database"

SQL = """
-- One row for each product with a listed SKU: finding among thousands must not add up every SKU each time.
CREATE TABLE catalog_shelf (
    product_id bigint PRIMARY KEY REFERENCES catalog_product ON DELETE CASCADE,
    least      bigint NOT NULL,
    most       bigint NOT NULL,
    currency   char(3) NOT NULL,
    low        integer NOT NULL,
    kinds      text[] NOT NULL,
    found_by   text NOT NULL
);
CREATE INDEX catalog_product_shelf ON catalog_product (shop_id, position, id) WHERE state = 'listed';

-- A membership has a period; a top-up asks for an account; what is left is a code.
CREATE VIEW catalog_shelf_now AS
SELECT product_id, min(price) AS least, max(price) AS most, min(currency) AS currency, max(low_stock) AS low,
       array_agg(DISTINCT CASE WHEN period <> 'none' THEN 'membership' WHEN account_fields <> '[]' THEN 'topup'
                          ELSE 'code' END) AS kinds,
       string_agg(code || ' ' || jsonb_path_query_array(title, '$.*')::text, ' ' ORDER BY id) AS found_by
FROM catalog_sku WHERE listed GROUP BY product_id;

CREATE FUNCTION catalog_shelve() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    wanted bigint := CASE WHEN TG_OP = 'DELETE' THEN OLD.product_id ELSE NEW.product_id END;
BEGIN
    -- Two who change SKUs of one product come one after the other; a product that is being deleted has no row.
    PERFORM FROM catalog_product WHERE id = wanted FOR NO KEY UPDATE;
    IF FOUND THEN
        DELETE FROM catalog_shelf WHERE product_id = wanted;
        INSERT INTO catalog_shelf SELECT * FROM catalog_shelf_now WHERE product_id = wanted;
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER catalog_sku_shelved
    AFTER INSERT OR DELETE OR UPDATE OF code, title, price, currency, period, low_stock, listed, account_fields
    ON catalog_sku FOR EACH ROW EXECUTE FUNCTION catalog_shelve();

INSERT INTO catalog_shelf SELECT * FROM catalog_shelf_now;
"""

forwards = ddl_migration("catalog", ID, DESCRIPTION, SQL)
