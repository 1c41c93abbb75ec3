from core.db import ddl_migration

ID = "2026-11-23T01:35:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "what failed, is held or waits is found at once"

SQL = """
CREATE INDEX IF NOT EXISTS messages_message_recipient ON messages_message (shop_id, recipient);
CREATE INDEX messages_message_to_do ON messages_message (shop_id, state, id)
    WHERE state IN ('failed', 'held', 'queued');
"""

forwards = ddl_migration("messages", ID, DESCRIPTION, SQL)
