"""What may lie where in a plugin's folder."""

from __future__ import annotations

import hashlib
from pathlib import Path

from core.hooks.manager import Loaded


class BadFolder(Exception):
    """Something in the folder would get into the way of other plugins."""


def check_folder(loaded: Loaded) -> None:
    """:raises BadFolder: a template does not stand in a folder with the plugin's own name."""
    templates = loaded.folder / "templates"
    if not templates.is_dir():
        return
    strange = sorted(path.name for path in templates.iterdir() if path.name != loaded.id)
    if strange:
        raise BadFolder(f"templates belong into templates/{loaded.id}/, not templates/{strange[0]}")


def digest(folder: Path) -> str:
    """A number that changes with every byte of a plugin's files, to compare what runs with what was meant to."""
    whole = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            content = path.read_bytes()
            whole.update(f"{path.relative_to(folder).as_posix()}\0{len(content)}\0".encode() + content)
    return whole.hexdigest()
