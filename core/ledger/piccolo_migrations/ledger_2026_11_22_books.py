from core.db import ddl_migration

ID = "2026-11-22T18:45:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "balances of buyers, fees of payment methods, how far the books are kept"

SQL = """
CREATE TRIGGER ledger_entry_kept BEFORE TRUNCATE ON ledger_entry
    FOR EACH STATEMENT EXECUTE FUNCTION ledger_immutable();
-- The history of a buyer's balance; the entries of ordinary sales stay out of these.
CREATE INDEX ledger_entry_from_balance ON ledger_entry (debit_id) WHERE starts_with(kind, 'balance_');
CREATE INDEX ledger_entry_to_balance ON ledger_entry (credit_id) WHERE starts_with(kind, 'balance_');
-- What a buyer keeps with the shop. The row changes with its entry in one statement and never goes below zero.
CREATE TABLE ledger_balance (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    shop_id     bigint NOT NULL REFERENCES shops_shop,
    contact     text NOT NULL CHECK (length(contact) <= 254),
    currency    char(3) NOT NULL,
    account_id  bigint NOT NULL UNIQUE,
    amount      bigint NOT NULL DEFAULT 0 CONSTRAINT ledger_balance_not_negative CHECK (amount >= 0),
    created_at  timestamptz NOT NULL DEFAULT now(),
    changed_at  timestamptz NOT NULL DEFAULT now(),
    UNIQUE (shop_id, contact, currency),
    FOREIGN KEY (account_id, currency) REFERENCES ledger_account (id, currency)
) WITH (fillfactor = 85);
-- Why staff changed a balance.
CREATE TABLE ledger_note (
    entry_id  bigint PRIMARY KEY REFERENCES ledger_entry,
    staff_id  bigint NOT NULL REFERENCES people_staff,
    reason    text NOT NULL CHECK (length(reason) BETWEEN 1 AND 300)
);
-- percent counts hundredths of a percent: 60 is 0.60 %.
CREATE TABLE ledger_fee (
    shop_id   bigint NOT NULL REFERENCES shops_shop,
    method    text NOT NULL,
    currency  char(3) NOT NULL,
    percent   integer NOT NULL DEFAULT 0 CHECK (percent BETWEEN 0 AND 10000),
    fixed     bigint NOT NULL DEFAULT 0 CHECK (fixed BETWEEN 0 AND 1000000000000),
    PRIMARY KEY (shop_id, method, currency)
);
-- Up to when the job has looked at sales and payments.
CREATE TABLE ledger_kept (
    one    boolean PRIMARY KEY DEFAULT true CHECK (one),
    until  timestamptz NOT NULL DEFAULT '2000-01-01T00:00:00Z'
);
INSERT INTO ledger_kept DEFAULT VALUES;
"""

forwards = ddl_migration("ledger", ID, DESCRIPTION, SQL)
