from core.db import ddl_migration

ID = "2026-11-22T18:45:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "first tables of redemption"

SQL = """
-- A batch of codes the shop makes itself. Without a face value each code works once; with one it is a value card.
CREATE TABLE redemption_batch (
    batch_id    bigint PRIMARY KEY REFERENCES vault_batch ON DELETE CASCADE,
    shop_id     bigint NOT NULL REFERENCES shops_shop,
    prefix      text NOT NULL DEFAULT '' CHECK (prefix ~ '^[A-Z0-9]{0,8}$'),
    group_size  integer NOT NULL CHECK (group_size IN (4, 5)),
    face_value  bigint CHECK (face_value > 0),
    currency    char(3),
    expires_on  date,
    on_paper    boolean NOT NULL,
    wanted      integer NOT NULL CHECK (wanted BETWEEN 1 AND 1000000),
    made        integer NOT NULL DEFAULT 0 CHECK (made BETWEEN 0 AND wanted),
    job_id      bigint,
    CHECK ((face_value IS NULL) = (currency IS NULL))
);
CREATE INDEX redemption_batch_shop ON redemption_batch (shop_id, batch_id);
-- What a code of ours is still worth: minor units of its batch's currency, or one use.
CREATE TABLE redemption_voucher (
    code_id          bigint PRIMARY KEY REFERENCES vault_code ON DELETE CASCADE,
    shop_id          bigint NOT NULL,
    batch_id         bigint NOT NULL,
    lookup           bytea NOT NULL CHECK (length(lookup) = 32),
    balance          bigint NOT NULL CHECK (balance >= 0),
    first_used_at    timestamptz,
    first_used_place text,
    voided_at        timestamptz,
    void_reason      text CHECK (length(void_reason) BETWEEN 1 AND 300),
    UNIQUE (shop_id, lookup),
    CHECK ((first_used_at IS NULL) = (first_used_place IS NULL)),
    CHECK ((voided_at IS NULL) = (void_reason IS NULL))
) WITH (fillfactor = 90);
CREATE INDEX redemption_voucher_batch ON redemption_voucher USING brin (batch_id)
    WITH (pages_per_range = 32, autosummarize = on);
-- Undoing a batch takes its vouchers along, but never one that was used.
CREATE FUNCTION redemption_voucher_guard() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'code % was redeemed: it stays', OLD.code_id USING ERRCODE = 'foreign_key_violation';
END $$;
CREATE TRIGGER redemption_voucher_kept BEFORE DELETE ON redemption_voucher FOR EACH ROW
    WHEN (OLD.first_used_at IS NOT NULL) EXECUTE FUNCTION redemption_voucher_guard();
-- Every try, good or bad, without the code. A request id is answered once: later tries get the stored answer.
CREATE TABLE redemption_try (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    shop_id     bigint NOT NULL REFERENCES shops_shop,
    act         text NOT NULL CHECK (act IN ('verify', 'redeem', 'void')),
    caller      text NOT NULL,
    request_id  text CHECK (length(request_id) BETWEEN 1 AND 100),
    wish        bytea,
    code_id     bigint,
    outcome     text NOT NULL DEFAULT 'asked',
    amount      bigint CHECK (amount > 0),
    answer      jsonb NOT NULL DEFAULT '{}',
    place       text NOT NULL DEFAULT '',
    ip          inet,
    at          timestamptz NOT NULL,
    UNIQUE (shop_id, caller, request_id),
    CHECK ((act = 'verify') = (request_id IS NULL)),
    CHECK ((request_id IS NULL) = (wish IS NULL))
);
CREATE INDEX redemption_try_shop ON redemption_try (shop_id, id);
CREATE INDEX redemption_try_code ON redemption_try (code_id, id) WHERE code_id IS NOT NULL;
"""

forwards = ddl_migration("redemption", ID, DESCRIPTION, SQL)
