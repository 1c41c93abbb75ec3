"""Fetches the front-end files we ship from npm packages of fixed version and checks them; needs npm and a network.

    python tools/vendor.py          fetch, verify, write the files and THIRD_PARTY.md
    python tools/vendor.py icons    the same; run it after adding a name to STORE_ICONS or CONSOLE_ICONS

The files are committed: neither running nor building the shop needs Node.
"""

from __future__ import annotations

import base64
import hashlib
import re
import subprocess
import sys
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BASE = "themes/base/static/vendor/"
CONSOLE = "themes/console/static/vendor/"


@dataclass(frozen=True)
class Package:
    name: str
    version: str
    licence: str
    sha512: str
    files: dict[str, str]


PACKAGES = (
    Package(
        "htmx.org",
        "4.0.1",
        "0BSD",
        "oF7JgXhDW9UXCy/k1ZYFUQgzu/rm19ORWPSPNL91vPluB2PB9+MV55tyQdH/w7o2EAbTYUG5SDW1R60mdkdqGg==",
        {"dist/htmx.min.js": BASE + "htmx.min.js", "dist/ext/hx-sse.min.js": BASE + "hx-sse.min.js"},
    ),
    Package(
        "@picocss/pico",
        "2.1.1",
        "MIT",
        "kIDugA7Ps4U+2BHxiNHmvgPIQDWPDU4IeU6TNRdvXQM1uZX+FibqDQT2xUOnnO2yq/LUHcwnGlu1hvf4KfXnMg==",
        {"css/pico.fluid.classless.min.css": BASE + "pico.min.css"},
    ),
    Package(
        "@tabler/core",
        "1.6.1",
        "MIT",
        "lgmR9gcxRp5JlLxcmRi9Rz85JrEvH6Bz71KnlcPVSa97wtwQNjgSs3g3fxwbAlulHyRMghhIV04QUuW3pqDsIg==",
        {"dist/css/tabler.min.css": CONSOLE + "tabler.min.css"},
    ),
    Package(
        "uplot",
        "1.6.32",
        "MIT",
        "KIMVnG68zvu5XXUbC4LQEPnhwOxBuLyW1AHtpm6IKTXImkbLgkMy+jabjLgSLMasNuGGzQm/ep3tOkyTxpiQIw==",
        {"dist/uPlot.iife.min.js": CONSOLE + "uplot.min.js", "dist/uPlot.min.css": CONSOLE + "uplot.min.css"},
    ),
    Package(
        "@tabler/icons",
        "3.51.0",
        "MIT",
        "0pinvPZz7YeX+OSfxuEAbnEPWbocVXW5iU8h5lh41pYG8sZuQfpWECC980lxOT0clGIcNGn8xsBr+zKaRGdA/g==",
        {},
    ),
)

STORE_ICONS = """
alert-circle alert-triangle arrow-left arrow-right bolt box brand-wechat check chevron-down chevron-left chevron-right
circle-check circle-x clipboard clock copy credit-card device-desktop device-mobile download external-link eye eye-off
file-text flask gift hourglass info-circle key language lifebuoy lock lock-open mail menu-2 message minus moon package
phone plus printer qrcode receipt refresh search send shield-check shopping-cart star sun tag ticket trash
truck-delivery user x
""".split()
CONSOLE_ICONS = """
activity adjustments api archive arrow-down arrow-up ban barcode bell bug building-store calendar cash category
certificate chart-bar circle circle-dot clipboard-check clipboard-list code coin cpu dashboard database database-import
discount dots dots-vertical edit file file-export file-import file-spreadsheet filter fingerprint flag folder heart
heartbeat help history home id inbox link list list-check loader login logout mail-opened mail-x map-pin messages notes
packages palette password pencil percentage photo player-pause player-play player-stop plug puzzle report-money robot
rotate rss scale server settings shield sort-ascending sort-descending stack table tags terminal tool upload
user-plus users wallet webhook world
""".split()
SPRITES = {
    "themes/base/static/img/icons.svg": STORE_ICONS,
    "themes/console/static/img/icons.svg": STORE_ICONS + CONSOLE_ICONS,
}


# Pico's rules for things our pages do without, and its colours: those are the theme's. A third of it.
PICO = BASE + "pico.min.css"
LEFT_OUT = re.compile(
    r"tooltip|aria-busy|type=range|type=color|type=search|dropdown|role=group|role=search|role=switch|fieldset\[role"
    r"|dialog|modal|nav\b|figure|progress|data-theme|^@media.*(prefers-color-scheme|hover:hover)|^@supports|^@-moz"
)


class VendorError(Exception):
    pass


def main() -> int:
    written: dict[str, Package] = {}
    with tempfile.TemporaryDirectory() as folder:
        for package in PACKAGES:
            content = unpacked(fetched(package, Path(folder)))
            for source, target in package.files.items():
                write(target, dressed(target, content[source]))
                written[target] = package
            if package.name == "@tabler/icons":
                for target, names in SPRITES.items():
                    write(target, sprite(content, names))
                    written[target] = package
    write("THIRD_PARTY.md", third_party(written).encode())
    return 0


def fetched(package: Package, folder: Path) -> Path:
    """The package's tarball, after its hash was found to be the pinned one."""
    command = ["npm", "pack", f"{package.name}@{package.version}", "--silent", "--pack-destination", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    tarball = folder / done.stdout.split()[-1]
    found = base64.b64encode(hashlib.sha512(tarball.read_bytes()).digest()).decode()
    if found != package.sha512:
        raise VendorError(f"{package.name} {package.version} is not the file it was: sha512-{found}")
    return tarball


def unpacked(tarball: Path) -> dict[str, bytes]:
    with tarfile.open(tarball) as archive:
        members = [member for member in archive.getmembers() if member.isfile()]
        return {member.name.removeprefix("package/"): archive.extractfile(member).read() for member in members}


def dressed(target: str, content: bytes) -> bytes:
    """Style sheets go into the lowest cascade layer, so that any rule of ours wins. Source maps are not shipped."""
    content = content.removeprefix(b'@charset "UTF-8";')
    content = re.sub(rb"\n?(/\*# sourceMappingURL=[^*]*\*/|//# sourceMappingURL=\S*)\s*$", b"", content)
    if target == PICO:
        content = without(content.decode(), LEFT_OUT).encode()
    if target.endswith(".css"):
        content = b'@charset "UTF-8";@layer vendor{' + content + b"}\n"
    return content


def without(css: str, unwanted: re.Pattern[str]) -> str:
    """The style sheet less the rules whose every selector matches, and the @-blocks that do."""
    kept, start = [], 0
    while (brace := css.find("{", start)) >= 0:
        end, depth = brace + 1, 1
        while depth:
            depth += {"{": 1, "}": -1}.get(css[end], 0)
            end += 1
        head, body = css[start:brace], css[brace:end]
        if head.startswith("@"):
            head = "" if unwanted.search(head) else head
        else:
            head = ",".join(one for one in re.split(r",(?![^(\[]*[)\]])", head) if not unwanted.search(one))
        if head:
            kept.append(head + body)
        start = end
    return "".join(kept)


def sprite(content: dict[str, bytes], names: list[str]) -> bytes:
    symbols = []
    for name in sorted(set(names)):
        source = content[f"icons/outline/{name}.svg"].decode()
        inner = source[source.index(">", source.index("<svg")) + 1 : source.rindex("</svg>")]
        shapes = [line.strip() for line in inner.splitlines() if line.strip() and "M0 0h24v24H0z" not in line]
        symbols.append(
            f'<symbol id="{name}" viewBox="0 0 24 24" fill="none" stroke="currentColor" stroke-width="1.75" '
            f'stroke-linecap="round" stroke-linejoin="round">{"".join(shapes)}</symbol>'
        )
    head = "<!-- Tabler Icons, MIT, https://tabler.io/icons -->\n"
    return (
        f'{head}<svg xmlns="http://www.w3.org/2000/svg">\n' + "\n".join(symbols).replace(" />", "/>") + "\n</svg>\n"
    ).encode()


def write(target: str, content: bytes) -> None:
    path = ROOT / target
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    print(f"{len(content):>8}  {target}")


def third_party(written: dict[str, Package]) -> str:
    rows = [
        f"| `{target}` | {package.name} {package.version} | {package.licence} | `{digest(target)}` |"
        for target, package in sorted(written.items())
    ]
    return "\n".join(
        [
            "# Files by others",
            "",
            "Written by `tools/vendor.py` from npm packages of fixed version and hash. Style sheets are wrapped in the",
            "cascade layer `vendor`, source map links are cut off, Pico's rules for things we do without are left out,",
            "the icons are collected into one file; nothing else is changed. The licences ask that their notice is",
            "kept; it stands at the top of each file.",
            "",
            "| file | package | licence | sha256 |",
            "|---|---|---|---|",
            *rows,
            "",
        ]
    )


def digest(target: str) -> str:
    return hashlib.sha256((ROOT / target).read_bytes()).hexdigest()


if __name__ == "__main__":
    sys.exit(main())
