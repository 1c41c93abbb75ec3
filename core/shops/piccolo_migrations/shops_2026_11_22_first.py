from core.db import ddl_migration

ID = "2026-11-22T15:00:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "first tables of shops"

SQL = """
CREATE TABLE shops_shop (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    code         text NOT NULL UNIQUE CHECK (code ~ '^[a-z0-9-]{1,40}$'),
    name         text NOT NULL CHECK (length(name) BETWEEN 1 AND 120),
    host         text UNIQUE,
    theme        text NOT NULL DEFAULT 'market',
    currency     char(3) NOT NULL DEFAULT 'CNY',
    locale       text NOT NULL DEFAULT 'zh-CN',
    timezone     text NOT NULL DEFAULT 'Asia/Shanghai',
    test_mode    boolean NOT NULL DEFAULT true,
    settings     jsonb NOT NULL DEFAULT '{}',
    revision     integer NOT NULL DEFAULT 1,
    created_at   timestamptz NOT NULL DEFAULT now()
);
INSERT INTO shops_shop (code, name) VALUES ('main', 'Vouchsafe');
"""

forwards = ddl_migration("shops", ID, DESCRIPTION, SQL)
