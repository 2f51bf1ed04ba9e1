"""`tunery chat` the way people and scripts use it."""

from __future__ import annotations

import contextlib
import fcntl
import io
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest
from tests.train import tiny
from tests.train.adapters_made import adapter, livelier, slow
from tests.waiting import PATIENCE_SECONDS

from tunery.cli.main import main


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return livelier(tiny.folder(tmp_path_factory.mktemp("base")))


@pytest.fixture(scope="module")
def trained(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return adapter(base, tmp_path_factory.mktemp("adapters") / "plain")


def ask(*words: str) -> int:
    return main(["chat", *words, "--device", "cpu", "--max-new-tokens", "8"])


def test_into_a_pipe_goes_the_answer_alone(base, capsys):
    assert ask(str(base), "--prompt", "Who are you?", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert ask(str(base), "--prompt", "Who are you?") == 0
    assert capsys.readouterr().out == told["answer"] + "\n"
    assert told["answers"][0]["tokens"] <= 8
    assert told["sampling"] == {
        "greedy": True, "temperature": 0.0, "top_p": 1.0, "top_k": 0, "repetition_penalty": 1.0,
        "seed": None,
    }  # fmt: skip


def test_a_question_comes_from_stdin_too(base, capsys, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO("Who are\nyou?\n"))
    assert ask(str(base), "--json") == 0
    assert json.loads(capsys.readouterr().out)["prompt"] == "Who are\nyou?"


def test_a_seed_repeats_an_answer_and_another_gives_another(base, capsys):
    def answer(seed: int) -> str:
        assert ask(str(base), "--prompt", "Hi", "--seed", str(seed), "--json") == 0
        return json.loads(capsys.readouterr().out)["answer"]

    assert answer(1) == answer(1) != answer(2)


def test_two_models_answer_one_question(trained, capsys):
    assert ask(str(trained), "--against", "base", "--prompt", "Hi", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert [answer["model"] for answer in told["answers"]] == [str(trained), "base"]
    assert told["answers"][0]["answer"] != told["answers"][1]["answer"]


def test_wrong_requests_have_a_sentence_and_exit_2(base, capsys, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))
    wrong = {
        ("nosuch", "--prompt", "x"): "nosuch",
        (str(base), "--prompt", "x", "--template", "chatlm"): "Did you mean chatml?",
        (str(base), "--prompt", "x", "--temperature", "-1"): "temperature",
        (
            str(base),
            "--prompt",
            "x",
            "--greedy",
            "--top-k",
            "3",
        ): "--greedy cannot be combined with --top-k",
        (str(base), "--prompt", " "): "The prompt is empty.",
        (str(base), "--json"): "The prompt is empty.",
        (str(base), "--prompt", "x", "--against", "base"): "base model itself",
        (str(base), "--prompt", "x", "--against", "nosuch"): "nosuch",
        (str(base), "--prompt", "word " * 700): "tokens",
    }
    for words, sentence in wrong.items():
        assert ask(*words) == 2, words
        told = capsys.readouterr().err
        assert sentence in told, told
    assert main(["chat", str(base), "--prompt", "x", "--max-new-tokens", "0"]) == 2
    assert main(["chat", str(base), "--prompt", "x", "--device", "cuda:99"]) == 2


_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")


class Terminal:
    """The command at a pseudo-terminal, driven as a person would."""

    def __init__(self, *words: str, home: Path) -> None:
        self.screen = ""
        environment = {**os.environ, "TUNERY_HOME": str(home), "TERM": "xterm", "COLUMNS": "80"}
        self._end, child = pty.openpty()
        fcntl.ioctl(child, termios.TIOCSWINSZ, struct.pack("4H", 24, 80, 0, 0))
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tunery", "chat", *words],
            stdin=child, stdout=child, stderr=child, env=environment, start_new_session=True,
            preexec_fn=_take_terminal,
        )  # fmt: skip
        os.close(child)

    def type(self, text: str) -> None:
        os.write(self._end, text.encode())

    def wait_for(self, pattern: str, seconds: float = PATIENCE_SECONDS) -> str:
        """Read until the pattern stands on the screen; return what came, and forget it."""
        until = time.monotonic() + seconds
        while not (found := re.search(pattern, self.screen)):
            left = until - time.monotonic()
            assert left > 0, f"{pattern!r} never came: {self.screen!r}"
            if select.select([self._end], [], [], max(left, 0))[0]:
                try:
                    text = os.read(self._end, 65536).decode(errors="replace")
                    self.screen = _ESCAPES.sub("", self.screen + text)
                except OSError:  # the other end is gone
                    assert re.search(pattern, self.screen), self.screen
        seen, self.screen = self.screen[: found.end()], self.screen[found.end() :]
        return seen

    def close(self) -> int:
        status = self.process.wait(PATIENCE_SECONDS)
        os.close(self._end)
        return status


def _take_terminal() -> None:
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def test_a_person_talks_stops_an_answer_changes_things_and_leaves(base, home, tmp_path):
    deep = slow(base, tmp_path / "deep")
    worn = adapter(deep, tmp_path / "adapter")
    terminal = Terminal(str(worn), "--max-new-tokens", "400", home=home)
    terminal.wait_for(r"greedy[^>]*\n> ")
    terminal.type("Who are you?\r")
    terminal.wait_for(r"you\?\r\n.")
    terminal.type("\x03")
    terminal.wait_for(r"stopped[^>]*\n[^\n]*> ")
    terminal.type("/max 5\r/hepl\r")
    terminal.wait_for(r"Did you mean help\?[^>]*\n> ")
    terminal.type("/against base\r")
    terminal.wait_for(r"\| base\s+greedy[^>]*\n> ")
    terminal.type("one\\\rtwo\r")
    terminal.wait_for(r"base: 5[^>]*\n> ")
    talk = tmp_path / "talk.jsonl"
    terminal.type(f"/save {talk}\r")
    terminal.wait_for(r"Saved to[^>]*\n> ")
    rows = [json.loads(line) for line in talk.read_text().splitlines()]
    assert [row["messages"][-2]["content"] for row in rows] == ["one\ntwo"] * 2
    terminal.type("/temperature 0.7\r/seed 5\r/retry\r")
    terminal.wait_for(r"base: 5[^>]*\n> ")
    terminal.type("/exit\r")
    assert terminal.close() == 0


@pytest.mark.slow
def test_ctrl_c_at_the_prompt_leaves_with_130_and_ctrl_d_with_0(base, home):
    for key, status in (("\x03", 130), ("\x04", 0)):
        terminal = Terminal(str(base), home=home)
        terminal.wait_for(r"greedy[^>]*\n> ")
        terminal.type(key)
        with contextlib.suppress(subprocess.TimeoutExpired):
            terminal.process.wait(10)
        if terminal.process.poll() is None:
            # CPython's readline misses a signal that falls between its prompt and its select,
            # until the next key: a person would press it again.
            terminal.type(key)
        assert terminal.close() == status


def test_a_stop_while_the_one_question_is_answered_keeps_what_was_said(base, home):
    environment = {**os.environ, "TUNERY_HOME": str(home)}
    process = subprocess.Popen(
        [sys.executable, "-m", "tunery", "chat", str(base), "--prompt", "Hi",
         "--max-new-tokens", "480"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment, bufsize=0,
    )  # fmt: skip
    assert process.stdout is not None
    first = process.stdout.read(1)
    process.send_signal(signal.SIGINT)
    rest, errors = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 130, errors
    assert first + rest
    assert b"Traceback" not in errors
