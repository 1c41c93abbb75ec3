from core.db import ddl_migration

ID = "2026-11-22T18:41:30:000000"
VERSION = "1.38.0"
DESCRIPTION = "keyring with versions, rotations, and what each process holds"

SQL = """
-- The keys of the vault, each wrapped by the master key, which the database never sees. Version 0 makes fingerprints
-- and never changes; the others wrap the data keys of batches and seal small secrets. A first start fills in 0 and 1.
CREATE TABLE vault_key (
    version      integer PRIMARY KEY CHECK (version >= 0),
    state        text NOT NULL CHECK (state IN ('base', 'coming', 'active', 'old')),
    provider     text NOT NULL DEFAULT '',
    wrapped      bytea,
    public_key   bytea CHECK (length(public_key) = 32),
    seals        bigint NOT NULL DEFAULT 0 CHECK (seals BETWEEN 0 AND 3865470566),
    created_at   timestamptz NOT NULL DEFAULT now(),
    replaced_at  timestamptz,
    CHECK ((state = 'base') = (version = 0)),
    CHECK ((state = 'old') = (replaced_at IS NOT NULL))
);
CREATE UNIQUE INDEX vault_key_one_of_each ON vault_key (state) WHERE state <> 'old';
INSERT INTO vault_key (version, state) VALUES (0, 'base'), (1, 'active');
-- A key goes only when no batch is wrapped by it.
ALTER TABLE vault_batch ADD FOREIGN KEY (key_version) REFERENCES vault_key (version);
CREATE INDEX vault_batch_key ON vault_batch (key_version);
-- What the data key of a batch has sealed; stops a tenth before the 2^32 of NIST SP 800-38D.
ALTER TABLE vault_batch ADD COLUMN seals bigint NOT NULL DEFAULT 0 CHECK (seals BETWEEN 0 AND 3865470566);
CREATE TABLE vault_rotation (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    to_version   integer NOT NULL UNIQUE,
    place        text NOT NULL DEFAULT '',
    cursor       jsonb NOT NULL DEFAULT 'null',
    done         bigint NOT NULL DEFAULT 0,
    unopened     bigint NOT NULL DEFAULT 0,
    started_at   timestamptz NOT NULL DEFAULT now(),
    moved_at     timestamptz NOT NULL DEFAULT now(),
    finished_at  timestamptz
);
CREATE UNIQUE INDEX vault_rotation_one ON vault_rotation ((true)) WHERE finished_at IS NULL;
-- Which keys each living process holds: a rotation waits for all of them, and staff see who has none.
CREATE TABLE vault_holder (
    name     text PRIMARY KEY,
    active   integer NOT NULL,
    newest   integer NOT NULL,
    problem  text NOT NULL DEFAULT '',
    seen_at  timestamptz NOT NULL DEFAULT now()
);
"""

forwards = ddl_migration("vault", ID, DESCRIPTION, SQL)
