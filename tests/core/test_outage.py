"""What is away is told rarely, however often it is tried."""

import logging

import pytest

from core.outage import Outage

log = logging.getLogger("vouchsafe.test")


@pytest.mark.parametrize(("every", "times"), [(60.0, 1), (0.0, 4)])
def test_an_outage_is_told_at_its_time_and_its_end_once(caplog, every, times):
    outage = Outage(log, "the warehouse is away", "the warehouse is back", every)
    outage.is_over()
    for _try in range(4):
        outage.goes_on(ConnectionRefusedError())
    for _try in range(4):
        outage.is_over()
    assert caplog.messages == ["the warehouse is away: ConnectionRefusedError"] * times + ["the warehouse is back"]


def test_what_comes_and_goes_is_told_no_more_often(caplog):
    outage = Outage(log, "the warehouse is away", "the warehouse is back")
    for _try in range(4):
        outage.goes_on(OSError())
        outage.is_over()
    assert caplog.messages == ["the warehouse is away: OSError", "the warehouse is back"]
