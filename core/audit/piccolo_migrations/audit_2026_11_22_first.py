from core.db import ddl_migration

ID = "2026-11-22T15:00:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "first tables of audit"

SQL = """
CREATE TABLE audit_entry (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    shop_id     bigint REFERENCES shops_shop,
    at          timestamptz NOT NULL DEFAULT now(),
    actor       text NOT NULL,
    act         text NOT NULL,
    object      text NOT NULL,
    detail      jsonb NOT NULL DEFAULT '{}',
    ip          inet,
    request_id  text
);
CREATE INDEX audit_entry_object ON audit_entry (object);
CREATE FUNCTION audit_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the audit log is append only' USING ERRCODE = 'check_violation';
END $$;
CREATE TRIGGER audit_entry_append_only BEFORE UPDATE OR DELETE ON audit_entry
    FOR EACH ROW EXECUTE FUNCTION audit_append_only();
CREATE TABLE audit_alarm (
    id       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    shop_id  bigint REFERENCES shops_shop,
    at       timestamptz NOT NULL DEFAULT now(),
    kind     text NOT NULL,
    subject  text NOT NULL,
    reason   text NOT NULL,
    detail   jsonb NOT NULL DEFAULT '{}',
    ip       inet,
    seen_at  timestamptz,
    seen_by  bigint REFERENCES people_staff ON DELETE SET NULL
);
CREATE INDEX audit_alarm_unseen ON audit_alarm (at) WHERE seen_at IS NULL;
"""

forwards = ddl_migration("audit", ID, DESCRIPTION, SQL)
