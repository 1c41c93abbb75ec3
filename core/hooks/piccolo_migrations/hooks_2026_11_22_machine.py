from core.db import ddl_migration

ID = "2026-11-22T21:30:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "what was done for plugins, and where they are on"

SQL = """
CREATE TABLE hooks_migration (
    plugin  text NOT NULL,
    id      text NOT NULL,
    ran_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (plugin, id)
);
-- Who made which table: a name can begin with those of two plugins (risk_net and risk_net_list).
CREATE TABLE hooks_table (
    name    text PRIMARY KEY,
    plugin  text NOT NULL
);
-- A row says that a plugin which is on is off in this shop.
CREATE TABLE hooks_off (
    plugin   text NOT NULL,
    shop_id  bigint NOT NULL REFERENCES shops_shop (id) ON DELETE CASCADE,
    PRIMARY KEY (plugin, shop_id)
);
"""

forwards = ddl_migration("hooks", ID, DESCRIPTION, SQL)
