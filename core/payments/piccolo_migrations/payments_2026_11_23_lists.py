from core.db import ddl_migration

ID = "2026-11-23T01:35:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "payments are found by the gateway's number and by method"

SQL = """
CREATE INDEX payments_attempt_gateway ON payments_attempt (gateway_ref) WHERE gateway_ref IS NOT NULL;
CREATE INDEX payments_attempt_method ON payments_attempt (method, id);
"""

forwards = ddl_migration("payments", ID, DESCRIPTION, SQL)
