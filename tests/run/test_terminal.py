"""The command line speaks the language of the terminal."""

import subprocess
import sys
from pathlib import Path

import pytest

from core import terminal

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
