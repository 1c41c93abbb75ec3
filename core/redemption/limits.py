"""Who guesses is stopped: tries that find no code are counted, and when the count cannot be kept nobody tries."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from core import db
from core.audit import service as audit
from core.redemption.redeem import MISSES, Answer, Till
from core.web import limits
from core.web.errors import TooMany
from core.web.i18n import _

MISS = "code-misses"


async def guarded(act: Callable[..., Awaitable[Answer]], till: Till, *args: Any) -> Answer:
    """``act(till, *args)`` for a caller who has not missed too often lately."""
    await limits.check(MISS, till.caller)
    answer = await act(till, *args)
    if answer.outcome in MISSES:
        await limits.below(MISS, till.caller)
        await _tell_once(till)
    return answer


async def _tell_once(till: Till) -> None:
    try:
        await limits.check(MISS, till.caller)
    except TooMany:
        await db.transaction(_alarm, till)


async def _alarm(tx: db.Tx, till: Till) -> None:
    reason = _("Many codes were tried that do not exist")
    await audit.alarm(tx, "redemption.guessing", till.caller, reason, shop_id=till.shop_id, ip=till.ip)
