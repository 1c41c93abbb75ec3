"""``server.py check-theme`` and ``new-theme``, for people who make themes."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from core.config import SetupProblem
from core.terminal import _
from core.web import theme_check
from core.web import themes as theming
from core.web.theme_check import Report
from core.web.themes import Themes


def check_theme(themes: Themes, args: argparse.Namespace) -> int:
    """Says what is wrong with a theme; ends with 1 when something is that must not be."""
    theme_id, themes = _named(themes, args.theme)
    report = theme_check.check(themes, theme_id)
    print(json.dumps(as_json(report), ensure_ascii=False, indent=2) if args.json else as_text(report))
    return 0 if report.good else 1


def _named(themes: Themes, name: str) -> tuple[str, Themes]:
    """The theme's id; a folder that lies anywhere is looked at where it lies."""
    folder = Path(name)
    if not (folder / "theme.toml").is_file():
        if name in {theme.id for theme in themes.all()} | themes.broken().keys():
            return name, themes
        raise SetupProblem(
            _("There is no theme %(name)s, neither a folder with a theme.toml nor one that is installed.", name=name)
        )
    folder = folder.resolve()
    return folder.name, themes.beside(folder.parent)


def as_json(report: Report) -> dict[str, object]:
    return {
        "theme": report.theme,
        "good": report.good,
        "counts": report.counts(),
        "drawn": report.drawn,
        "overridden": report.overridden,
        "outdated": report.outdated,
        "findings": [
            {"level": one.level, "code": one.code, "where": one.where, "text": str(one.text)} for one in report.findings
        ],
    }


def as_text(report: Report) -> str:
    lines = [f"{one.level:8} {one.where}: {one.text} [{one.code}]" for one in report.findings]
    counts = ", ".join(f"{number} {level}" for level, number in report.counts().items()) or _("nothing found")
    drawn = _("%(number)s pages and parts drawn", number=report.drawn)
    return "\n".join([*lines, f"{report.theme}: {counts}; {drawn}."])


def new_theme(themes: Themes, args: argparse.Namespace) -> int:
    """A theme that inherits another and changes nothing yet, with the templates to change copied into it."""
    if not theming.THEME_ID.fullmatch(args.id):
        raise SetupProblem(
            _("A theme's id begins with a small letter; then small letters, digits, - and _ may follow.")
        )
    folder = Path(args.into) / args.id
    if folder.exists():
        raise SetupProblem(_("%(folder)s is there already.", folder=folder))
    try:
        parent = themes.strict(args.inherits)
        copies = {name: parent.environment.loader_chain.source(name) for name in args.copy}
    except (theming.BadTheme, theming.TemplateNotFound) as problem:
        raise SetupProblem(_("This cannot be copied: %(why)s", why=problem)) from None
    (folder / "templates").mkdir(parents=True)
    (folder / "static").mkdir()
    manifest = (
        f'id = "{args.id}"\nname = "{args.id}"\nversion = "0.1"\napi = "{theming.API}"\ninherits = "{args.inherits}"\n'
    )
    (folder / "theme.toml").write_text(manifest, "utf-8")
    for name, source in copies.items():
        path = folder / "templates" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{theme_check.from_line(name, source)}\n{source}", "utf-8")
    print(_("%(folder)s is made. Look it over with: server.py check-theme %(folder)s", folder=folder))
    return 0
