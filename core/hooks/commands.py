"""`new-plugin` and `check-plugin`, for the authors of plugins."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from core.config import Config
from core.hooks import check, scaffold
from core.hooks.runtime import ROOT
from core.refused import Refused
from core.terminal import _


def new_plugin(config: Config, args: argparse.Namespace) -> int:
    own = config.home / "plugins"
    into = Path(args.into).absolute() if args.into else own
    try:
        if into in (own, ROOT / "plugins") or _is_of_plugins(into):
            made = scaffold.make(args.kind, args.name, into)
        else:
            made = scaffold.make_repository(args.kind, args.name, into)
    except Refused as refused:
        print(f"server.py new-plugin: {refused}", file=sys.stderr)
        return 1
    facts = {
        "id": made.id,
        "folder": str(made.folder),
        "tests": str(made.tests),
        "repository": str(made.repository) if made.repository else None,
    }
    _say(args, facts, _next_steps(made))
    return 0


def _is_of_plugins(folder: Path) -> bool:
    """Whether plugins lie in it already, each below its kind."""
    return any(folder.glob("*/*/plugin.toml"))


def _next_steps(made: scaffold.Made) -> str:
    if made.repository is None:
        return _("%(id)s is made in %(folder)s\nNext: check-plugin %(folder)s", id=made.id, folder=made.folder)
    return _(
        "%(id)s is made in %(folder)s\nNext: pip install -e %(folder)s, then check-plugin %(folder)s",
        id=made.id,
        folder=made.repository,
    )


def check_plugin(config: Config, args: argparse.Namespace) -> int:
    try:
        tests = check.Tried.CONTRACT if args.contract_only else check.Tried.ALL
        reports = check.checked([Path(path) for path in args.path], tests, args.words)
    except Refused as refused:
        print(f"server.py check-plugin: {refused}", file=sys.stderr)
        return 1
    _say(args, {"plugins": [report.facts() for report in reports]}, "\n\n".join(map(str, reports)))
    return 0 if all(report.level is not None for report in reports) else 1


def _say(args: argparse.Namespace, facts: dict[str, Any], words: str) -> None:
    print(json.dumps(facts, ensure_ascii=False, indent=2) if args.json else words)
