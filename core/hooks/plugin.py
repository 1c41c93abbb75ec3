"""The object a plugin's package offers under the name ``plugin``, and what else it may bring."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from core.hooks.answers import CheckResult
from core.hooks.context import PluginContext
from core.hooks.settings import PluginSettings
from core.web.feature import Nav
from core.web.i18n import Text
from core.web.visit import Visit


@dataclass(frozen=True, slots=True)
class Act:
    """Something staff may do on the plugin's own pages.

    ``name`` begins with the plugin's id and a dot (``promotions.coupon.edit``); a route asks for it with
    ``opt={"who": "staff:promotions.coupon.edit"}``. ``title`` says in the console what it allows. ``roles`` are those
    who may, beside the owner: ``manager``, ``stock``, ``support``, ``finance``, ``readonly``. ``whole_server`` keeps it
    to the staff of the main shop, for what all shops share.
    """

    name: str
    title: Text | str
    roles: Sequence[str] = ()
    whole_server: bool = False


Fill = Callable[[PluginContext[Any], Visit, Any], Any]


@dataclass(frozen=True, slots=True)
class Pages:
    """The pages of a plugin, made with ``get`` and ``post`` as the shop's own.

    ``buyer`` stands under ``/x/<id>``, ``console`` under ``/admin/x/<id>``, ``rest`` under ``/api/v1/x/<id>``; paths in
    the routes begin after that. Every route says who may use it. ``acts`` are the plugin's own rights of staff, ``nav``
    its entries in the console's menu with whole paths (``/admin/x/<id>``).

    ``recorded`` are the acts its console routes write into the audit log with :func:`core.api.record_act`: short names
    (``stopped``) with what the log says of them.

    ``slots`` is what it shows on the shop's pages: by the name of the place, ``def`` or ``async def
    filler(ctx, visit, subject)`` that gives what the place takes, a list of it, or None. It is asked after the page was
    drawn, side by side with all others, and has a fifth of a second: who is late or breaks is left out. The places,
    what ``subject`` is there and what may be given stand in the guide.
    """

    buyer: Sequence[Any] = ()
    console: Sequence[Any] = ()
    rest: Sequence[Any] = ()
    acts: Sequence[Act] = ()
    nav: Sequence[Nav] = ()
    recorded: Mapping[str, Text | str] = field(default_factory=dict)
    slots: Mapping[str, Fill] = field(default_factory=dict)


RunJob = Callable[[PluginContext[Any], Mapping[str, Any]], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class PluginJob:
    """Work that a plugin does later, or again and again.

    ``run(ctx, args)`` may be called twice for one job (a process can end in the middle), so its effect must be harmless
    the second time. When it raises, it is tried again after ``backoff_seconds``, then twice that and so on, ``tries``
    times in all. With ``every`` it needs no one to ask for it: it is run again and again, that many seconds apart, by
    one process at a time, with empty ``args``. ``timeout_seconds`` is how long one run may take.

    ``name`` is the plugin's own (letters, digits, ``_``); the jobs page shows it behind the plugin's id.
    """

    name: str
    run: RunJob
    tries: int = 5
    backoff_seconds: float = 5
    timeout_seconds: float = 300
    every: float | None = None


class Plugin:
    """Derive, mark the hooks you implement with ``@hookimpl``, and end the package with ``plugin = Yours()``.

    One object serves every request of a process and is not built anew when settings change: keep nothing on
    it. Everything that changes comes in through ``ctx``.
    """

    Settings: ClassVar[type[PluginSettings] | None] = None
    """The model of this plugin's settings; its form in the console is drawn from it. None: no settings."""

    pages: ClassVar[Pages | None] = None
    """Its own pages, menu entries and what it shows on pages of the shop."""

    jobs: ClassVar[Sequence[PluginJob]] = ()
    """What it does in the background."""

    async def check(self, settings: Any, ctx: PluginContext[Any]) -> CheckResult | None:
        """Try out ``settings`` before they are saved: the Test button of the settings form.

        ``ctx.settings`` are these same settings. Change nothing on the other side, and answer within fifteen
        seconds. None (as here) means there is nothing to try, and the form shows no button.
        """
        return None

    @property
    def can_check(self) -> bool:
        """Whether this plugin brings its own :meth:`check`."""
        return type(self).check is not Plugin.check
