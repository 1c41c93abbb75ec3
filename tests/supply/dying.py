"""One piece of work in a process of its own, which a named point may kill: ``python -m tests.supply.dying ACT …``."""

import asyncio
import os
import sys

from core import db
from core.checkout.settle import settle
from core.fulfilment import buying
from core.hooks import runtime
from core.money import Money
from core.payments.method import Claim, ClaimState
from core.vault import keys
from tests.supply.conftest import STANDS, plugins_at


async def main(act: str, what: str, warehouse: str) -> None:
    sys.path.insert(0, str(STANDS.parent))
    keys.use(keys.MasterKey(bytes(range(32))))
    await db.open_pool(os.environ["DATABASE_URL"], size=2)
    runtime.use(await plugins_at(warehouse))
    if act == "pay":
        claim = Claim(what, ClaimState.PAID, Money(1990, "CNY"), f"G-{what}", f"{what}:paid")
        await settle("epay", claim, "callback")
    else:
        await buying.go_on(int(what))


asyncio.run(main(*sys.argv[1:]))
