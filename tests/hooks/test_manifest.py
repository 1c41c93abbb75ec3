import sys

import pytest

from core.hooks.manifest import BadManifest, discover, read

from .conftest import BROKEN

GOOD = """
id = "payments.acme"
kind = "payments"
version = "1.2.0"
api = 1
core = ">=0.1,<1"
permissions = ["network"]
[title]
en = "Acme"
zh-CN = "极致"
[summary]
en = "Pay with Acme."
"""


@pytest.fixture
def manifest(tmp_path):
    def write(text, kind="payments", name="acme"):
        path = tmp_path / kind / name / "plugin.toml"
        path.parent.mkdir(parents=True)
        path.write_text(text)
        return path

    return write


def test_a_manifest_is_read(manifest):
    found = read(manifest(GOOD))
    assert (found.id, found.kind, found.version, found.api) == ("payments.acme", "payments", "1.2.0", 1)
    assert found.title == {"en": "Acme", "zh-CN": "极致"}
    assert (found.permissions, found.default_enabled, found.test_mode_only) == (["network"], False, False)


@pytest.mark.parametrize(
    ("version", "works"), [("0.1.0", True), ("0.1.0.dev3", False), ("0.9.9", True), ("1.0.0", False), ("0.0.9", False)]
)
def test_the_range_of_shop_versions(manifest, version, works):
    assert read(manifest(GOOD)).works_with(version) is works


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ('id = "payments.acme"', 'id = "payments.other"', 'it must say id = "payments.acme"'),
        ('kind = "payments"', 'kind = "risk"', 'kind = "payments"'),
        ("api = 1", 'api = "one"', "Expected `int`, got `str` - at `$.api`"),
        ("api = 1", "", "missing required field `api`"),
        ("api = 1", "api = 1\nauthor = 'x'", "unknown field `author`"),
        ('core = ">=0.1,<1"', 'core = "soon"', "Invalid specifier"),
        ('version = "1.2.0"', 'version = "new"', "Invalid version"),
        ('["network"]', '["network", "root"]', "no such permission: root; there are network, mail"),
        ('en = "Acme"', "", "[title] needs at least a line for en"),
        ('en = "Pay with Acme."', "", "[summary] needs at least a line for en"),
        ('id = "payments.acme"', 'id = "payments', "line 2"),
    ],
)
def test_a_bad_manifest_says_what_is_wrong(manifest, before, after, told):
    with pytest.raises(BadManifest) as caught:
        read(manifest(GOOD.replace(before, after)))
    assert told in str(caught.value)


@pytest.mark.parametrize(
    ("kind", "name", "told"),
    [("toys", "acme", "the folder toys is not a kind of plugin"), ("payments", "Acme-Pay", "small letters")],
)
def test_a_folder_with_a_bad_name(manifest, kind, name, told):
    with pytest.raises(BadManifest, match=told):
        read(manifest(GOOD, kind, name))


def test_discovery_reads_everything_in_order_and_imports_nothing():
    before = set(sys.modules)
    found = discover(BROKEN)
    assert set(sys.modules) == before
    assert [one.id for one in found] == sorted(one.id for one in found)
    problems = {one.id: one.problem for one in found if one.problem}
    assert sorted(problems) == [
        "notifiers.bad_permission",
        "notifiers.bad_toml",
        "notifiers.no_title",
        "notifiers.wrong_place",
    ]
    assert problems["notifiers.bad_permission"].startswith("plugin.toml: no such permission: root")
    assert len(found) == len(list(BROKEN.glob("*/*/plugin.toml"))) > 30
