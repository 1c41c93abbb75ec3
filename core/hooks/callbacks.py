"""A plugin reads what a gateway or a supplier calls the shop with."""

from __future__ import annotations

from typing import Any

from core.hooks import runtime
from core.tasks import strangers_code
from core.web.errors import Unavailable

READ_SECONDS = 12


async def read(hook: str, item: Any, call: Any, *, gives: tuple[type, ...], says: tuple[type[Exception], ...]) -> Any:
    """What ``item``, which ``hook`` delivered, makes of the call: one of ``gives`` or None.

    :raises Unavailable: the plugin broke, gave something else or took too long. It is counted there, and the other
        side tries again. What the plugin ``says`` by raising it comes through.
    """
    try:
        async with strangers_code(READ_SECONDS):
            read = await item.parse_callback(call)
        if read is not None and not isinstance(read, gives):
            raise TypeError(f"parse_callback() gives {gives[0].__name__} or None, not {type(read).__name__}")
        return read
    except says:
        raise
    except (Exception, SystemExit) as error:
        plugins = runtime.current()
        plugins.count_failure(plugins.owner(hook, item.key), "parse_callback", error)
        raise Unavailable() from error
