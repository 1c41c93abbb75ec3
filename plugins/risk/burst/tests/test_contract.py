from core.api import Action, Counted, LineToCheck, Money
from core.api.testing import History, RiskRuleContract, an_order

PRICE = Money(1990, "CNY")


def burst(orders=20, contacts=5, **changes):
    return an_order(history=History(of_this_value=Counted(orders, 0, Money(0, "CNY"), contacts)), **changes)


class TestContract(RiskRuleContract):
    plugin = "risk.burst"

    def settings(self, other_side):
        return {"low_value": PRICE, "orders": 20, "contacts": 5, "left_out": ("OFFER",)}

    def harmless(self):
        dear = Money(1991, "CNY")
        free = Money(0, "CNY")
        return (
            an_order(),
            burst(orders=19),
            burst(contacts=4),
            burst(lines=(LineToCheck("SKU-1", "A month", 1, dear, dear, dear),)),
            burst(lines=(LineToCheck("SKU-1", "A month", 1, free, free, free),)),
            burst(lines=(LineToCheck("OFFER", "A month", 1, PRICE, PRICE, PRICE),)),
        )

    def suspicious(self):
        discounted = LineToCheck("SKU-1", "A month", 1, Money(1000, "CNY"), Money(1000, "CNY"), PRICE)
        return (burst(), burst(lines=(discounted,)))

    async def test_it_asks_for_a_person_and_says_the_figures(self, machine):
        [found] = (await self.finding(machine, burst(orders=31, contacts=17))).evidence
        assert (found.score, found.action) == (0, Action.REVIEW)
        assert str(found.reason) == "31 orders at 19.90 CNY in 10 minutes by 17 contacts"

    async def test_only_note_has_no_effect(self, machine):
        await machine.save({**self.settings(None), "only_note": True, "then": "refuse"})
        [found] = (await self.finding(machine, burst())).evidence
        assert (found.action, found.data["would"]) == (Action.NOTE, "refuse")
