from datetime import timedelta

import pytest

from core.api import Action, Counted, Money
from core.api.testing import History, RiskRuleContract, an_order

SCOPES = ("contact", "account", "device", "address", "network")


def counted(orders, contacts=1):
    return Counted(orders, 0, Money(0, "CNY"), contacts)


def history(by, orders):
    return History(counted={by: counted(orders)})


class TestContract(RiskRuleContract):
    plugin = "risk.velocity"

    def settings(self, other_side):
        return {f"{scope}_orders": 3 for scope in SCOPES}

    def harmless(self):
        unknown = an_order(ip="", network="", history=History(counted={"address": counted(99), "network": counted(99)}))
        return (an_order(), unknown, *(an_order(history=history(scope, 2)) for scope in SCOPES))

    def suspicious(self):
        return (
            *(an_order(history=history(scope, 3)) for scope in SCOPES),
            an_order(history=History(counted={"device": counted(2, contacts=4)})),
            an_order(history=History(failed={"device": 6})),
        )

    async def judged(self, machine, **settings):
        await machine.save({**self.settings(None), **settings})
        return (await self.finding(machine, an_order(history=history("contact", 3)))).evidence

    @pytest.mark.parametrize(
        ("then", "score", "action"),
        [("score", 25, Action.SCORE), ("review", 0, Action.REVIEW), ("refuse", 0, Action.REFUSE)],
    )
    async def test_each_count_has_its_own_effect(self, machine, then, score, action):
        [found] = await self.judged(machine, contact_then=then, points=25, contact_minutes=7)
        assert (found.score, found.action) == (score, action)
        assert found.data == {"count": 4, "most": 3, "minutes": 7}
        assert str(found.reason) == "Orders of this contact in 7 minutes: 4, more than 3"

    async def test_a_count_that_is_off_finds_nothing(self, machine):
        assert await self.judged(machine, contact_then="off") == ()

    async def test_only_note_has_no_effect_and_says_what_it_would_have_done(self, machine):
        [found] = await self.judged(machine, contact_then="refuse", only_note=True)
        assert (found.action, found.data["would"]) == (Action.NOTE, "refuse")

    async def test_each_count_has_its_own_time(self, machine):
        asked = {}

        class Watching(History):
            async def count(self, by, within):
                asked.setdefault(by, set()).add(within)
                return counted(0)

        minutes = {f"{scope}_minutes": 10 + place for place, scope in enumerate(SCOPES)}
        await machine.save({**minutes, "contacts_then": "off"})
        await self.finding(machine, an_order(history=Watching()))
        assert asked == {scope: {timedelta(minutes=10 + place)} for place, scope in enumerate(SCOPES)}
