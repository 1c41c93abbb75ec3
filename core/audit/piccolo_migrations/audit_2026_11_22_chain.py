from core.db import ddl_migration

ID = "2026-11-22T19:25:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "the audit log as a chain of hashes with signed checkpoints"

SQL = """
-- A place in the chain for each entry, given after its transaction. row_hash is over the entry; hash over the place,
-- the hash before and row_hash.
CREATE TABLE audit_link (
    position  bigint PRIMARY KEY CHECK (position > 0),
    entry_id  bigint NOT NULL UNIQUE REFERENCES audit_entry,
    row_hash  bytea NOT NULL CHECK (length(row_hash) = 32),
    hash      bytea NOT NULL CHECK (length(hash) = 32)
);
CREATE TABLE audit_checkpoint (
    position    bigint PRIMARY KEY,
    hash        bytea NOT NULL CHECK (length(hash) = 32),
    at          timestamptz NOT NULL,
    public_key  bytea NOT NULL CHECK (length(public_key) = 32),
    signature   bytea NOT NULL CHECK (length(signature) = 64)
);
CREATE TRIGGER audit_link_append_only BEFORE UPDATE OR DELETE ON audit_link
    FOR EACH ROW EXECUTE FUNCTION audit_append_only();
CREATE TRIGGER audit_checkpoint_append_only BEFORE UPDATE OR DELETE ON audit_checkpoint
    FOR EACH ROW EXECUTE FUNCTION audit_append_only();
CREATE TRIGGER audit_entry_not_emptied BEFORE TRUNCATE ON audit_entry
    FOR EACH STATEMENT EXECUTE FUNCTION audit_append_only();
CREATE TRIGGER audit_link_not_emptied BEFORE TRUNCATE ON audit_link
    FOR EACH STATEMENT EXECUTE FUNCTION audit_append_only();
CREATE TRIGGER audit_checkpoint_not_emptied BEFORE TRUNCATE ON audit_checkpoint
    FOR EACH STATEMENT EXECUTE FUNCTION audit_append_only();
-- ALWAYS: also in a session that plays the replica.
ALTER TABLE audit_entry ENABLE ALWAYS TRIGGER audit_entry_append_only;
ALTER TABLE audit_entry ENABLE ALWAYS TRIGGER audit_entry_not_emptied;
ALTER TABLE audit_link ENABLE ALWAYS TRIGGER audit_link_append_only;
ALTER TABLE audit_link ENABLE ALWAYS TRIGGER audit_link_not_emptied;
ALTER TABLE audit_checkpoint ENABLE ALWAYS TRIGGER audit_checkpoint_append_only;
ALTER TABLE audit_checkpoint ENABLE ALWAYS TRIGGER audit_checkpoint_not_emptied;
"""

forwards = ddl_migration("audit", ID, DESCRIPTION, SQL)
