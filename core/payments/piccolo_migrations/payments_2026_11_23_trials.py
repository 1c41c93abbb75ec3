from core.db import ddl_migration

ID = "2026-11-23T01:10:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "refunds of test orders may be taken out"

SQL = """
-- As before, but for the refunds of test orders while those are taken out.
CREATE FUNCTION payments_refund_of_trial() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF current_setting('vouchsafe.taking_out_trials', true) = 'yes'
            AND EXISTS (SELECT 1 FROM orders_order WHERE id = OLD.order_id AND test) THEN
        RETURN OLD;
    END IF;
    RAISE EXCEPTION 'a refund is neither rewritten nor taken out' USING ERRCODE = 'check_violation';
END $$;
DROP TRIGGER payments_refund_guarded ON payments_refund;
CREATE TRIGGER payments_refund_guarded BEFORE INSERT OR UPDATE ON payments_refund
    FOR EACH ROW EXECUTE FUNCTION payments_refund_guard();
CREATE TRIGGER payments_refund_kept BEFORE DELETE ON payments_refund
    FOR EACH ROW EXECUTE FUNCTION payments_refund_of_trial();
"""

forwards = ddl_migration("payments", ID, DESCRIPTION, SQL)
