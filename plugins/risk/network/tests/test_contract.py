import pytest
from aiohttp import web

from core.api import Action, FormError
from core.api.testing import Fault, Loopback, RiskRuleContract, an_order
from plugins.risk.network import lists
from plugins.risk.network.ranges import read

HOSTING = """# a list
203.0.113.0/25
203.0.113.128/25   , somebody's machines
198.51.100.7 ; one address
198.51.100.20-198.51.100.29
2001:db8::/32
not a network
300.1.1.1/8
"""


class Publisher(Loopback):
    def routes(self):
        return [web.get("/list.txt", self.give)]

    async def give(self, request):
        return web.Response(text="# abusers\n192.0.2.64/26\n")


class TestContract(RiskRuleContract):
    plugin = "risk.network"

    async def prepare(self, machine):
        ctx = machine.loaded.context
        await ctx.db.execute("DELETE FROM risk_network_entry")
        await ctx.db.execute("DELETE FROM risk_network_list")
        await ctx.db.transaction(lists.add_file, ctx.clock.now(), "machines", "hosting", read(HOSTING))
        await ctx.db.transaction(lists.add_file, ctx.clock.now(), "proxies", "proxy", read("198.51.100.7\n"))
        for act, value in (
            ("block", "thief@example.com"),
            ("block", "@evil.example"),
            ("block", "192.0.2.0/28"),
            ("allow", "192.0.2.200"),
            ("allow", "friend@evil.example"),
        ):
            await ctx.db.transaction(lists.add, ctx.clock.now(), act, value, "seen before")

    def harmless(self):
        return (an_order(ip="192.0.2.99"), an_order(ip="198.51.100.30"), an_order(ip=""), an_order(ip="2001:db9::"))

    def suspicious(self):
        return (
            an_order(ip="203.0.113.200"),
            an_order(ip="198.51.100.20"),
            an_order(ip="2001:db8:ffff::1"),
            an_order(contact="thief@example.com", ip=""),
            an_order(contact="someone@mail.evil.example", ip=""),
            an_order(ip="192.0.2.15"),
        )

    async def judged(self, machine, **order):
        return [
            (one.score, one.action, str(one.reason))
            for one in (await self.finding(machine, an_order(**order))).evidence
        ]

    async def test_it_says_where_it_found_somebody(self, machine):
        await self.prepare(machine)
        assert await self.judged(machine, ip="198.51.100.7") == [
            (30, Action.SCORE, "The address belongs to a hosting network: machines"),
            (50, Action.SCORE, "The address is a proxy: proxies"),
        ]
        friend = await self.judged(machine, contact="friend@evil.example", ip="")
        assert sorted(one[1] for one in friend) == [Action.ALLOW, Action.REFUSE]
        assert await self.judged(machine, ip="192.0.2.1") == [
            (0, Action.REFUSE, "The address is in 192.0.2.0/28, on your block list. seen before")
        ]

    async def test_settings_change_the_weight_and_only_note_takes_it_away(self, machine):
        await self.prepare(machine)
        await machine.save({"hosting_points": 0, "proxy_points": 100})
        assert [one[0] for one in await self.judged(machine, ip="198.51.100.7")] == [100]
        await machine.save({"only_note": True})
        found = await self.judged(machine, ip="198.51.100.7", contact="thief@example.com")
        assert [one[1] for one in found] == [Action.NOTE] * 3

    async def test_the_newest_word_about_somebody_counts(self, machine):
        await self.prepare(machine)
        ctx = machine.loaded.context
        await ctx.db.transaction(lists.add, ctx.clock.now(), "allow", "THIEF@example.com ", "it was his brother")
        assert [one[1] for one in await self.judged(machine, contact="thief@example.com", ip="")] == [Action.ALLOW]
        [entry] = [one for one in await lists.entries(ctx) if one["value"] == "thief@example.com"]
        await ctx.db.transaction(lists.remove, entry["id"])
        assert await self.judged(machine, contact="thief@example.com", ip="") == []

    async def test_a_list_is_fetched_and_what_was_there_stays_when_it_cannot_be_had(self, machine):
        await self.prepare(machine)
        ctx = machine.loaded.context
        async with Publisher() as publisher:
            await ctx.db.transaction(lists.add_by_address, "fetched", "bad", f"{publisher.address}/list.txt")
            await lists.refresh(ctx, {})
            listed = [(100, Action.SCORE, "The address is of bad repute: fetched")]
            assert await self.judged(machine, ip="192.0.2.99") == listed
            await lists.refresh(ctx, {})
            assert publisher.count() == 1
            [one] = [row for row in await lists.lists(ctx) if row["name"] == "fetched"]
            assert (one["ranges"], one["left_out"], one["error"]) == (1, 0, "")
            for fault in (Fault.ERROR, Fault.GARBAGE, Fault.CUT, Fault.HUGE):
                publisher.fails("*", fault)
                await lists.fetch(ctx, {"list": one["id"]})
                assert await ctx.db.fetchval("SELECT error <> '' FROM risk_network_list WHERE id = $1", one["id"])
                assert await self.judged(machine, ip="192.0.2.99") == listed
            await ctx.db.transaction(lists.drop, one["id"])
            assert await self.judged(machine, ip="192.0.2.99") == []


def ranges(text):
    return [(str(first), str(last)) for first, last in read(text).ranges]


def test_ranges_are_sorted_and_never_overlap():
    found = read(HOSTING)
    assert ranges(HOSTING) == [
        ("198.51.100.7", "198.51.100.7"),
        ("198.51.100.20", "198.51.100.29"),
        ("203.0.113.0", "203.0.113.255"),
        ("2001:db8::", "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff"),
    ]
    assert found.left_out == 2
    assert ranges("10.0.0.0/8\n10.1.0.0/16\n9.0.0.0-9.255.255.255\n::/0\n0.0.0.0/32") == [
        ("0.0.0.0", "0.0.0.0"),
        ("9.0.0.0", "10.255.255.255"),
        ("::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
    ]
    assert ranges("10.0.0.9-10.0.0.1\n10.0.0.1-::1") == []
    # the zone of an address is of one machine; no database keeps it
    assert ranges("fe80::1%eth0-fe80::2%eth0\nfe80::1%1") == []


@pytest.mark.parametrize(
    ("text", "understood"),
    [
        ("203.0.113.7", ("network", "203.0.113.7")),
        ("203.0.113.0/24", ("network", "203.0.113.0/24")),
        ("2001:DB8::/32", ("network", "2001:db8::/32")),
        ("Thief@Example.com", ("contact", "thief@example.com")),
        ("@Example.com", ("domain", "example.com")),
        ("example.com", ("domain", "example.com")),
        ("+86 138 0000 0000", ("contact", "8613800000000")),
    ],
)
def test_what_staff_writes_is_understood(text, understood):
    assert lists.understood(text) == understood


@pytest.mark.parametrize("text", ["", "thief", "1234", "300.1.1.1/99"])
def test_what_nobody_can_mean_is_said(text):
    with pytest.raises(FormError):
        lists.understood(text)
