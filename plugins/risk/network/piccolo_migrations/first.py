from core.api import ddl_migration

ID = "2026-11-22T21:50:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "the merchant's own list, and lists of networks"

SQL = """
-- ``value`` is a contact, a mail domain or a network; an address is a network of one.
CREATE TABLE risk_network_entry (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    act         text NOT NULL CHECK (act IN ('block', 'allow')),
    kind        text NOT NULL CHECK (kind IN ('contact', 'domain', 'network')),
    value       text NOT NULL CHECK (length(value) BETWEEN 1 AND 254),
    first       inet,
    last        inet,
    note        text NOT NULL DEFAULT '',
    created_at  timestamptz NOT NULL,
    UNIQUE (kind, value),
    CHECK ((first IS NOT NULL AND last IS NOT NULL) = (kind = 'network'))
);
CREATE INDEX risk_network_entry_first ON risk_network_entry (first) WHERE kind = 'network';
CREATE TABLE risk_network_list (
    id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name          text NOT NULL UNIQUE CHECK (length(name) BETWEEN 1 AND 120),
    kind          text NOT NULL CHECK (kind IN ('hosting', 'proxy', 'bad')),
    url           text NOT NULL DEFAULT '',
    ranges        integer NOT NULL DEFAULT 0,
    left_out      integer NOT NULL DEFAULT 0,
    refreshed_at  timestamptz,
    tried_at      timestamptz,
    error         text NOT NULL DEFAULT ''
);
-- Ranges of one list never overlap: the last that begins at or before an address is the only one it can be in.
CREATE TABLE risk_network_range (
    list_id  bigint NOT NULL REFERENCES risk_network_list ON DELETE CASCADE,
    first    inet NOT NULL,
    last     inet NOT NULL,
    PRIMARY KEY (list_id, first)
);
"""

forwards = ddl_migration("risk.network", ID, DESCRIPTION, SQL)
