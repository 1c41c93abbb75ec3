"""A new plugin that works, and keeps the contract of its kind, before a line of it is written."""

from __future__ import annotations

import keyword
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from string import Template

from core import VERSION
from core.hooks.manifest import FILE, KINDS, NAME
from core.hooks.specs import API
from core.refused import Refused
from core.terminal import _
from core.web import catalogues

TEMPLATES = Path(__file__).parent
WORDS = TEMPLATES / "every" / "zh_CN.po"
SUFFIX = ".tmpl"


@dataclass(frozen=True, slots=True)
class _Kind:
    """``thing`` ends the name of its class, ``files`` names the folder of templates, where it is another kind's."""

    thing: str
    summary: str
    summary_zh: str
    permissions: tuple[str, ...] = ()
    files: str = ""


ABOUT = {
    "suppliers": _Kind("Supplier", "Buys goods from a supplier.", "从供应商采购。", ("network", "codes")),
    "payments": _Kind("Method", "A way to be paid.", "一种收款方式。", ("network",)),
    "risk": _Kind("Rule", "Looks for trouble in orders.", "识别有风险的订单。", ("contacts",)),
    "promotions": _Kind("Promotion", "Makes baskets cheaper.", "让购物更优惠。"),
    "notifiers": _Kind("Notifier", "Sends the shop's messages.", "发送店铺消息。", ("network", "contacts", "codes")),
    "channels": _Kind("Channel", "Sells to other programs.", "向其他程序供货。", ("network", "codes")),
    "bridges": _Kind("Bridge", "Buys from another shop.", "从另一家店铺采购。", ("network", "codes"), "suppliers"),
    "apps": _Kind("App", "Keeps count of what is sold.", "统计售出的商品。"),
}


@dataclass(frozen=True, slots=True)
class Made:
    """What was made: ``folder`` is the plugin's own, ``repository`` the one around it, if there is one."""

    id: str
    folder: Path
    tests: Path
    repository: Path | None


def make(kind: str, name: str, folder: Path) -> Made:
    """A plugin in a folder of plugins: ``folder/<kind>/<name>``.

    :raises Refused: the name cannot be used, or something is there already.
    """
    _check_name(kind, name)
    own = folder / kind / name
    if own.exists():
        raise Refused(_("%(folder)s is there already.", folder=own))
    words = _words(kind, name, f"plugins.{kind}.{name}")
    _plugin(kind, own, words)
    _write(own / "README.md", _filled(TEMPLATES / "every" / "README.md.tmpl", words))
    _tests(kind, own / "tests", words)
    return Made(words["id"], own, own / "tests", None)


def make_repository(kind: str, name: str, folder: Path) -> Made:
    """A plugin as a repository of its own, which pip can install: ``folder`` must be empty or not there."""
    _check_name(kind, name)
    if folder.exists() and any(one.name != ".git" for one in folder.iterdir()):
        raise Refused(_("%(folder)s is not empty.", folder=folder))
    package = f"vouchsafe_{kind}_{name}"
    words = _words(kind, name, package)
    _plugin(kind, folder / package, words)
    _tests(kind, folder / "tests", words)
    repository = TEMPLATES / "repository"
    _write(folder / "pyproject.toml", _filled(repository / "pyproject.toml.tmpl", words))
    _write(folder / ".gitignore", _filled(repository / "gitignore.tmpl", words))
    readme = _filled(TEMPLATES / "every" / "README.md.tmpl", words)
    _write(folder / "README.md", readme + _filled(repository / "develop.md.tmpl", words))
    return Made(words["id"], folder / package, folder / "tests", folder)


def _check_name(kind: str, name: str) -> None:
    if kind not in KINDS:
        raise Refused(_("%(kind)s is not a kind of plugin; kinds are %(kinds)s.", kind=kind, kinds=", ".join(KINDS)))
    if not NAME.fullmatch(name) or keyword.iskeyword(name):
        raise Refused(
            _("%(name)s cannot be a name: small letters, digits and _, starting with a letter.", name=repr(name))
        )


def _words(kind: str, name: str, package: str) -> dict[str, str]:
    about = ABOUT[kind]
    title = name.replace("_", " ").capitalize()
    camel = "".join(part.capitalize() for part in name.split("_") if part)
    return {
        "id": f"{kind}.{name}",
        "kind": kind,
        "name": name,
        "Name": camel + about.thing,
        "Plugin": f"{camel}Plugin",
        "table": f"{kind}_{name}",
        "title": title,
        "summary": about.summary,
        "summary_zh": about.summary_zh,
        "permissions": ", ".join(f'"{one}"' for one in about.permissions),
        "package": package,
        "package_dashed": re.sub("[._]", "-", package),
        "api": str(API),
        "core": ".".join(VERSION.split(".")[:2]),
    }


def _plugin(kind: str, own: Path, words: Mapping[str, str]) -> None:
    templates = TEMPLATES / (ABOUT[kind].files or kind)
    for template in sorted(templates.rglob(f"*{SUFFIX}")):
        path = template.relative_to(templates)
        if path.name != f"test_contract.py{SUFFIX}":
            _write(own / path.with_suffix(""), _filled(template, words))
    _write(own / FILE, _filled(TEMPLATES / "every" / f"{FILE}{SUFFIX}", words))
    _catalogues(own)


def _catalogues(own: Path) -> None:
    domain = catalogues.Domain(own / "locales", (own,), own.name)
    found = catalogues.collected(domain, own)
    if not len(found):
        return
    known = catalogues.load(WORDS, "zh_CN")
    for locale in catalogues.LOCALES:
        catalogue = catalogues.merged(domain, locale, found)
        for message in catalogue:
            if locale == "zh_CN" and message.id and (translated := known.get(message.id)):
                message.string = translated.string
        catalogues.write(domain, locale, catalogue)


def _tests(kind: str, folder: Path, words: Mapping[str, str]) -> None:
    templates = TEMPLATES / (ABOUT[kind].files or kind)
    _write(folder / "test_contract.py", _filled(templates / f"test_contract.py{SUFFIX}", words))


def _filled(template: Path, words: Mapping[str, str]) -> str:
    return Template(template.read_text("utf-8")).substitute(words)


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")
