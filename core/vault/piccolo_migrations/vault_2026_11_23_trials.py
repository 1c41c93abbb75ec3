from core.db import ddl_migration

ID = "2026-11-23T01:10:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "codes of test orders may be taken out"

SQL = """
-- A delivered code stays with its order line, but for that of a test order while those are taken out.
CREATE OR REPLACE FUNCTION vault_code_guard() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF current_setting('vouchsafe.taking_out_trials', true) = 'yes' AND EXISTS (
            SELECT 1 FROM orders_line line JOIN orders_order o ON o.id = line.order_id
            WHERE line.id = OLD.line_id AND o.test) THEN
        RETURN CASE TG_OP WHEN 'DELETE' THEN OLD ELSE NEW END;
    END IF;
    RAISE EXCEPTION 'code % was delivered: it stays with its order line', OLD.id USING ERRCODE = 'check_violation';
END $$;
"""

forwards = ddl_migration("vault", ID, DESCRIPTION, SQL)
