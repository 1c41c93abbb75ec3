from core.db import ddl_migration

ID = "2026-11-22T18:52:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "refunds and chargebacks"

SQL = """
-- Of a payment that came: what is given back or about to be, and what the payer's bank took.
ALTER TABLE payments_event ADD COLUMN refunds bigint NOT NULL DEFAULT 0,
    ADD COLUMN charged_back bigint NOT NULL DEFAULT 0 CHECK (charged_back >= 0),
    ADD CONSTRAINT payments_event_refunds CHECK (refunds BETWEEN 0 AND amount);
-- questions are those of review that are closed by it, and asked again when it comes to nothing.
CREATE TABLE payments_refund (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    shop_id      bigint NOT NULL REFERENCES shops_shop,
    ref          text NOT NULL UNIQUE,
    order_id     bigint NOT NULL REFERENCES orders_order,
    payment_id   bigint NOT NULL REFERENCES payments_event,
    amount       bigint NOT NULL CHECK (amount > 0),
    currency     char(3) NOT NULL,
    way          text NOT NULL CHECK (way IN ('source', 'balance', 'hand')),
    take_codes   boolean NOT NULL DEFAULT false,
    questions    bigint[] NOT NULL DEFAULT '{}',
    note         text NOT NULL DEFAULT '' CHECK (length(note) <= 300),
    state        text NOT NULL
        CHECK (state IN ('asked', 'approved', 'sent', 'unknown', 'done', 'failed', 'declined')),
    two_persons  boolean NOT NULL,
    asked_by     bigint NOT NULL REFERENCES people_staff,
    approved_by  bigint REFERENCES people_staff,
    gateway_ref  text,
    error        text NOT NULL DEFAULT '',
    asked_at     timestamptz NOT NULL DEFAULT now(),
    sent_at      timestamptz,
    queries      integer NOT NULL DEFAULT 0,
    ended_at     timestamptz,
    CONSTRAINT payments_refund_other_person CHECK (approved_by <> asked_by),
    CONSTRAINT payments_refund_two_persons
        CHECK (NOT two_persons OR approved_by IS NOT NULL OR state IN ('asked', 'declined')),
    CHECK (way = 'source' OR state NOT IN ('sent', 'unknown')),
    CHECK ((state IN ('done', 'failed', 'declined')) = (ended_at IS NOT NULL))
);
CREATE INDEX payments_refund_order ON payments_refund (order_id);
CREATE INDEX payments_refund_open ON payments_refund (asked_at) WHERE ended_at IS NULL;
-- Refunds never sum to more than came, whoever writes them, and one that has ended stays as it ended.
CREATE FUNCTION payments_refund_guard() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    change bigint := 0;
BEGIN
    IF TG_OP = 'INSERT' THEN
        change := NEW.amount;
    ELSIF TG_OP = 'DELETE' OR OLD.ended_at IS NOT NULL OR (NEW.payment_id, NEW.amount, NEW.currency, NEW.ref, NEW.way,
            NEW.asked_by, NEW.two_persons) IS DISTINCT FROM (OLD.payment_id, OLD.amount, OLD.currency, OLD.ref,
            OLD.way, OLD.asked_by, OLD.two_persons) THEN
        RAISE EXCEPTION 'a refund is neither rewritten nor taken out' USING ERRCODE = 'check_violation';
    ELSIF NEW.state IN ('failed', 'declined') THEN
        change := -NEW.amount;
    END IF;
    IF change <> 0 THEN
        UPDATE payments_event SET refunds = refunds + change
        WHERE id = NEW.payment_id AND order_id = NEW.order_id AND currency = NEW.currency AND state = 'paid'
          AND (change < 0 OR refunds + change <= amount - charged_back);
        IF NOT FOUND THEN
            RAISE EXCEPTION 'more is given back than came'
                USING ERRCODE = 'check_violation', CONSTRAINT = 'payments_refund_fits';
        END IF;
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER payments_refund_guarded BEFORE INSERT OR UPDATE OR DELETE ON payments_refund
    FOR EACH ROW EXECUTE FUNCTION payments_refund_guard();
"""

forwards = ddl_migration("payments", ID, DESCRIPTION, SQL)
