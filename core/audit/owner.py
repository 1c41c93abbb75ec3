"""Whose the tables of the audit log are. With the embedded PostgreSQL the shop gives them away: it may only add."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import asyncpg

from core.config import Config

LOCK = 0x6F776E  # "own"

# The guide holds the same for a server of your own.
HAND_OVER = """\
CREATE ROLE vouchsafe_audit NOLOGIN;
ALTER SCHEMA public OWNER TO vouchsafe_audit;
GRANT ALL ON SCHEMA public TO {role};
ALTER TABLE audit_entry OWNER TO vouchsafe_audit;
ALTER TABLE audit_link OWNER TO vouchsafe_audit;
ALTER TABLE audit_checkpoint OWNER TO vouchsafe_audit;
ALTER FUNCTION audit_append_only() OWNER TO vouchsafe_audit;
REVOKE ALL ON audit_entry, audit_link, audit_checkpoint FROM PUBLIC, {role};
GRANT SELECT, INSERT ON audit_entry, audit_link, audit_checkpoint TO {role};
GRANT SELECT ON SEQUENCE audit_entry_id_seq TO {role};
"""
TAKE_BACK = """
ALTER TABLE audit_entry OWNER TO {role};
ALTER TABLE audit_link OWNER TO {role};
ALTER TABLE audit_checkpoint OWNER TO {role};
ALTER FUNCTION audit_append_only() OWNER TO {role};
"""
STATE = """
SELECT to_regrole('vouchsafe_audit') IS NOT NULL AS role, to_regclass('audit_link') IS NOT NULL AS tables, EXISTS (
    SELECT 1 FROM pg_class WHERE oid = to_regclass('audit_entry') AND relowner = to_regrole('vouchsafe_audit')) AS done
"""


def superuser_url(config: Config) -> str | None:
    """The address of the embedded PostgreSQL for its superuser; None on a server of somebody's own."""
    parts = urlsplit(config.database_url or "")
    host = parse_qs(parts.query).get("host", [""])[0]
    sockets = config.home / "engines" / "sockets"
    if parts.username != "vouchsafe" or not host or Path(host).resolve() != sockets.resolve():
        return None
    return parts._replace(netloc="postgres@").geturl()


async def hand_over(config: Config) -> bool:
    """Give the tables to a role nobody can be. True when that was done now."""
    return await _as_superuser(config, HAND_OVER, done=False)


async def take_back(config: Config) -> bool:
    """For a migration of these tables; hand them over again afterwards."""
    return await _as_superuser(config, TAKE_BACK, done=True)


async def _as_superuser(config: Config, statements: str, *, done: bool) -> bool:
    url = superuser_url(config)
    if url is None:
        return False
    connection = await asyncpg.connect(url)
    try:
        async with connection.transaction():
            await connection.execute("SELECT pg_advisory_xact_lock($1)", LOCK)
            state = await connection.fetchrow(STATE)
            if state is None or not state["tables"] or state["done"] is not done:
                return False
            if state["role"]:
                statements = statements.replace("CREATE ROLE vouchsafe_audit NOLOGIN;", "")
            await connection.execute(statements.format(role="vouchsafe"))
            return True
    finally:
        await connection.close()
