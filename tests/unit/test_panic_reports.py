"""What Rust prints about a panic is not shown before a command's own error message."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path

import pytest
from tests.unit.test_panics import AT_LOADING, PLAIN, panic
from tests.unit.test_tokenizer_sandbox import BACKTRACKING, written

from tunery import panics
from tunery.chat.control import ControlTokens, Marked
from tunery.chat.encode import Encoder
from tunery.cli import main as command
from tunery.errors import DataError, ModelError
from tunery.models import load, tokenizer, tokenizer_sandbox


@pytest.fixture
def refused(tmp_path: Path) -> Path:
    """A folder whose tokenizer panics when it is loaded."""
    folder = written(tmp_path / "model", AT_LOADING)
    tokenizer_sandbox.remember(folder)
    return folder


def test_loading_a_tokenizer_prints_no_report(refused: Path, capfd: pytest.CaptureFixture[str]):
    for loader in (load.load_tokenizer, tokenizer.load_light):
        with panics.hidden(), pytest.raises(ModelError, match="cannot be loaded"):
            loader(refused)
    assert capfd.readouterr().err == ""


def test_encoding_a_text_prints_no_report(tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    loaded = load.load_tokenizer(written(tmp_path / "model", BACKTRACKING))
    encoder = Encoder(loaded, ControlTokens(loaded, ""))
    with panics.hidden():
        found = encoder.encode_many([Marked("a"), Marked("a" * 64 + "!")])
        assert isinstance(found[1], DataError)
        with pytest.raises(DataError):
            encoder.encode(Marked("a" * 64 + "!"))
    assert capfd.readouterr().err == ""


def test_elsewhere_the_report_stays(refused: Path, capfd: pytest.CaptureFixture[str]):
    with pytest.raises(ModelError):
        load.load_tokenizer(refused)
    assert "panicked at" in capfd.readouterr().err


def test_a_command_shows_only_its_own_sentence(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
):
    def run(words: list[str]) -> int:
        os.write(2, b"before\n")
        with panics.native_call():
            os.write(2, b"inside\n")
            panic()
        return 0

    monkeypatch.setattr(command, "_run", run)
    assert command.main(["runs"]) == 2
    lines = capfd.readouterr().err.splitlines()
    assert lines[:2] == ["before", "inside"]
    assert lines[2].startswith("A native library crashed")
    with pytest.raises(BaseException, match="index out of bounds"):
        command.main(["runs", "--debug"])
    assert "panicked at" in capfd.readouterr().err


def test_other_output_is_passed_on_and_other_errors_too(capfd: pytest.CaptureFixture[str]):
    text = json.dumps(PLAIN)
    with panics.hidden(), pytest.raises(ValueError, match="thread"), panics.native_call():
        os.write(2, b"thread 'main' panicked at no point\n" + text.encode())
        raise ValueError("thread")
    assert capfd.readouterr().err == "thread 'main' panicked at no point\n" + text


def test_another_thread_leaves_the_stream_alone(capfd: pytest.CaptureFixture[str]):
    seen: list[bool] = []

    def work() -> None:
        with panics.hidden():
            before = os.fstat(2).st_ino
            with panics.native_call():
                seen.append(os.fstat(2).st_ino == before)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [True]
