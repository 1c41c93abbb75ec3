"""The one-time link with which the first admin is made."""

from __future__ import annotations

from core.people import staff


async def new_setup_link(base_url: str) -> str | None:
    """A link good for 30 minutes and one use, or None when the shop has an admin."""
    token = await staff.new_setup_token()
    return f"{base_url}/admin/setup?token={token}" if token else None
