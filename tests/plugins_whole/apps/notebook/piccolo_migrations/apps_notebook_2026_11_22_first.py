from core.api import ddl_migration

ID = "2026-11-22T21:00:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "notes"

SQL = """
CREATE TABLE apps_notebook_note (
    id    bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    text  text NOT NULL CHECK (text <> '')
);
CREATE INDEX ON apps_notebook_note (text);
"""

forwards = ddl_migration("apps.notebook", ID, DESCRIPTION, SQL)
