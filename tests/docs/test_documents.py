"""What the documents say is there: commands, environment, files, words of the console. And the other way round."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from PIL import Image

from core.hooks.settings import fields_of, variable
from plugins.notifiers.smtp.settings import Settings as SmtpSettings
from plugins.payments.epay.settings import EpaySettings

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))

import messages  # noqa: E402

DOCS = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
OPERATOR = (ROOT / "docs" / "operator.md").read_text()
MERCHANT = (ROOT / "docs" / "merchant.md").read_text()
NAME = re.compile(r"\b(?:VOUCHSAFE_[A-Z_]*[A-Z]|DATABASE_URL|REDIS_URL)\b")

each_document = pytest.mark.parametrize("path", DOCS, ids=lambda path: path.relative_to(ROOT).as_posix())


# -- commands ---------------------------------------------------------------------------


def run_help(*arguments: str) -> str:
    command = [sys.executable, str(ROOT / "server.py"), *arguments, "--help"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@pytest.fixture(scope="module")
def commands() -> dict[str, str]:
    """Each command of server.py with its help."""
    listed = re.findall(r"^    ([a-z][a-z-]+)(?: |$)", run_help(), re.MULTILINE)
    return {name: run_help(name) for name in listed}


def uses(text: str) -> list[tuple[str, str]]:
    """Every `server.py COMMAND` of a text, with the rest of that line or code span."""
    return re.findall(r"server\.py ([a-z][a-z-]*)([^`\n|]*)", text)


@each_document
def test_every_command_and_option_that_is_told_exists(path: Path, commands: dict[str, str]):
    for name, rest in uses(path.read_text()):
        assert name in commands
        for option in re.findall(r"--[a-z-]+", rest.partition("#")[0]):
            assert option in commands[name], f"{name} {option}"


def test_every_command_is_told(commands: dict[str, str]):
    assert len(commands) >= 9
    assert {name for name, _rest in uses(OPERATOR)} == set(commands)


@each_document
def test_every_make_target_that_is_told_exists(path: Path):
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"(?:`|^|\n|none )make ([a-z]+)", path.read_text()):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


# -- the environment --------------------------------------------------------------------


def names_in_core() -> set[str]:
    sources = [ROOT / "server.py", *(ROOT / "core").rglob("*.py")]
    return {name for path in sources for name in re.findall(rf'"({NAME.pattern})"', path.read_text())}


def names_of_plugins() -> set[str]:
    plugins = {"payments.epay": EpaySettings, "notifiers.smtp": SmtpSettings}
    return {variable(id, field.name) for id, settings in plugins.items() for field in fields_of(settings)}


@each_document
def test_every_name_of_the_environment_that_is_told_is_read(path: Path):
    in_the_guide = {variable("payments.acmepay", "key")}  # its example is a plugin that the guide's own test loads
    assert set(NAME.findall(path.read_text())) <= names_in_core() | names_of_plugins() | in_the_guide


def test_every_name_that_is_read_is_told():
    told = set(re.findall(rf"^\| `({NAME.pattern})` \|", OPERATOR, re.MULTILINE))
    configured = set(NAME.findall((ROOT / "core" / "config.py").read_text()))
    assert len(configured) == 20
    assert configured <= told
    assert names_in_core() - {"VOUCHSAFE_PAYMENTS_EPAY_KEY"} == told


def test_a_name_that_nobody_reads_would_be_noticed():
    assert NAME.findall("set VOUCHSAFE_COLOUR=red, not VOUCHSAFE_<KIND>") == ["VOUCHSAFE_COLOUR"]
    assert "VOUCHSAFE_COLOUR" not in names_in_core() | names_of_plugins()


# -- words, links, pictures -------------------------------------------------------------


def test_the_merchants_guide_uses_the_words_of_the_console():
    said = {
        text
        for domain in messages.domains()
        for message in messages.read(domain, "en")
        if message.id
        for text in ([message.id] if isinstance(message.id, str) else message.id)
    }
    told = re.findall(r"(?<!\*)\*([^*\n]+(?:\n[^*\n]+)?)\*(?!\*)", MERCHANT)
    assert len(told) > 50
    assert [words for text in told if (words := " ".join(text.split())) not in said] == []


def test_the_chinese_words_of_the_guide_are_those_of_the_console():
    there = "".join(
        text
        for domain in messages.domains()
        for message in messages.read(domain, "zh_CN")
        for text in ([message.string] if isinstance(message.string, str) else message.string)
    )
    for manifest in (ROOT / "plugins").glob("*/*/plugin.toml"):
        there += tomllib.loads(manifest.read_text())["title"]["zh-CN"]
    told = re.findall(r"\(([^()a-zA-Z]*[\u4e00-\u9fff][^()]*)\)", MERCHANT)
    assert len(told) > 8
    assert [words for words in told if words not in there] == []


@each_document
def test_no_link_leads_nowhere(path: Path):
    for target in re.findall(r"\]\(([^)\s]+)\)", path.read_text()):
        if "://" not in target:
            assert (path.parent / target.partition("#")[0]).exists(), target


def test_every_decision_says_what_was_rejected():
    decisions = sorted((ROOT / "docs" / "adr").glob("*.md"))
    assert [int(path.name[:4]) for path in decisions] == list(range(1, len(decisions) + 1))
    for path in decisions:
        text = path.read_text()
        assert all(f"**{word}" in text for word in ("Decided.", "Why.", "Rejected", "Price.")), path.name
        assert len(text) < 3000, f"{path.name} is longer than half a page"


def test_the_readme_is_one_screen_with_a_small_picture():
    readme = (ROOT / "README.md").read_text()
    assert len(readme.splitlines()) <= 45
    pictures = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", readme)
    assert pictures == ["docs/images/first-sale.webp"]
    picture = ROOT / pictures[0]
    assert picture.stat().st_size <= 200 * 1024
    with Image.open(picture) as image:
        assert image.width > 1000


# -- what an operator copies ------------------------------------------------------------


def test_systemd_asks_only_the_shop_itself_to_stop():
    """By default it would end PostgreSQL too, under requests at work; `run` ends it last."""
    unit = OPERATOR.partition("```ini")[2].partition("```")[0].splitlines()
    assert "KillMode=mixed" in unit
    assert "Wants=network-online.target" in unit


def test_the_proxy_of_the_guide_starts_with_the_nginx_of_debian():
    """Older than 1.25.1, it does not know the directive `http2`."""
    server = OPERATOR.partition("```nginx")[2].partition("```")[0]
    words = [line.partition("#")[0].split() for line in server.splitlines()]
    assert ["listen", "443", "ssl", "http2;"] in words
    assert not any(line[:1] == ["http2"] for line in words)


def test_a_container_gets_the_servers_that_its_file_tells_to_name():
    compose = (ROOT / "docker" / "compose.yaml").read_text()
    environment = compose.partition("environment:")[2].partition("volumes:")[0]
    for name in NAME.findall(compose):
        assert f"{name}: ${{{name}:-" in environment
