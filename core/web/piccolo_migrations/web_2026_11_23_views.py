from core.db import ddl_migration

ID = "2026-11-23T01:20:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "saved views of lists"

SQL = """
-- A list with its filters, order and columns, as one member of the staff keeps it. core.lists ties staff_id down.
CREATE TABLE web_view (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    staff_id    bigint NOT NULL,
    page        text NOT NULL,
    name        text NOT NULL CHECK (length(name) BETWEEN 1 AND 60),
    query       text NOT NULL CHECK (length(query) BETWEEN 1 AND 4000),
    is_default  boolean NOT NULL DEFAULT false,
    UNIQUE (staff_id, page, name)
);
CREATE UNIQUE INDEX web_view_default ON web_view (staff_id, page) WHERE is_default;
"""

forwards = ddl_migration("web", ID, DESCRIPTION, SQL)
