"""Backups by plan. Each is made by a program of its own: a worker stays small and goes on with its jobs."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from core import processes
from core.backup import service
from core.jobs import Lease, Retry, every, job, ring

COMMAND = [sys.executable, str(Path(__file__).resolve().parents[2] / "server.py"), "backup", "--planned"]
HOURS = 3600


@every(60, "backup.when_due")
async def when_due(lease: Lease) -> None:
    job_id = await service.enqueue_if_due()
    if job_id is not None:
        await ring(job_id)


@job(service.TAKE, tries=3, timeout_seconds=6 * HOURS, backoff_seconds=300)
async def take(args: dict[str, Any], lease: Lease) -> None:
    with tempfile.TemporaryFile() as errors:
        process = processes.spawn(COMMAND, stdout=subprocess.DEVNULL, stderr=errors, env=os.environ.copy())
        try:
            while (code := process.poll()) is None:  # noqa: ASYNC110 - a process has no event to wait for
                await asyncio.sleep(0.2)
        finally:
            process.kill()
        if code != 0:
            errors.seek(0)
            said = errors.read().decode(errors="replace").split("\n")
            raise Retry(next((line for line in reversed(said) if line.strip()), f"it ended with {code}"))
