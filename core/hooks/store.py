"""What the operator decided about plugins: on or off, and their settings, in the database."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from core import db
from core.db import Tx
from core.vault.cipher import open_secret, seal_secret

FACTS = """
SELECT hooks_revision.revision, shop.currency, shop.test_mode
FROM hooks_revision, (SELECT currency, test_mode FROM shops_shop ORDER BY id LIMIT 1) AS shop
"""

ENABLE = """
INSERT INTO hooks_plugin (id, enabled) VALUES ($1, $2)
ON CONFLICT (id) DO UPDATE SET enabled = $2, updated_at = now()
"""

SAVE = """
INSERT INTO hooks_plugin (id, enabled, settings, secrets, version) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (id) DO UPDATE SET settings = $3, secrets = $4, version = $5, updated_at = now()
"""

OFF = "SELECT off.plugin, shop.id, shop.code FROM hooks_off off JOIN shops_shop shop ON shop.id = off.shop_id"

SWITCH_OFF = "INSERT INTO hooks_off (plugin, shop_id) SELECT $1, id FROM shops_shop WHERE id = ANY($2)"


@dataclass(frozen=True, slots=True)
class Facts:
    """What contexts are made of; when it changes, plugins are loaded anew."""

    revision: int
    currency: str
    test_mode: bool


@dataclass(frozen=True, slots=True)
class Row:
    """One plugin's row. ``secrets`` is the sealed blob, ``version`` that of the settings."""

    enabled: bool
    settings: Mapping[str, Any] = field(default_factory=dict)
    secrets: bytes | None = field(default=None, repr=False)
    version: int = 1


async def facts() -> Facts:
    (row,) = await db.fetch(FACTS)
    return Facts(row["revision"], row["currency"], row["test_mode"])


async def revision() -> int:
    return int(await db.fetchval("SELECT revision FROM hooks_revision"))


async def rows() -> dict[str, Row]:
    found = await db.fetch("SELECT id, enabled, settings, secrets, version FROM hooks_plugin")
    return {row["id"]: Row(row["enabled"], row["settings"], row["secrets"], row["version"]) for row in found}


async def off() -> dict[str, frozenset[int | str]]:
    """By plugin, the ids and codes of the shops it is off in."""
    found: dict[str, set[int | str]] = {}
    for row in await db.fetch(OFF):
        found.setdefault(row["plugin"], set()).update((row["id"], row["code"]))
    return {plugin: frozenset(shops) for plugin, shops in found.items()}


async def switch_off_in(tx: Tx, plugin: str, shop_ids: Sequence[int]) -> None:
    """In these shops, and in no others, ``plugin`` is off although it is on."""
    await tx.execute("DELETE FROM hooks_off WHERE plugin = $1", plugin)
    await tx.execute(SWITCH_OFF, plugin, shop_ids)
    await _changed(tx)


async def enable(tx: Tx, plugin: str, enabled: bool) -> None:
    await tx.execute(ENABLE, plugin, enabled)
    await _changed(tx)


async def save(
    tx: Tx, plugin: str, enabled: bool, settings: dict[str, Any], secrets: dict[str, str], version: int = 1
) -> None:
    """Keep these settings. ``enabled`` counts only for a plugin nobody has decided about yet."""
    sealed = seal_secret(_purpose(plugin), json.dumps(secrets).encode()) if secrets else None
    await tx.execute(SAVE, plugin, enabled, settings, sealed, version)
    await _changed(tx)


def open_secrets(plugin: str, sealed: bytes | None) -> dict[str, str]:
    """The plain secrets of a row.

    :raises DecryptError: the blob was sealed under another master key, or for another plugin.
    """
    if sealed is None:
        return {}
    opened: dict[str, str] = json.loads(open_secret(_purpose(plugin), sealed))
    return opened


def _purpose(plugin: str) -> str:
    return f"plugin:{plugin}"


async def _changed(tx: Tx) -> None:
    """Every process looks at this number once a second and loads plugins anew when it rose."""
    await tx.execute("UPDATE hooks_revision SET revision = revision + 1")
