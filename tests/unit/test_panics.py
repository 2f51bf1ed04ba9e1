"""A panic of a native library over a file is a sentence wherever it comes up."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer

from tunery.cli import main as command
from tunery.errors import ModelError, panic_error
from tunery.models import load
from tunery.workers.warm_child import answered

PLAIN: dict[str, Any] = {
    "version": "1.0",
    "added_tokens": [],
    "model": {"type": "WordLevel", "vocab": {"a": 0, "[UNK]": 1}, "unk_token": "[UNK]"},
}
AT_LOADING = {"normalizer": {"type": "Precompiled", "precompiled_charsmap": "AAEAAEFBQUE="}}
IN_USE = {"decoder": {"type": "Strip", "content": "a", "start": 5, "stop": 5}}


def panic() -> None:
    Tokenizer.from_str(json.dumps(PLAIN | IN_USE)).decode([0])


def test_a_panic_is_no_exception_and_gets_a_sentence() -> None:
    with pytest.raises(BaseException, match="index out of bounds") as caught:
        panic()
    assert not isinstance(caught.value, Exception)
    error = panic_error(caught.value)
    assert error is not None
    assert error.message.startswith("A native library crashed: index out of bounds")
    assert panic_error(KeyboardInterrupt()) is None
    assert panic_error(ValueError()) is None


def test_a_tokenizer_that_panics_when_it_is_loaded_is_refused(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text(json.dumps(PLAIN | AT_LOADING))
    (tmp_path / "tokenizer_config.json").write_text('{"tokenizer_class": "TokenizersBackend"}')
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    with pytest.raises(ModelError, match="the tokenizer cannot be loaded"):
        load.load_tokenizer(tmp_path)


def test_a_command_and_a_question_answer_with_the_sentence(monkeypatch, capsys) -> None:
    monkeypatch.setattr(command, "_run", lambda words: panic())
    assert command.main(["runs"]) == 2
    assert "A native library crashed" in capsys.readouterr().err
    order = {"language": "en", "question": "q", "arguments": {}}
    said = answered({"q": f"{__name__}:panic"}, order)
    assert "A native library crashed" in str(said["error"])
