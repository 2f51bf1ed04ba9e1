"""A reward model outside training: scores in the chat, and every door that writes text."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.train import tiny
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from tunery.cli.main import main
from tunery.config.load import from_tokens
from tunery.errors import ConfigError, ExportError, ModelError
from tunery.models.resolve import resolve
from tunery.policy.scorer import Scorer
from tunery.services import chat, evaluate, export, runs
from tunery.train.build import _measures_forgetting
from tunery.types import Conversation, Message


@pytest.fixture(scope="module")
def reward_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole reward model as plain transformers writes it."""
    path = tmp_path_factory.mktemp("reward") / "model"
    tiny.folder(path)
    torch.manual_seed(5)
    AutoModelForSequenceClassification.from_pretrained(path, num_labels=1).save_pretrained(path)
    return path


def scores_of(said: str) -> list[float]:
    return [each["score"] for each in json.loads(said)["scores"]]


def test_the_chat_scores_answers_as_plain_transformers_does(
    reward_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    answers = ["a small model", "nobody at all, I am"]
    given = [word for answer in answers for word in ("--answer", answer)]
    request = ["chat", str(reward_model), "--prompt", "who are you", *given, "--device", "cpu"]
    assert main([*request, "--json"]) == 0
    found = scores_of(capsys.readouterr().out)
    words: Any = AutoTokenizer.from_pretrained(reward_model)
    plain = AutoModelForSequenceClassification.from_pretrained(reward_model).eval()
    exact = Scorer.load(resolve(str(reward_model)), dtype="fp32", device="cpu")
    asked = Message("user", "who are you")
    said_fp32 = exact.score([Conversation((asked, Message("assistant", a))) for a in answers])
    for answer, score, full in zip(answers, found, said_fp32, strict=True):
        said = [
            {"role": "user", "content": "who are you"},
            {"role": "assistant", "content": answer},
        ]
        ids = words.apply_chat_template(said, return_dict=True, return_tensors="pt")["input_ids"]
        with torch.no_grad():
            expected = float(plain(ids).logits)
        assert full.value == pytest.approx(expected, abs=2e-5)
        assert score == pytest.approx(expected, abs=5e-3)  # dtype auto may be bf16
    assert found[0] != found[1]
    assert main(request) == 0  # into a pipe: one line per answer
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition("\t")[2] for line in lines] == answers


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--answer", "a", "--greedy"], "--greedy has no effect on a reward model"),
        (["--answer", "a", "--against", "base"], "--against has no effect on a reward model"),
        (["--answer", " "], "An answer is empty"),
    ],
)
def test_what_a_reward_model_cannot_do_is_refused(
    reward_model: Path, options: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    if "base" in options:
        options = [str(reward_model) if word == "base" else word for word in options]
    assert main(["chat", str(reward_model), "--prompt", "who", *options]) == 2
    assert said in capsys.readouterr().err


def test_answers_are_refused_by_a_model_that_writes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    writer = tiny.folder(tmp_path / "writer")
    assert main(["chat", str(writer), "--prompt", "who", "--answer", "me"]) == 2
    assert "writes answers itself" in capsys.readouterr().err
    with pytest.raises(ModelError, match="no reward model"):
        Scorer.load(resolve(str(writer)))


def test_no_door_makes_a_reward_model_write(reward_model: Path, tmp_path: Path) -> None:
    name = str(reward_model)
    with pytest.raises(ModelError, match="scores answers and writes no text"):
        chat.serve(name)
    with pytest.raises(ModelError, match="scores answers and writes no text"):
        evaluate.start(evaluate.Wanted((name,), dataset="identity"))
    rows = tiny.chats(tmp_path / "rows.jsonl", 4)
    with pytest.raises(ModelError, match="scores answers and writes no text"):
        runs.prepare(from_tokens(["--model.name", name, "--data.train", str(rows)]))
    with pytest.raises(ExportError):
        export.export(name, tmp_path / "out", to="merged")


def test_a_conversation_beyond_the_models_limit_is_refused(reward_model: Path) -> None:
    scorer = Scorer.load(resolve(str(reward_model)), dtype="fp32", device="cpu")
    short, long = "me", "me " * 600
    said = [
        Conversation((Message("user", "who"), Message("assistant", answer)))
        for answer in (short, long)
    ]
    assert len(scorer.score(said[:1])) == 1
    with pytest.raises(Exception, match="supports at most 512"):
        scorer.score(said)


def test_prompts_to_answer_are_refused_and_forgetting_is_not_measured() -> None:
    with pytest.raises(ConfigError, match=r"evaluate\.prompts"):
        runs.prepare(
            from_tokens(["--method.type", "reward", "--data.train", "preferences",
                         "--evaluate.prompts", "Hi"])
        )  # fmt: skip
    rewarded = tiny.config(method={"type": "reward"}, evaluate={"every": "epoch"})
    assert not _measures_forgetting(rewarded)
    assert _measures_forgetting(tiny.config(evaluate={"every": "epoch"}))
