"""server.py on a host whose clock is wrong: wrong_clock.py SECONDS COMMAND…

With SECONDS as ``alone:SECONDS`` the process does not go by the database's clock: the control.
"""

import sys
from datetime import datetime, timedelta
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from core import clock
from server import main

MODE, _, SECONDS = sys.argv.pop(1).rpartition(":")


class WrongDatetime(datetime):
    @classmethod
    def now(cls, tz=None):
        return datetime.now(tz) + timedelta(seconds=float(SECONDS))


clock.datetime = WrongDatetime
if MODE == "alone":
    clock.set_by = lambda away: None
sys.exit(main())
