import gzip
import hashlib
import re
from pathlib import Path

import httpx
import pytest
from litestar import Litestar

ROOT = Path(__file__).resolve().parents[2]


def address(app: Litestar, name: str, theme: str = "market") -> str:
    return app.state.themes.look(theme).static.url(name)


async def test_for_ever_under_the_hash(client: httpx.AsyncClient, app: Litestar):
    answer = await client.get(address(app, "css/shop.css"), headers={"accept-encoding": "gzip"})
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert answer.headers["content-type"] == "text/css; charset=utf-8"
    assert answer.headers["content-encoding"] == "gzip"
    plain = await client.get(address(app, "css/shop.css"), headers={"accept-encoding": "identity"})
    assert "content-encoding" not in plain.headers
    assert plain.content == answer.content == (ROOT / "themes/base/static/css/shop.css").read_bytes()


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("js/vouchsafe.js", "text/javascript; charset=utf-8"),
        ("img/icons.svg", "image/svg+xml"),
        ("vendor/htmx.min.js", "text/javascript; charset=utf-8"),
    ],
)
async def test_types(client: httpx.AsyncClient, app: Litestar, name: str, kind: str):
    assert (await client.get(address(app, name))).headers["content-type"] == kind


async def test_an_old_address_gives_the_new_file_uncached(client: httpx.AsyncClient):
    answer = await client.get("/static/market-0123456789abcdef/css/shop.css")
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-cache"


@pytest.mark.parametrize(
    "path",
    [
        "/static/market-0/../../../../etc/passwd",
        "/static/market-0/%2e%2e/%2e%2e/theme.toml",
        "/static/market-0/..%2ftheme.toml",
        "/static/market-0//etc/passwd",
        "/static/nobody-0/css/shop.css",
        "/static/../core/app.py",
        "/static/market-0/css/%00",
    ],
)
async def test_nothing_else(site: str, path: str):
    async with httpx.AsyncClient() as client:
        answer = await client.get(httpx.URL(site, raw_path=path.encode()))
    assert answer.status_code in (400, 404)


async def test_a_cookie_changes_nothing(client: httpx.AsyncClient, app: Litestar):
    await client.post("/sample/start")
    answer = await client.get(address(app, "css/shop.css"))
    assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"


def test_vendored_files_are_what_was_fetched():
    rows = re.findall(r"^\| `([^`]+)` \|.*\| `([0-9a-f]{64})` \|$", (ROOT / "THIRD_PARTY.md").read_text(), re.M)
    assert len(rows) == 8
    for name, digest in rows:
        assert hashlib.sha256((ROOT / name).read_bytes()).hexdigest() == digest, name
    folders = (ROOT / "themes").glob("*/static/vendor/*")
    assert {path.relative_to(ROOT).as_posix() for path in folders} <= {name for name, _digest in rows}


def test_every_icon_asked_for_is_in_the_sprite():
    asked = re.compile(r"icon(?:_name)?(?:\(|=)\s*\"([a-z0-9-]+)\"")
    for theme, places in {"base": ("base", "market"), "console": ("console",)}.items():
        sprite = set(
            re.findall(r'<symbol id="([a-z0-9-]+)"', (ROOT / f"themes/{theme}/static/img/icons.svg").read_text())
        )
        for place in places:
            for path in (ROOT / "themes" / place / "templates").rglob("*.html"):
                assert set(asked.findall(path.read_text())) <= sprite, path
    console = set(re.findall(r'<symbol id="([a-z0-9-]+)"', (ROOT / "themes/console/static/img/icons.svg").read_text()))
    for path in [*(ROOT / "core").rglob("*.html"), *(ROOT / "core").rglob("feature.py")]:
        names = set(asked.findall(path.read_text())) | set(
            re.findall(r'Nav\([^)]*?, "/[^"]*", "([a-z0-9-]+)"', path.read_text())
        )
        assert names <= console, path


async def test_files_that_belong_together_come_as_one(client: httpx.AsyncClient, app: Litestar):
    answer = await client.get(address(app, "shop.css"))
    assert answer.headers["content-type"] == "text/css; charset=utf-8"
    assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
    base = ROOT / "themes/base/static"
    parts = ["vendor/pico.min.css", "css/parts.css", "css/shop.css", "css/buying.css", "css/order.css"]
    files = [(base / name).read_bytes() for name in parts]
    files.insert(1, (ROOT / "themes/market/static/css/tokens.css").read_bytes())
    assert answer.content == b"\n".join(files)


async def test_the_storefront_stays_light(client: httpx.AsyncClient, app: Litestar):
    for name, most in (("shop.css", 15_000), ("shop.js", 25_000)):
        answer = await client.get(address(app, name), headers={"accept-encoding": "gzip"})
        assert int(answer.headers["content-length"]) <= most, name
    assert len(gzip.compress((ROOT / "themes/base/static/js/vouchsafe.js").read_bytes(), 9)) <= 7_000


def test_no_template_has_inline_code_or_foreign_addresses():
    bad = re.compile(
        r"<script(?![^>]*(?:\bsrc=|application/ld\+json))|<style|\sstyle=|\son[a-z]+=|hx-on|javascript:|\sjs:|=\"https?://",
        re.I,
    )
    for folder in ("core", "themes", "plugins"):
        for path in (ROOT / folder).rglob("*.html"):
            assert not bad.search(path.read_text()), path
