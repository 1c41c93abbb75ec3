"""Collects every text for people from code and templates into the catalogues, keeping what is translated.

python tools/messages.py           update the .po files, print what still lacks a translation
python tools/messages.py --check   change nothing; exit 1 when something is missing or left over
"""

from __future__ import annotations

import sys
from pathlib import Path

from babel.messages.catalog import Catalog

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from core.web import catalogues  # noqa: E402  found only after the line above
from core.web.catalogues import LOCALES, Domain, merged, read, write  # noqa: E402

__all__ = ["LOCALES", "Domain", "collected", "domains", "main", "merged", "read", "trouble", "write"]


def domains(root: Path = ROOT) -> list[Domain]:
    core = Domain(root / "core/web/locales", (root / "core", root / "themes", root / "server.py"), "Vouchsafe")
    plugins = [
        Domain(manifest.parent / "locales", (manifest.parent,), manifest.parent.name)
        for manifest in sorted((root / "plugins").glob("*/*/plugin.toml"))
    ]
    return [core, *plugins]


def collected(domain: Domain, root: Path = ROOT) -> Catalog:
    return catalogues.collected(domain, root)


def trouble(domain: Domain, root: Path = ROOT) -> list[str]:
    return catalogues.trouble(domain, root)


def main(arguments: list[str]) -> int:
    check = "--check" in arguments
    left = []
    for domain in domains():
        if not check:
            catalogues.update(domain, ROOT)
        left += trouble(domain)
    print("\n".join(left) or "every text is translated")
    return 1 if check and left else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
