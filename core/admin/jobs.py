"""The audit log's chain: made here because it needs the log below and the vault's signature. And how the shop looks
from outside, which is seen by a worker."""

from __future__ import annotations

from core.admin import outside
from core.audit import chain
from core.config import Config
from core.jobs import Lease, every, job
from core.jobs.registry import Args
from core.vault import keys
from core.vault.signing import Signer

PURPOSE = "audit checkpoints"
LOOK_OUTSIDE = "admin.look_outside"


@every(30, "audit.chain")
async def extend_chain(lease: Lease) -> None:
    """Give new entries their place and sign where the chain ends; without a key only the first."""
    await chain.extend()
    if keys.current().is_unlocked():
        await chain.sign_checkpoint(Signer(PURPOSE), chain.checkpoint_file(Config.from_env().home))


@every(120, "admin.outside", timeout_seconds=120)
async def keep_looking(lease: Lease) -> None:
    """Every few hours while all is well, else each time: a proxy that was mended is seen soon, and when all starts at
    once the worker is there before the pages are."""
    config = Config.from_env()
    if not await outside.is_fresh(config.base_url):
        await outside.look(config)


@job(LOOK_OUTSIDE, tries=1, timeout_seconds=120)
async def look_now(args: Args, lease: Lease) -> None:
    await outside.look(Config.from_env())
