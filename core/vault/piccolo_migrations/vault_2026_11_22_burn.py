from core.db import ddl_migration

ID = "2026-11-22T18:40:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "burning shown codes, staff's looks at codes, exports"

SQL = """
-- Copy-and-burn: the first showing fixes to which session and until when. Burning takes the blob and leaves
-- fingerprint, mask and times.
ALTER TABLE vault_code
    ALTER COLUMN blob DROP NOT NULL,
    ADD COLUMN shown_to  bytea,
    ADD COLUMN burn_at   timestamptz,
    ADD COLUMN burned_at timestamptz,
    ADD CONSTRAINT vault_code_burn
        CHECK ((blob IS NULL) = (burned_at IS NOT NULL) AND (burn_at IS NULL) = (shown_to IS NULL));
CREATE INDEX vault_code_burn_due ON vault_code (burn_at) WHERE burn_at IS NOT NULL AND burned_at IS NULL;
-- How many codes a member of staff has looked at on a day (UTC).
CREATE TABLE vault_staff_day (
    staff_id    bigint NOT NULL REFERENCES people_staff ON DELETE CASCADE,
    day         date NOT NULL,
    codes       integer NOT NULL DEFAULT 0 CHECK (codes >= 0),
    refused_at  timestamptz,
    PRIMARY KEY (staff_id, day)
);
-- One asks, another approves: never the same person.
CREATE TABLE vault_export (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    shop_id      bigint NOT NULL REFERENCES shops_shop,
    sku_id       bigint NOT NULL REFERENCES catalog_sku ON DELETE CASCADE,
    batch_id     bigint REFERENCES vault_batch ON DELETE CASCADE,
    code_state   text NOT NULL CHECK (code_state IN ('free', 'delivered')),
    reason       text NOT NULL CHECK (length(reason) BETWEEN 1 AND 300),
    codes        bigint NOT NULL CHECK (codes > 0),
    up_to        bigint NOT NULL,
    state        text NOT NULL DEFAULT 'asked' CHECK (state IN ('asked', 'approved', 'refused')),
    asked_by     bigint NOT NULL REFERENCES people_staff,
    asked_at     timestamptz NOT NULL,
    decided_by   bigint REFERENCES people_staff,
    decided_at   timestamptz,
    expires_at   timestamptz NOT NULL,
    files        smallint NOT NULL DEFAULT 0 CHECK (files BETWEEN 0 AND 3),
    CHECK ((state = 'asked') = (decided_by IS NULL)),
    CHECK ((state = 'asked') = (decided_at IS NULL)),
    CHECK (state <> 'approved' OR decided_by <> asked_by),
    CHECK (files = 0 OR state = 'approved')
);
CREATE INDEX vault_export_shop ON vault_export (shop_id, id);
-- An exported code may be free: it has no line, and goes when its batch is undone.
ALTER TABLE vault_reveal
    ALTER COLUMN line_id DROP NOT NULL,
    DROP CONSTRAINT vault_reveal_code_id_fkey,
    ADD CONSTRAINT vault_reveal_code_id_fkey FOREIGN KEY (code_id) REFERENCES vault_code ON DELETE CASCADE,
    ADD COLUMN export_id bigint REFERENCES vault_export ON DELETE CASCADE,
    ADD CONSTRAINT vault_reveal_who CHECK (session_hash IS NULL OR staff_id IS NULL);
"""

forwards = ddl_migration("vault", ID, DESCRIPTION, SQL)
