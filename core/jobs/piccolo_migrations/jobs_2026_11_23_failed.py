from core.db import ddl_migration

ID = "2026-11-23T02:20:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "the few jobs that were given up, found without walking over all that are done"

SQL = """
CREATE INDEX jobs_job_failed ON jobs_job (finished_at) WHERE state = 'failed';
"""

forwards = ddl_migration("jobs", ID, DESCRIPTION, SQL)
