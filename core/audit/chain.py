"""The audit log as a chain of hashes, made beside the acts, and looked over from its beginning.

An entry is written in the transaction of the act. A job gives it its place afterwards, so that nobody waits for a lock.
Every hash covers the one before: who alters, removes or exchanges an entry must make all later ones anew, and a
checkpoint signed and kept in a file says what they were. Only that file shows that the end was cut off.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from core import clock, db
from core.db import Tx

LOCK = 0x61756469  # "audi"
AT_ONCE = 1000
# Ids of entries whose transactions ended late lie no further behind the newest than this.
BEHIND = 10_000
START = bytes(32)

ENTRY = "id, shop_id, at, actor, act, object, detail::text AS detail, host(ip) AS ip, request_id"
NEW = f"""
SELECT {ENTRY} FROM audit_entry entry
WHERE id > $1 AND NOT EXISTS (SELECT 1 FROM audit_link WHERE entry_id = entry.id) ORDER BY id LIMIT $2
"""  # noqa: S608 - put together from constants


class Signer(Protocol):
    @property
    def public_key(self) -> bytes: ...

    def sign(self, data: bytes) -> bytes: ...


IsSigned = Callable[[bytes, bytes, bytes], bool]


# -- the hashes -------------------------------------------------------------------------


def row_hash(entry: Any) -> bytes:
    """Over every column, in a form that leaves one way to read it."""
    facts = [
        entry["id"],
        entry["shop_id"],
        entry["at"].astimezone(UTC).isoformat(timespec="microseconds"),
        entry["actor"],
        entry["act"],
        entry["object"],
        entry["detail"],
        entry["ip"],
        entry["request_id"],
    ]
    return hashlib.sha256(json.dumps(facts, separators=(",", ":")).encode()).digest()


def link_hash(position: int, before: bytes, row: bytes) -> bytes:
    return hashlib.sha256(position.to_bytes(8, "big") + before + row).digest()


# -- adding -----------------------------------------------------------------------------


async def extend() -> int:
    """Give entries without a place theirs, in order. Says how many."""
    added = 0
    while new := await db.transaction(_extend):
        added += new
        if new < AT_ONCE:
            break
    return added


async def _extend(tx: Tx) -> int:
    await tx.execute("SELECT pg_advisory_xact_lock($1)", LOCK)
    head = await tx.fetchrow("SELECT position, hash FROM audit_link ORDER BY position DESC LIMIT 1")
    position, before = (head["position"], head["hash"]) if head else (0, START)
    newest = await tx.fetchval("SELECT coalesce(max(entry_id), 0) FROM audit_link")
    links = []
    for entry in await tx.fetch(NEW, newest - BEHIND, AT_ONCE):
        position, row = position + 1, row_hash(entry)
        before = link_hash(position, before, row)
        links.append((position, entry["id"], row, before))
    await tx.executemany("INSERT INTO audit_link (position, entry_id, row_hash, hash) VALUES ($1, $2, $3, $4)", links)
    return len(links)


# -- checkpoints ------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Checkpoint:
    position: int
    hash: bytes
    at: datetime
    public_key: bytes
    signature: bytes = b""

    def signed_text(self) -> bytes:
        return f"vouchsafe audit {self.position} {self.hash.hex()} {self.at.isoformat()}".encode()

    def line(self) -> str:
        facts = {"position": self.position, "hash": self.hash.hex(), "at": self.at.isoformat()}
        return json.dumps({**facts, "public_key": self.public_key.hex(), "signature": self.signature.hex()})

    @classmethod
    def read(cls, line: str) -> Checkpoint:
        """:raises ValueError: this is no line of a checkpoint file."""
        try:
            facts = json.loads(line)
            at = datetime.fromisoformat(facts["at"])
            parts = [bytes.fromhex(facts[name]) for name in ("hash", "public_key", "signature")]
            return cls(int(facts["position"]), parts[0], at, parts[1], parts[2])
        except (KeyError, TypeError, ValueError):
            raise ValueError("not a checkpoint") from None


def checkpoint_file(home: Path) -> Path:
    return home / "audit" / "checkpoints.jsonl"


async def sign_checkpoint(signer: Signer, file: Path) -> Checkpoint | None:
    """Sign the end of the chain, unless that was done before, and keep it here and in the file."""
    head = await db.fetchrow(
        "SELECT position, hash FROM audit_link WHERE position > (SELECT coalesce(max(position), 0)"
        " FROM audit_checkpoint) ORDER BY position DESC LIMIT 1"
    )
    if head is None:
        return None
    bare = Checkpoint(head["position"], head["hash"], clock.now(), signer.public_key)
    made = Checkpoint(bare.position, bare.hash, bare.at, bare.public_key, signer.sign(bare.signed_text()))
    # The file first: what only the database knows proves nothing against whoever owns the database.
    _append(file, made.line())
    await db.execute(
        "INSERT INTO audit_checkpoint (position, hash, at, public_key, signature) VALUES ($1, $2, $3, $4, $5)"
        " ON CONFLICT DO NOTHING",
        made.position, made.hash, made.at, made.public_key, made.signature,
    )  # fmt: skip
    return made


def _append(file: Path, line: str) -> None:
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    handle = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(handle, f"{line}\n".encode())
        os.fsync(handle)
    finally:
        os.close(handle)


# -- looking it over --------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Verdict:
    """``broken`` says where the log stops being what it was; empty when it is whole."""

    entries: int
    checkpoints: int
    broken: str = ""


LINKS = f"""
SELECT link.position, link.entry_id, link.row_hash, link.hash, entry.*
FROM audit_link link LEFT JOIN (SELECT {ENTRY} FROM audit_entry) AS entry ON entry.id = link.entry_id
WHERE link.position > $1 ORDER BY link.position LIMIT $2
"""  # noqa: S608 - put together from constants

LEFT_OUT = """
SELECT id FROM audit_entry entry WHERE id < (SELECT max(entry_id) FROM audit_link) - $1
AND NOT EXISTS (SELECT 1 FROM audit_link WHERE entry_id = entry.id) ORDER BY id LIMIT 1
"""
OVERDUE = """
SELECT id FROM audit_entry entry WHERE at < now() - interval '1 hour'
AND NOT EXISTS (SELECT 1 FROM audit_link WHERE entry_id = entry.id) ORDER BY id LIMIT 1
"""


async def look_over(lines: Iterable[str], is_signed: IsSigned, public_key: bytes | None) -> Verdict:
    """The first thing that is wrong with the chain, or with a checkpoint of the file or the database.

    ``public_key`` is the shop's own; None while the vault has no key: then each checkpoint's own is believed.
    """
    try:
        points = [Checkpoint.read(line) for line in lines if line.strip()]
    except ValueError:
        return Verdict(0, 0, "the checkpoint file holds a line that is no checkpoint")
    for row in await db.fetch("SELECT position, hash, at, public_key, signature FROM audit_checkpoint"):
        points.append(Checkpoint(row["position"], row["hash"], row["at"], row["public_key"], row["signature"]))
    for one in points:
        ours = public_key is None or one.public_key == public_key
        if not ours or not is_signed(one.public_key, one.signed_text(), one.signature):
            return Verdict(0, len(points), f"the checkpoint at position {one.position} was not signed by this shop")
    return await _look_over(points)


async def _look_over(points: list[Checkpoint]) -> Verdict:
    signed: dict[int, set[bytes]] = {}
    for one in points:
        signed.setdefault(one.position, set()).add(one.hash)
    position, before = 0, START
    while links := await db.fetch(LINKS, position, AT_ONCE):
        for link in links:
            wrong = _wrong(link, position, before) or _unlike(signed, link)
            if wrong:
                return Verdict(position, len(points), wrong)
            position, before = link["position"], link["hash"]
    last = max(signed, default=0)
    if last > position:
        text = f"the log ends at position {position}, but a checkpoint was signed at {last}: its end was cut off"
        return Verdict(position, len(points), text)
    for query, values in ((LEFT_OUT, [BEHIND]), (OVERDUE, [])):
        if (entry := await db.fetchval(query, *values)) is not None:
            return Verdict(position, len(points), f"entry {entry} has no place in the chain")
    return Verdict(position, len(points))


def _wrong(link: Any, position: int, before: bytes) -> str:
    if link["position"] != position + 1:
        return f"the link at position {position + 1} is missing"
    if link["id"] is None:
        return f"entry {link['entry_id']} at position {link['position']} is missing"
    if row_hash(link) != link["row_hash"]:
        return f"entry {link['entry_id']} at position {link['position']} was altered"
    if link_hash(link["position"], before, link["row_hash"]) != link["hash"]:
        return f"entry {link['entry_id']} at position {link['position']} does not follow the one before it"
    return ""


def _unlike(signed: dict[int, set[bytes]], link: Any) -> str:
    if signed.get(link["position"], {link["hash"]}) != {link["hash"]}:
        return f"the log up to entry {link['entry_id']} at position {link['position']} is not the one that was signed"
    return ""
