from core.db import ddl_migration

ID = "2026-11-23T01:00:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "what a message of a plugin says"

SQL = """
ALTER TABLE messages_message ADD COLUMN data jsonb NOT NULL DEFAULT '{}';
"""

forwards = ddl_migration("messages", ID, DESCRIPTION, SQL)
