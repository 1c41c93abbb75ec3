"""What states of jobs, and what happened to them, are called on pages, and in which colour."""

from __future__ import annotations

from core.web.i18n import Text, _

STATES: dict[str, tuple[Text, str]] = {
    "queued": (_("Waiting"), "neutral"),
    "running": (_("Running"), "busy"),
    "done": (_("Done"), "good"),
    "failed": (_("Failed"), "bad"),
    "cancelled": (_("Cancelled"), "neutral"),
}
HAPPENED: dict[str, tuple[Text, str]] = {
    "begun": (_("Begun"), "busy"),
    "note": (_("Goes on"), "busy"),
    "again": (_("Broke off, and is tried again"), "warning"),
    "asked": (_("Asked to stop"), "warning"),
    "retried": (_("Started again"), "busy"),
    "done": (_("Done"), "good"),
    "failed": (_("Given up"), "bad"),
    "cancelled": (_("Stopped"), "warning"),
}
