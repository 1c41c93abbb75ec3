"""The object a plugin's package offers under the name ``plugin``."""

from __future__ import annotations

from typing import Any, ClassVar

from core.hooks.answers import CheckResult
from core.hooks.context import PluginContext
from core.hooks.settings import PluginSettings


class Plugin:
    """Derive, mark the hooks you implement with ``@hookimpl``, and end the package with ``plugin = Yours()``.

    One object serves every request of a process and is not built anew when settings change: keep nothing on
    it. Everything that changes comes in through ``ctx``.
    """

    Settings: ClassVar[type[PluginSettings] | None] = None
    """The model of this plugin's settings; its form in the console is drawn from it. None: no settings."""

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
