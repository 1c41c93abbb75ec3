"""What may lie where in a plugin's folder."""

from __future__ import annotations

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
