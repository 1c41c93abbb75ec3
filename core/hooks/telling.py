"""Facts on their way to plugins: one small row in the transaction of the act, told to all who listen, retried apart.

The row names the fact and its subject alone; what plugins are shown is looked up when they are told. A plugin that
fails gets a row of its own, so that the others need not hear it again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

from core import clock
from core.db import Tx
from core.hooks import runtime
from core.jobs import Lease, NewJob, enqueue, enqueue_many
from core.jobs.registry import Args

TELL = "hooks.tell"
FIRST_PAUSE = timedelta(seconds=10)

Views = Mapping[str, Any]
Look = Callable[[str], Awaitable[Views | None]]

_looks: dict[str, Look] = {}


def shows(*hooks: str) -> Callable[[Look], Look]:
    """Mark ``async def look(subject)`` as what these facts show: views by argument, None when it is gone."""

    def mark(look: Look) -> Look:
        _looks.update(dict.fromkeys(hooks, look))
        return look

    return mark


# -- writing ----------------------------------------------------------------------------


def news(*hooks: str) -> dict[str, Any] | None:
    """Arguments of the job that tells these facts, but for its ``subject``; None when nobody listens."""
    try:
        plugins = runtime.current()
    except RuntimeError:
        # a process without plugins, such as a command
        return None
    wanted = [[hook, heard] for hook in hooks if (heard := plugins.listeners(hook))]
    return {"facts": wanted} if wanted else None


async def tell(tx: Tx, subject: str, *hooks: str) -> list[int]:
    """Write into ``tx`` that these facts happened to ``subject`` (an order's reference). Gives the job to ring for."""
    said = news(*hooks)
    return [await enqueue(tx, TELL, {**said, "subject": subject})] if said else []


async def tell_many(tx: Tx, subjects: list[str], hook: str) -> list[int]:
    """The same fact of many subjects."""
    said = news(hook)
    return await enqueue_many(tx, [NewJob(TELL, {**said, "subject": one}) for one in subjects]) if said else []


# -- telling ----------------------------------------------------------------------------


async def tell_all(args: Args, lease: Lease) -> None:
    """Tell every plugin what it wants to hear, one fact after the other; side by side with the other plugins."""
    subject, facts = args["subject"], args["facts"]
    views = await _views([hook for hook, _ in facts], subject)
    plugins = sorted({plugin for _, heard in facts for plugin in heard})
    wanted = [(plugin, [hook for hook, heard in facts if plugin in heard]) for plugin in plugins]
    missed = await asyncio.gather(*(_told(plugin, hooks, views) for plugin, hooks in wanted))
    later = clock.now() + FIRST_PAUSE
    again = [
        NewJob(
            runtime.FACT,
            {"hook": hook, "plugin": plugin, "subject": subject},
            run_at=later,
            key=f"fact:{lease.job_id}:{hook}:{plugin}",
        )
        for (plugin, _), hooks_missed in zip(wanted, missed, strict=True)
        for hook in hooks_missed
    ]
    if again:
        await lease.write(enqueue_many, again)


async def tell_again(args: Args) -> None:
    """Tell one plugin one fact that it could not hear before.

    :raises Retry: it is enabled but still cannot hear.
    """
    views = await _views([args["hook"]], args["subject"])
    await _hear(args["hook"], args["plugin"], views)


async def _views(hooks: list[str], subject: str) -> dict[str, Views]:
    """What each of these facts shows; facts of one kind are looked up once."""
    found = {look: await look(subject) for look in {_looks[hook] for hook in hooks}}
    return {hook: views for hook in hooks if (views := found[_looks[hook]]) is not None}


async def _told(plugin: str, hooks: list[str], views: Mapping[str, Views]) -> list[str]:
    """The facts that it must be told again, in their order; nothing more is told after one that failed."""
    for place, hook in enumerate(hooks):
        try:
            await _hear(hook, plugin, views)
        except Exception:  # noqa: BLE001  counted and logged where it happened
            return hooks[place:]
    return []


async def _hear(hook: str, plugin: str, views: Mapping[str, Views]) -> None:
    plugins = runtime.current()
    if hook not in views or plugins.is_off_in(plugin, next(iter(views[hook].values())).shop):
        return
    may_see = plugins.permits(plugin, "contacts")
    await plugins.tell(hook, plugin, {name: view if may_see else _closed(view) for name, view in views[hook].items()})


def _closed(view: Any) -> Any:
    """The view for a plugin that did not say it needs to see how buyers are reached."""
    return replace(view, contact="") if hasattr(view, "contact") else view
