"""A test gateway inside the shop: whoever tries the shop chooses how the payment ends."""

from core.api import Plugin, PluginContext, hookimpl

from .method import Sandbox


class SandboxPlugin(Plugin):
    @hookimpl
    def register_payment_methods(self, ctx: PluginContext[None]) -> list[Sandbox]:
        return [Sandbox(ctx)]


plugin = SandboxPlugin()
