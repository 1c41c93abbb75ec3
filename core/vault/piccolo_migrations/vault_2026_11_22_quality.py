from core.db import ddl_migration

ID = "2026-11-22T18:50:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "codes set aside, replaced, reported; SKUs that run low"

SQL = """
-- Why codes were set aside. Those of a hold are quarantined, or reserved and will be when they come back; when the
-- hold is decided they are free again or void.
CREATE TABLE vault_hold (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    shop_id     bigint NOT NULL REFERENCES shops_shop,
    batch_id    bigint REFERENCES vault_batch ON DELETE CASCADE,
    reason      text NOT NULL CHECK (length(reason) BETWEEN 1 AND 300),
    held_by     bigint REFERENCES people_staff ON DELETE SET NULL,
    held_at     timestamptz NOT NULL
);
CREATE INDEX vault_hold_shop ON vault_hold (shop_id, id);
-- reported_at: the buyer said that it does not work. replaced_by: the code that was given for it, which is never
-- given for another and never taken back.
ALTER TABLE vault_code
    ADD COLUMN hold_id     bigint REFERENCES vault_hold,
    ADD COLUMN reported_at timestamptz,
    ADD COLUMN replaced_by bigint,
    ADD CONSTRAINT vault_code_replaced
        CHECK (replaced_by IS NULL OR state = 'delivered' AND replaced_by <> id);
CREATE INDEX vault_code_quarantined ON vault_code (sku_id, id) WHERE state = 'quarantined';
CREATE INDEX vault_code_hold ON vault_code (hold_id) WHERE hold_id IS NOT NULL;
CREATE UNIQUE INDEX vault_code_replacement ON vault_code (replaced_by) WHERE replaced_by IS NOT NULL;
CREATE TRIGGER vault_code_replaced_once BEFORE UPDATE OF replaced_by ON vault_code FOR EACH ROW
    WHEN (OLD.replaced_by IS NOT NULL AND NEW.replaced_by IS DISTINCT FROM OLD.replaced_by)
    EXECUTE FUNCTION vault_code_guard();
-- SKUs the merchant has been told about; a row goes when the SKU is refilled.
CREATE TABLE vault_low_stock (
    sku_id   bigint PRIMARY KEY REFERENCES catalog_sku ON DELETE CASCADE,
    told_at  timestamptz NOT NULL
);
"""

forwards = ddl_migration("vault", ID, DESCRIPTION, SQL)
