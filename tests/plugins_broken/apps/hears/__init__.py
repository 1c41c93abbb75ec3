from core.api import Plugin, hookimpl


class Hears(Plugin):
    def __init__(self):
        self.heard = []

    @hookimpl
    async def order_paid(self, ctx, order):
        self.heard.append(("order_paid", ctx.plugin, order))

    @hookimpl
    async def order_delivered(self, order):
        self.heard.append(("order_delivered", order))

    @hookimpl
    async def order_refunded(self, order, refund):
        self.heard.append(("order_refunded", order, refund))

    @hookimpl
    async def order_closed(self, order):
        self.heard.append(("order_closed", order))

    @hookimpl
    async def buyer_forgotten(self, order):
        self.heard.append(("buyer_forgotten", order))

    @hookimpl
    async def order_removed(self, removed):
        self.heard.append(("order_removed", removed))

    @hookimpl
    def review_opened(self, review):
        self.heard.append(("review_opened", review))

    @hookimpl
    def stock_low(self, stock):
        self.heard.append(("stock_low", stock))


plugin = Hears()
