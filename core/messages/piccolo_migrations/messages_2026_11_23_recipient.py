from core.db import ddl_migration

ID = "2026-11-23T01:32:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "the messages of one buyer"

SQL = """
CREATE INDEX IF NOT EXISTS messages_message_recipient ON messages_message (shop_id, recipient);
"""

forwards = ddl_migration("messages", ID, DESCRIPTION, SQL)
