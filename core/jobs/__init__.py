"""Durable jobs: a row written in the business transaction, run at least once by some worker.

Nothing outside this package knows that arq carries the ids.
"""

from core.jobs.lease import Cancelled, GiveUp, Lease, LeaseLost, Retry
from core.jobs.queue import NewJob, enqueue, enqueue_many, ring
from core.jobs.registry import every, job

__all__ = [
    "Cancelled",
    "GiveUp",
    "Lease",
    "LeaseLost",
    "NewJob",
    "Retry",
    "enqueue",
    "enqueue_many",
    "every",
    "job",
    "ring",
]
