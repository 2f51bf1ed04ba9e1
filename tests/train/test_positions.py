"""Rows longer than a model's positions: said before a run, and never given to the model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.chat_model import make_chat_model
from tests.train.miniatures import miniature

from tunery.cli.main import main
from tunery.decode.decoder import Decoder
from tunery.errors import EngineError
from tunery.models.facts import context_length
from tunery.services.questions import plan

LEARNED = (
    "bart", "bert", "biogpt", "camembert", "codegen", "ctrl", "electra", "gpt2", "gpt_bigcode",
    "mpt", "openai-gpt", "opt", "roberta", "roberta-prelayernorm", "xlm-roberta",
)  # fmt: skip


@pytest.mark.parametrize("kind", LEARNED)
def test_the_context_of_a_config_is_what_its_model_can_read(kind: str) -> None:
    model = miniature(kind)
    limit = context_length(model.config.to_dict())
    assert limit is not None
    with torch.no_grad():
        model(input_ids=torch.full((1, limit), 5), use_cache=False)
        with pytest.raises((IndexError, RuntimeError)):
            model(input_ids=torch.full((1, limit + 1), 5), use_cache=False)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, 512),
        ({"rope_scaling": {"rope_type": "yarn", "factor": 4.0}}, 2048),
        ({"rope_scaling": {"type": "linear", "factor": 2}}, 1024),
        (
            {
                "rope_parameters": {
                    "rope_type": "yarn",
                    "factor": 4.0,
                    "original_max_position_embeddings": 128,
                }
            },
            512,
        ),
        ({"rope_scaling": {"rope_type": "llama3", "factor": 8.0}}, 512),
        ({"rope_parameters": {"full_attention": {"rope_type": "linear", "factor": 8.0}}}, 512),
    ],
)
def test_rope_scaling_that_a_config_asks_for_counts(changes: dict[str, Any], expected: int) -> None:
    assert context_length({"max_position_embeddings": 512, **changes}) == expected


def data(folder: Path) -> Path:
    """Four short rows, and one of more than 300 tokens."""
    answers = ["yes", "no", "ja", "oui", "0123456789" * 30]
    rows = (
        {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": a}]}
        for a in answers
    )
    file = folder / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


@pytest.mark.parametrize("kind", ["OPT", "Llama"])
@pytest.mark.parametrize(
    ("too_long", "done"), [("turns", "1 truncated, 0 dropped"), ("drop", "0 truncated, 1 dropped")]
)
def test_a_plan_says_which_rows_are_longer_than_the_positions(
    tmp_path: Path, kind: str, too_long: str, done: str
) -> None:
    model = make_chat_model(tmp_path / "model", kind=kind, max_position_embeddings=64)
    words = [f"--model.name={model}", f"--data.train={data(tmp_path)}"]
    found = plan([*words, f"--data.too_long={too_long}"])
    assert found["tokens"]["longest"] <= 64
    (said,) = found["warnings"]
    assert "Rows longer than the model's 64 positions: 1 of 5" in said
    assert done in said


def test_a_length_that_was_asked_for_and_is_not_given_is_said(tmp_path: Path) -> None:
    model = make_chat_model(tmp_path / "model", max_position_embeddings=64)
    words = [f"--model.name={model}", f"--data.train={data(tmp_path)}", "--data.max_length=300"]
    found = plan(words)
    assert found["tokens"]["longest"] == 64
    assert "data.max_length is lowered from 300 to 64" in found["warnings"][0]


def test_rows_that_fit_are_not_remarked_on(tmp_path: Path) -> None:
    model = make_chat_model(tmp_path / "model", max_position_embeddings=1024)
    found = plan([f"--model.name={model}", f"--data.train={data(tmp_path)}"])
    assert found["tokens"]["longest"] > 300
    assert found["warnings"] == []


def test_answers_of_a_live_model_end_where_its_positions_do() -> None:
    decoder = Decoder(miniature("opt", max_position_embeddings=32))
    (answer,) = decoder.answer([[5] * 20], stop_ids=(), max_tokens=50)
    assert (len(answer.ids), answer.ending) == (12, "length")
    with pytest.raises(EngineError, match="at most 32"):
        decoder.answer([[5] * 32], stop_ids=(), max_tokens=1)


@pytest.mark.parametrize("kind", ["deepseek_v32", "glm_moe_dsa", "hy_v4"])
def test_a_plan_says_what_a_sparse_indexer_does_in_long_rows(tmp_path: Path, kind: str) -> None:
    model = make_chat_model(tmp_path / "model", max_position_embeddings=1024)
    settings: dict[str, Any] = {"max_position_embeddings": 1024, "index_topk": 400}
    miniature(kind, **settings).save_pretrained(model)
    words = [f"--model.name={model}", f"--data.train={data(tmp_path)}"]
    said = [text for text in plan(words)["warnings"] if "adapter" not in text]
    assert len(said) == 1
    assert said[0].startswith("In rows longer than 400 tokens, this model attends only to the 400")
    shorter = plan([*words, "--data.max_length=400"])["warnings"]
    assert [text for text in shorter if "adapter" not in text] == []


def test_a_check_with_a_model_says_which_rows_are_longer(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = make_chat_model(tmp_path / "model", max_position_embeddings=64)
    asked = ["data", "check", str(data(tmp_path)), f"--model.name={model}"]
    said = "Rows longer than the model's 64 positions: 1 of 5"
    assert main(asked) == 0
    assert said in "".join(capsys.readouterr())
    assert main([*asked, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["notes"][0].startswith(said)
    assert main([*asked, "--data.too_long=fail"]) == 2
    assert "more than data.max_length=64" in "".join(capsys.readouterr())
    assert main(asked[:3]) == 0
    assert said not in "".join(capsys.readouterr())
