"""A command in a terminal of another encoding, with closed streams, or without a home folder."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tunery.workers.environment import worker_env

COMMAND = [sys.executable, "-P", "-m", "tunery"]
NOBODY = """
import os, pwd, sys
os.environ.pop("HOME", None)
def unknown(*_):
    raise KeyError("uid not found")
pwd.getpwuid = unknown
from tunery.cli.main import main
sys.exit(main(sys.argv[1:]))
"""


def run(*words: str, before: str = "", **environ: str) -> subprocess.CompletedProcess[bytes]:
    shell = ["sh", "-c", f'"$@" {before}', "sh"] if before else []
    env = {**os.environ, "TUNERY_LANG": "en", **environ}
    return subprocess.run(
        [*shell, *COMMAND, *words], capture_output=True, stdin=subprocess.DEVNULL, env=env
    )


@pytest.mark.parametrize("encoding", ["latin-1", "gbk", "ascii"])
@pytest.mark.parametrize("language", ["en", "zh"])
def test_signs_that_a_terminal_lacks_are_replaced(home: Path, encoding: str, language: str) -> None:
    for words in (["models", "list"], ["runs", "list"], ["data", "list"], ["data", "check", "x"]):
        ended = run(*words, PYTHONIOENCODING=encoding, TUNERY_LANG=language)
        assert b"Traceback" not in ended.stderr, (words, ended.stderr)
        assert ended.returncode == (2 if "check" in words else 0)
        (ended.stdout + ended.stderr).decode(encoding)


def test_a_sign_gets_the_nearest_one_and_chinese_is_whole_in_gbk(home: Path) -> None:
    folder = home / "runs"
    assert not folder.exists()
    code = "from tunery.cli import streams; streams.settle(); print('1 – 2 ✓ … 你好')"
    said = {
        encoding: subprocess.run(
            [sys.executable, "-c", code], capture_output=True,
            env={**os.environ, "PYTHONIOENCODING": encoding},
        ).stdout.decode(encoding)
        for encoding in ("latin-1", "gbk", "utf-8")
    }  # fmt: skip
    assert said["latin-1"] == "1 - 2 + ... ??\n"
    assert said["gbk"] == "1 – 2 + … 你好\n"
    assert said["utf-8"] == "1 – 2 ✓ … 你好\n"


def test_json_is_whole_in_every_encoding(home: Path) -> None:
    texts = [
        json.loads(run("data", "check", "你好", "--json", PYTHONIOENCODING=encoding).stdout)
        for encoding in ("latin-1", "gbk", "utf-8")
    ]
    assert texts[0] == texts[1] == texts[2]
    assert "你好" in str(texts[0])


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["chat", "demo"], b"The prompt is empty"),
        (["chat", "demo", "--prompt", "-"], b"The prompt is empty"),
        (["runs", "delete", "nope"], b"not found in"),
        (["models", "remove", "nope"], b"fix:"),
        (["models", "allow-code", "nope"], b"fix:"),
    ],
)
def test_a_closed_standard_input_is_a_sentence(home: Path, words, sentence) -> None:
    ended = run(*words, before="<&-")
    assert b"Traceback" not in ended.stderr
    assert ended.returncode == 2
    assert sentence in ended.stderr


def test_closed_output_streams_do_not_end_a_command(home: Path) -> None:
    assert run("runs", "list", before=">&- 2>&-").returncode == 0
    assert run("data", "check", "nope", before=">&- 2>&-").returncode == 2


def test_text_on_stdin_that_is_not_text_is_a_sentence(home: Path) -> None:
    ended = subprocess.run(
        [*COMMAND, "chat", "demo"], input="你好".encode("gbk"), capture_output=True,
        env={**os.environ, "TUNERY_LANG": "en", "PYTHONIOENCODING": "utf-8"},
    )  # fmt: skip
    assert ended.returncode == 2
    assert b"The text on stdin is not UTF-8." in ended.stderr


@pytest.mark.parametrize(
    ("words", "status"),
    [
        ("models list", 0), ("data list", 0), ("runs list", 0), ("config show", 0),
        ("doctor --offline", 0), ("models resolve ~/x", 2), ("data check ~nobody/x.jsonl", 2),
        ("export nope --to adapter ~/y", 2),
    ],
)  # fmt: skip
def test_a_user_without_a_home_folder_works_with_tunery_home(home: Path, words, status) -> None:
    ended = subprocess.run([sys.executable, "-c", NOBODY, *words.split()], capture_output=True,
                           env={**os.environ, "HF_HUB_OFFLINE": "1"})  # fmt: skip
    assert b"Traceback" not in ended.stderr
    if "doctor" not in words:
        assert ended.returncode == status, ended.stderr


def test_without_any_home_the_remedy_is_named() -> None:
    environ = {k: v for k, v in os.environ.items() if k not in ("TUNERY_HOME", "HOME")}
    ended = subprocess.run([sys.executable, "-c", NOBODY, "runs", "list"], capture_output=True,
                           env={**environ, "TUNERY_LANG": "en"})  # fmt: skip
    assert ended.returncode == 2
    assert b"Set TUNERY_HOME to a folder that this user can write to." in ended.stderr


def test_a_worker_writes_utf_8_whatever_the_locale() -> None:
    assert worker_env({"LC_ALL": "zh_CN.GBK"})["PYTHONUTF8"] == "1"
