"""Wrong requests: each is answered with its sentence and exit status 2, and starts nothing."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from tests.unit.test_panics import PLAIN

from tunery.cli.main import main
from tunery.runs.folder import names


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A folder that is a model as far as anyone can tell without loading it."""
    folder = tmp_path / "model"
    folder.mkdir()
    shape = {
        "model_type": "llama", "architectures": ["LlamaForCausalLM"], "vocab_size": 300,
        "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "tie_word_embeddings": True,
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(shape))
    name, size = "model.embed_tokens.weight", 300 * 64 * 4
    header = json.dumps({name: {"dtype": "F32", "shape": [300, 64], "data_offsets": [0, size]}})
    whole = len(header).to_bytes(8, "little") + header.encode() + bytes(size)
    (folder / "model.safetensors").write_bytes(whole)
    (folder / "tokenizer.json").write_text(json.dumps(PLAIN))
    (folder / "tokenizer_config.json").write_text('{"chat_template": "x"}')
    return folder


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    file = tmp_path / "rows.jsonl"
    row = {"instruction": "Say {n}", "output": "yes"}
    file.write_text(
        "".join(json.dumps({**row, "instruction": f"Say {n}"}) + "\n" for n in range(8))
    )
    return file


def refused(capsys, *words: object) -> str:
    assert main([str(word) for word in words]) == 2
    assert names() == []
    return capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ([], "data.train is empty"),
        (["--data.train", "identiti"], "Did you mean identity?"),
        (["--data.train", "identity"], "identity: rows still hold {{"),
        (["--data.train", "ROWS", "--model.name", "no/such-model-here"], "no/such-model-here"),
        (["--data.train", "ROWS", "--model.name", "./nothing-here"], "nothing-here"),
        (["--data.train", "ROWS", "--model.template", "chatlm"], "Did you mean chatml?"),
        (["--data.train", "ROWS", "--adapter.rnk", "8"], "Did you mean"),
        (["--data.train", "ROWS", "--adapter.rank", "0"], "adapter.rank"),
        (["--data.train", "ROWS", "--data.format", "alpacca"], "Did you mean alpaca?"),
        (["--data.train", "ROWS", "--preset", "identiti"], "Did you mean identity?"),
        (
            ["--data.train", "ROWS", "--name", "../out"],
            "is not a valid run name",
        ),
        (["no-such-file.yaml"], "no-such-file.yaml"),
        (["--data.train", "ROWS", "--model.device", "cuda:0"], "no GPU"),
    ],
)
def test_a_wrong_request_is_explained(capsys, monkeypatch, rows, model, words, sentence) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    if "--model.device" in words and Path("/dev/nvidiactl").exists():
        pytest.skip("this machine has a GPU")
    words = [str(rows) if word == "ROWS" else word for word in words]
    if "--model.name" not in words and words[:1] != ["no-such-file.yaml"]:
        words += ["--model.name", str(model)]
    assert sentence in refused(capsys, "train", *words)


def test_a_run_larger_than_the_disk_is_refused_before_it_starts(capsys, rows, model) -> None:
    said = refused(
        capsys, "train", "--data.train", rows, "--model.name", model,
        "--adapter.rank", 4096, "--checkpoint.keep", 10_000,
    )  # fmt: skip
    assert "of disk" in said
    assert "checkpoint.keep" in said


def test_a_home_that_cannot_be_written_is_named(capsys, monkeypatch, tmp_path, rows, model) -> None:
    file = tmp_path / "not-a-folder"
    file.write_text("x")
    monkeypatch.setenv("TUNERY_HOME", str(file))
    said = refused(capsys, "train", "--data.train", rows, "--model.name", model)
    assert f"User ID {os.geteuid()} cannot write to {file}" in said


@pytest.mark.parametrize("command", ["show", "follow", "stop", "resume", "delete", "verify"])
def test_a_run_that_does_not_exist_is_said_by_each_command(capsys, command) -> None:
    assert "Run 'nope' not found" in refused(capsys, "runs", command, "nope")


def test_with_json_the_error_is_an_object_on_stdout(capsys) -> None:
    assert main(["runs", "show", "nope", "--json"]) == 2
    said = json.loads(capsys.readouterr().out)
    assert (said["error"], said["run"]) == ("RunError", "nope")
