"""What each process of a shop would carry from its start, and use once a month."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
WANTED_LATER = {"rich", "pygments", "dns", "PIL", "python_calamine", "xlsxwriter", "pytest"}
START = """
import sys, server, uvicorn
from core import app
from core.jobs import registry, worker
app.core_features(app.FEATURES)
registry.import_core()
print(*sys.modules)
"""


def test_nothing_is_loaded_before_it_is_wanted():
    started = subprocess.run([sys.executable, "-c", START], cwd=ROOT, capture_output=True, text=True, check=True)
    loaded = set(started.stdout.split())
    assert {"uvicorn", "httpx", "core.jobs.worker"} <= loaded
    assert not WANTED_LATER & loaded
