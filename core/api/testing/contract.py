"""What every plugin must keep, whatever its kind; the contracts of the kinds are built on it.

A contract knows no protocol. The author of a plugin writes the other side, a small server that speaks it, and says
there what was sold, charged or sent; the contract breaks the line and counts.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Iterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, ClassVar

import httpx
import pytest

from core.api import Answer, CallbackRequest, Check, CheckResult, Forged
from core.api.testing.forgery import GARBAGE_CALLS, altered
from core.api.testing.loopback import Fault, Loopback
from core.api.testing.machine import OTHER_SHOPS_KEY, SHOP_KEY, Machine, of_another
from core.api.testing.shop import running
from core.hooks.http import LONGEST_SECONDS
from core.hooks.settings import fields_of

LOST = tuple(Fault)
NOTHING: tuple[Any, ...] = (type(None), Answer)
"""Answers of ``parse_callback`` after which nothing changes."""


class OtherSide(Loopback):
    """The server a plugin talks to in its tests. Derive from the one of your kind."""

    faults: ClassVar[tuple[Fault, ...]] = LOST
    """What can be made to go wrong; leave out only what your protocol cannot do."""

    def settings(self) -> Mapping[str, Any]:
        """The plugin's settings with which it talks to this server (``{"server": self.address, "key": "k1"}``)."""
        return {}

    def foreign_settings(self) -> Mapping[str, Any] | None:
        """The same for another merchant, whose key fits nothing of this server. None: every secret is changed."""
        return None


class LostAnswer:
    """``with`` this, every answer of the other side gets lost in one way. ``was_met`` tells whether it was asked."""

    def __init__(self, machine: Machine, other_side: OtherSide, fault: Fault, acts: bool) -> None:
        self.fault, self.acts = fault, acts
        self.was_met = False
        self._machine, self._other_side = machine, other_side

    def __str__(self) -> str:
        return f"{self.fault} ({'carried out' if self.acts else 'not carried out'})"

    def __enter__(self) -> None:
        self._asked = self._other_side.count()
        self._machine.hurry()
        self._other_side.fails("*", self.fault, times=None, acts=self.acts)

    def __exit__(self, *_raised: object) -> None:
        self._machine.hurry(LONGEST_SECONDS)
        self._other_side.heals()
        self.was_met = self._other_side.count() > self._asked


class Contract:
    """Derive as ``class TestContract(…)`` and set ``plugin`` to your plugin's id."""

    pytestmark = pytest.mark.contract

    plugin: ClassVar[str]
    """Its id, such as ``suppliers.acme``."""
    key: ClassVar[str] = ""
    """The key of the object to be tried, where the plugin delivers more than one."""

    @pytest.fixture
    async def other_side(self) -> AsyncIterator[Any]:
        """The server it talks to. Override: ``async with YourServer() as server: yield server``."""
        async with OtherSide() as nobody:
            yield nobody

    @pytest.fixture
    async def machine(self, pool: None, other_side: OtherSide) -> AsyncIterator[Machine]:
        """The plugin switched on, with the settings the other side asks for."""
        machine = Machine(self.plugin)
        try:
            await machine.start(self.settings(other_side))
            self.known_secrets += machine.secrets()
            yield machine
        finally:
            await machine.close()

    @pytest.fixture
    async def shop(self, machine: Machine, database: str, redis_url: str) -> AsyncIterator[httpx.AsyncClient]:
        """The whole shop as a program of its own, with only this plugin on: ``await shop.get("/x/apps.tickets/")``."""
        async with running(database, redis_url, SHOP_KEY) as browser:
            yield browser

    @asynccontextmanager
    async def in_another_shop(self, other_side: OtherSide) -> AsyncIterator[Machine]:
        """The same plugin in the shop of another merchant, with keys that fit nothing of the other side."""
        machine = Machine(self.plugin)
        try:
            ours = self.settings(other_side)
            await machine.start(ours, key=OTHER_SHOPS_KEY)
            if ours:
                await machine.save(other_side.foreign_settings() or of_another(machine.model, ours))
            self.known_secrets += machine.secrets()
            yield machine
        finally:
            await machine.close()

    @pytest.fixture(autouse=True)
    def no_secret_is_logged(self, caplog: pytest.LogCaptureFixture) -> Iterator[None]:
        """Whatever a test does: no secret setting stands in the log afterwards."""
        self.known_secrets: list[str] = []
        with caplog.at_level("DEBUG", logger="vouchsafe"):
            yield
        for secret in self.known_secrets:
            assert secret not in caplog.text, "a secret setting stands in the log"

    def settings(self, other_side: Any) -> Mapping[str, Any]:
        """The plugin's settings in these tests; by default what the other side asks for."""
        settings: Mapping[str, Any] = other_side.settings()
        return settings

    # -- for the contracts of the kinds -------------------------------------------------

    def the_one(self, objects: Mapping[str, Any]) -> Any:
        """Of what the plugin delivers, the object that is tried: the only one, or that of ``key``."""
        if self.key:
            assert self.key in objects, f"{self.plugin} delivers {sorted(objects)}, not {self.key}"
            return objects[self.key]
        assert len(objects) == 1, f"{self.plugin} delivers {sorted(objects)}; say which is tried: key = …"
        return next(iter(objects.values()))

    async def outcome(self, call: Awaitable[Any], *allowed: type[Exception], machine: Machine) -> Any:
        """The answer, or the error if it is one of those allowed. Any other error fails the test."""
        try:
            return await call
        except allowed as error:
            for secret in machine.secrets():
                assert secret not in str(error), "an error tells a secret setting"
            return error

    async def lost_answers(
        self, machine: Machine, other_side: OtherSide, *, to_questions: bool = False
    ) -> AsyncIterator[LostAnswer]:
        """Everything that can happen to an answer, after the request was carried out and without that.

        For ``to_questions`` it does not matter whether they were carried out.
        """
        for fault in other_side.faults:
            for acts in (True,) if to_questions else (True, False):
                lost = LostAnswer(machine, other_side, fault, acts)
                yield lost
                if not lost.was_met and fault is other_side.faults[0] and acts:
                    return  # it does not call anybody
                machine.forget_failures()

    # -- every plugin -------------------------------------------------------------------

    async def test_it_works_with_its_settings(self, machine: Machine) -> None:
        manifest = machine.loaded.manifest
        assert manifest is not None
        assert manifest.title["en"] and manifest.summary["en"]

    async def test_without_settings_it_waits_and_does_not_break(self, pool: None) -> None:
        machine = Machine(self.plugin)
        try:
            with_none = await self.outcome(machine.start({}), AssertionError, machine=machine)
            assert with_none is None or machine.loaded.state == "needs_settings", machine.loaded.reason
        finally:
            await machine.close()

    async def test_its_settings_have_a_form_and_keep_their_secrets(self, machine: Machine) -> None:
        plugin = machine.loaded.plugin
        assert plugin is not None
        if plugin.Settings is None:
            return
        for one in fields_of(plugin.Settings):
            assert str(one.look.title), f"the setting {one.name} has no label"
        shown = repr(machine.loaded.context)
        for secret in machine.secrets():
            assert secret not in shown

    async def test_the_test_button_says_yes_to_settings_that_work(self, machine: Machine) -> None:
        result = await _tried(machine)
        assert result is None or result.answer is Check.OK, f"{result.answer}: {result.note}"

    async def test_the_test_button_never_breaks(self, machine: Machine, other_side: OtherSide) -> None:
        async for fault in self.lost_answers(machine, other_side, to_questions=True):
            with fault:
                result = await _tried(machine)
            if result is None:
                return
            if fault.was_met:
                assert result.answer is not Check.OK, f"{fault}: it says that the settings work"
            for secret in machine.secrets():
                assert secret not in str(result.note), f"{fault}: the note tells a secret setting"

    async def test_the_test_button_tells_a_wrong_key(self, pool: None, other_side: OtherSide) -> None:
        async with self.in_another_shop(other_side) as stranger:
            result = await _tried(stranger)
            asked = other_side.count() > 0 and stranger.secrets()
        if result is not None and asked:
            assert result.answer is Check.CREDENTIALS_WRONG, f"it says {result.answer} to a wrong key"


class CallbackContract(Contract):
    """For objects that are called from outside: ``parse`` is their ``parse_callback``."""

    async def check_callback(self, parse: Any, call: CallbackRequest) -> Any:
        """A true call: gives what it says, the same each time it comes."""
        said = await parse(call)
        assert await parse(call) == said, "the same call says something else when it comes again"
        return said

    async def check_forgeries(self, parse: Any, call: CallbackRequest, true: Any) -> None:
        """Whatever is changed in a true call, it is refused, or says exactly what the true one says."""
        for what, forged in altered(call):
            try:
                said = await parse(forged)
            except Forged:
                continue
            except Exception as error:  # noqa: BLE001  whatever it is, the author must see it
                pytest.fail(f"{what}: an altered call breaks the plugin instead of being refused ({error!r})")
            assert said == true or isinstance(said, NOTHING), f"{what}: an altered call is believed"

    async def check_strangers_key(self, parse: Any, call: CallbackRequest) -> None:
        """A call signed for one merchant is nothing to another."""
        try:
            said = await parse(call)
        except Forged:
            return
        assert isinstance(said, NOTHING), "a call signed with another key is believed"

    async def check_garbage(self, parse: Any) -> None:
        for call in GARBAGE_CALLS:
            try:
                said = await parse(call)
            except Forged:
                continue
            except Exception as error:  # noqa: BLE001  whatever it is, the author must see it
                pytest.fail(f"{call.method} {call.body[:40]!r} breaks the plugin instead of being refused ({error!r})")
            assert isinstance(said, NOTHING), f"{call.method} {call.body[:40]!r} is believed"


async def _tried(machine: Machine) -> CheckResult | None:
    """What the Test button says of the settings as they stand."""
    loaded = machine.loaded
    if loaded.plugin is None or loaded.context is None or not loaded.plugin.can_check:
        return None
    result = await loaded.plugin.check(loaded.context.settings, loaded.context)
    assert isinstance(result, CheckResult), f"check() answers {result!r}"
    return result
