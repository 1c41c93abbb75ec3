from core.db import ddl_migration

ID = "2026-11-22T15:00:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "first tables of ledger"

SQL = """
CREATE TABLE ledger_account (
    id        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    shop_id   bigint NOT NULL REFERENCES shops_shop,
    code      text NOT NULL,
    currency  char(3) NOT NULL,
    UNIQUE (shop_id, code, currency),
    UNIQUE (id, currency)
);
-- An entry moves one amount from one account to another: it sums to zero by its shape, in one currency.
CREATE TABLE ledger_entry (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind       text NOT NULL,
    source     text NOT NULL UNIQUE,
    order_id   bigint,
    debit_id   bigint NOT NULL,
    credit_id  bigint NOT NULL CHECK (credit_id <> debit_id),
    amount     bigint NOT NULL CHECK (amount > 0),
    currency   char(3) NOT NULL,
    at         timestamptz NOT NULL DEFAULT now(),
    FOREIGN KEY (debit_id, currency) REFERENCES ledger_account (id, currency),
    FOREIGN KEY (credit_id, currency) REFERENCES ledger_account (id, currency)
);
CREATE INDEX ledger_entry_order ON ledger_entry (order_id);
-- Rows come in the order of time; an index of a few pages finds a period.
CREATE INDEX ledger_entry_at ON ledger_entry USING brin (at);
CREATE VIEW ledger_posting AS
    SELECT id AS entry_id, debit_id AS account_id, amount, currency, at FROM ledger_entry
    UNION ALL
    SELECT id, credit_id, -amount, currency, at FROM ledger_entry;
CREATE FUNCTION ledger_immutable() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'posted rows are never changed: post a correcting entry' USING ERRCODE = 'check_violation';
END $$;
CREATE TRIGGER ledger_entry_immutable BEFORE UPDATE OR DELETE ON ledger_entry
    FOR EACH ROW EXECUTE FUNCTION ledger_immutable();
"""

forwards = ddl_migration("ledger", ID, DESCRIPTION, SQL)
