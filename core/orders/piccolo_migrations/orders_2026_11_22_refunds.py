from core.db import ddl_migration

ID = "2026-11-22T18:51:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "money that went back"

SQL = """
-- Of all that was paid; what a bank took back by itself is not in it.
ALTER TABLE orders_order ADD COLUMN refunded bigint NOT NULL DEFAULT 0,
    ADD CONSTRAINT orders_order_refunded CHECK (refunded BETWEEN 0 AND paid),
    DROP CONSTRAINT orders_order_payment_state_check,
    ADD CONSTRAINT orders_order_payment_state_check CHECK (payment_state IN
        ('unpaid', 'paid', 'expired', 'cancelled', 'mismatch', 'refunded', 'charged_back'));
"""

forwards = ddl_migration("orders", ID, DESCRIPTION, SQL)
