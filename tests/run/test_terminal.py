"""The command line speaks the language of the terminal."""

import subprocess
import sys
from pathlib import Path

import pytest

from core import terminal
from tests import warm

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("environ", "language"),
    [
        ({}, ""),
        ({"LANG": "C.UTF-8"}, ""),
        ({"LANG": "en_US.UTF-8"}, "en"),
        ({"LANG": "zh_CN.UTF-8"}, "zh_CN"),
        ({"LANG": "zh_TW.UTF-8"}, "zh_CN"),
        ({"LANG": "zh_CN.UTF-8", "LC_ALL": "C"}, ""),
        ({"LANG": "C", "LC_MESSAGES": "zh_CN"}, "zh_CN"),
        ({"LANG": "../../etc"}, ""),
    ],
)
def test_the_language_of_the_terminal(environ, language):
    assert terminal.language(environ) in ({"", "en"} if language in ("", "en") else {language})


@pytest.mark.parametrize(
    ("lang", "says"), [("zh_CN.UTF-8", "更新数据表。"), ("C.UTF-8", "Bring the tables up to date.")]
)
def test_help_is_in_the_language_of_the_terminal(lang, says):
    command = [sys.executable, str(ROOT / "server.py"), "migrate", "--help"]
    environ = {"LANG": lang, "PATH": "/usr/bin:/bin", "PYTHONUTF8": "1"}
    assert says in subprocess.run(command, capture_output=True, text=True, env=environ, check=True).stdout


def test_what_the_commands_say_is_in_the_language_of_the_terminal(tmp_path):
    said = {
        ("doctor", "--audit"): "VOUCHSAFE_PORT 必须是 0 到 65535 之间的整数，而不是 'x'。",
        ("backup", "--to", "me"): "me 不是公钥。公钥以 age1 开头",
        ("restore", "/nowhere"): "没有文件 /nowhere。",
        ("import-codes", "/nowhere", "--sku", "X"): "没有文件 /nowhere。",
        ("new-plugin", "apps", "9x"): "'9x' 不能用作名称",
        ("check-theme", "nowhere"): "没有主题 nowhere：",
    }
    environ = {"LANG": "zh_CN.UTF-8", "PATH": "/usr/bin:/bin", "PYTHONUTF8": "1", "VOUCHSAFE_HOME": str(tmp_path)}
    for command, words in said.items():
        more = {"VOUCHSAFE_PORT": "x"} if command[0] == "doctor" else {}
        done = warm.run(*command, env={**environ, **more})
        assert done.returncode == 1 and f"server.py {command[0]}: {words}" in done.stderr, done.stderr
    assert [*tmp_path.iterdir()] == []


def test_a_sign_that_the_terminal_does_not_have_ends_no_command():
    command = [sys.executable, str(ROOT / "server.py"), "migrate", "--help"]
    environ = {"LANG": "zh_CN", "PATH": "/usr/bin:/bin", "PYTHONIOENCODING": "latin-1"}
    assert r"\u66f4\u65b0" in subprocess.run(command, capture_output=True, text=True, env=environ, check=True).stdout


def test_a_data_folder_in_another_character_set_is_told(tmp_path):
    home = bytes(tmp_path) + "/商店".encode("gbk")
    environ = {b"LANG": b"C.UTF-8", b"PATH": b"/usr/bin:/bin", b"PYTHONUTF8": b"1", b"VOUCHSAFE_HOME": home}
    command = [sys.executable, str(ROOT / "server.py"), "migrate"]
    done = subprocess.run(command, capture_output=True, text=True, env=environ)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert r"/\udcc9\u0335\udcea', cannot be read in the character set" in done.stderr
    assert [*tmp_path.iterdir()] == []


def test_a_report_on_a_plugin_is_in_the_language_of_the_terminal(tmp_path):
    folder = tmp_path / "plugins/apps/empty"
    folder.mkdir(parents=True)
    (folder / "plugin.toml").write_text("")
    environ = {"LANG": "zh_CN.UTF-8", "PATH": "/usr/bin:/bin", "PYTHONUTF8": "1", "VOUCHSAFE_HOME": str(tmp_path)}
    done = warm.run("check-plugin", str(folder), env=environ)
    assert done.returncode == 1 and done.stdout.startswith("apps.empty: 无法运行\n  ✗ runs     plugin.toml 可以读取\n")
    assert "插件加载成功后才能检验其约定" in done.stdout and "没有 README.md" in done.stdout
