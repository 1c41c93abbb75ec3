"""The audit log's chain: made here because it needs the log below and the vault's signature."""

from __future__ import annotations

from core.audit import chain
from core.config import Config
from core.jobs import Lease, every
from core.vault import keys
from core.vault.signing import Signer

PURPOSE = "audit checkpoints"


@every(30, "audit.chain")
async def extend_chain(lease: Lease) -> None:
    """Give new entries their place and sign where the chain ends; without a key only the first."""
    await chain.extend()
    if keys.current().is_unlocked():
        await chain.sign_checkpoint(Signer(PURPOSE), chain.checkpoint_file(Config.from_env().home))
