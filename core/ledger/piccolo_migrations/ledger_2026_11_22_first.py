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
    UNIQUE (shop_id, code, currency)
);
CREATE TABLE ledger_entry (
    id        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    shop_id   bigint NOT NULL REFERENCES shops_shop,
    kind      text NOT NULL,
    source    text NOT NULL UNIQUE,
    order_id  bigint,
    at        timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX ledger_entry_order ON ledger_entry (order_id);
CREATE TABLE ledger_posting (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    entry_id    bigint NOT NULL REFERENCES ledger_entry,
    account_id  bigint NOT NULL REFERENCES ledger_account,
    amount      bigint NOT NULL CHECK (amount <> 0),
    currency    char(3) NOT NULL
);
CREATE INDEX ledger_posting_entry ON ledger_posting (entry_id);
CREATE INDEX ledger_posting_account ON ledger_posting (account_id);
-- All postings of an entry come in one statement and sum to zero in each currency.
CREATE FUNCTION ledger_zero_sum() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE bad bigint;
BEGIN
    SELECT entry_id INTO bad FROM added GROUP BY entry_id, currency HAVING sum(amount) <> 0 LIMIT 1;
    IF bad IS NOT NULL THEN
        RAISE EXCEPTION 'ledger entry % does not sum to zero', bad USING ERRCODE = 'check_violation';
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER ledger_posting_zero_sum AFTER INSERT ON ledger_posting
    REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION ledger_zero_sum();
CREATE FUNCTION ledger_immutable() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'posted rows are never changed: post a correcting entry' USING ERRCODE = 'check_violation';
END $$;
CREATE TRIGGER ledger_posting_immutable BEFORE UPDATE OR DELETE ON ledger_posting
    FOR EACH ROW EXECUTE FUNCTION ledger_immutable();
CREATE TRIGGER ledger_entry_immutable BEFORE UPDATE OR DELETE ON ledger_entry
    FOR EACH ROW EXECUTE FUNCTION ledger_immutable();
"""

forwards = ddl_migration("ledger", ID, DESCRIPTION, SQL)
