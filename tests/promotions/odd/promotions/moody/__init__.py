"""Promotions that behave as the buyer's address says, to see what the shop makes of them."""

import asyncio
import sys

from core.api import Adjustment, Cap, Money, Plugin, Promotion, hookimpl

TITLE = {"en": "Moody"}


def off(amount, key="moody", currency="CNY", **more):
    return Adjustment(key, TITLE, Money(-amount, currency), **more)


class Moody(Promotion):
    key = "moody"
    title = TITLE
    takes_codes = True

    async def adjust(self, basket):
        mood, _at, _host = basket.contact.partition("@")
        code = basket.codes[0] if basket.codes else ""
        match mood:
            case "hang":
                await asyncio.sleep(60)
            case "raise":
                raise LookupError("no such thing")
            case "cancel":
                raise asyncio.CancelledError
            case "exit":
                sys.exit(3)
            case "raise-the-price":
                return [off(-100)]
            case "abroad":
                return [off(100, currency="USD")]
            case "no-key":
                return [off(100, key="")]
            case "no-line":
                return [off(100, line=7)]
            case "strange-code":
                return [off(100, code="NOBODY-ENTERED-THIS")]
            case "no-use":
                return [off(100, caps=(Cap("none", 0),))]
            case "many-uses":
                return [off(100, caps=(Cap("many", 10**12),))]
            case "half-a-use":
                return [off(100, caps=(Cap("half", 2.5),))]
            case "odd-key":
                return [off(100, key="a\x00b")]
            case "odd-cap":
                return [off(100, caps=(Cap("\ud800", 1),))]
            case "odd-title":
                return [Adjustment("moody", {"en": 5}, Money(-100, "CNY"))]
            case "odd-data":
                return [off(100, data={"at": basket.at})]
            case "no-list":
                return off(100)
            case "nonsense":
                return ["a hundred off"]
            case "too-much":
                return [off(1500, "a"), off(1000, "b"), off(10, "c", code=code)]
            case "alone-more":
                return [off(300, "together"), off(200, "alone-a", alone=True), off(301, "alone-b", alone=True)]
            case "alone-as-much":
                return [off(300, "together"), off(300, "alone", alone=True, code=code)]
            case "alone-in-two-parts":
                return [off(300, "together"), *(off(151, "alone", line=0, alone=True) for _part in range(2))]
            case "first-100":
                return [off(100, caps=(Cap("first", 1),))]
            case "fine":
                return [off(100, code=code)]
        return []


class Steady(Promotion):
    """Beside it, and not to be disturbed."""

    key = "steady"
    title = {"en": "Steady"}

    async def adjust(self, basket):
        return (
            [Adjustment("always", self.title, Money(-1, basket.total.currency))] if "steady" in basket.contact else []
        )


class MoodyPlugin(Plugin):
    @hookimpl
    def register_promotions(self, ctx):
        return [Moody(), Steady()]


plugin = MoodyPlugin()
