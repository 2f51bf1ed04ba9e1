"""Rows of which nothing is trained: check, preview, plan and run say the same."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.chat_model import make_chat_model

from tunery.cli.main import main
from tunery.config.data import DataConfig
from tunery.data.examples import read
from tunery.errors import DataError
from tunery.services import datasets


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_chat_model(tmp_path_factory.mktemp("model"))


def user() -> dict[str, Any]:
    return {"role": "user", "content": "q"}


def answer(text: str = "a", **marks: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": text, **marks}


OFF: dict[str, dict[str, Any]] = {
    "conversation": {"messages": [user(), answer(train=False)]},
    "weights": {"messages": [user(), answer(weight=0)]},
    "pair": {"prompt": [user()], "chosen": [answer(train=False)],
             "rejected": [answer("b", weight=0)]},
    "half a pair": {"prompt": [user()], "chosen": [answer()], "rejected": [answer("b", weight=0)]},
    "labelled": {"messages": [user(), answer(weight=0)], "label": True},
}  # fmt: skip
ON = {
    "conversation": {"messages": [user(), answer("x")]},
    "weights": {"messages": [user(), answer("x")]},
    "pair": {"prompt": [user()], "chosen": [answer("x")], "rejected": [answer("y")]},
    "half a pair": {"prompt": [user()], "chosen": [answer("x")], "rejected": [answer("y")]},
    "labelled": {"messages": [user(), answer("x")], "label": False},
}


def write(folder: Path, *rows: Any) -> str:
    file = folder / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(file)


@pytest.mark.parametrize("kind", list(OFF))
def test_rows_of_which_nothing_is_trained_are_refused_before_a_run(
    tmp_path: Path, kind: str
) -> None:
    name = write(tmp_path, OFF[kind], OFF[kind])
    report = datasets.check(name, DataConfig())
    assert report.refusal == "E719"
    assert not report.ok
    with pytest.raises(DataError) as error:
        read([name], DataConfig())
    assert error.value.code == "E719"


@pytest.mark.parametrize("kind", list(OFF))
def test_one_of_them_among_others_is_counted(tmp_path: Path, kind: str) -> None:
    report = datasets.check(write(tmp_path, OFF[kind], ON[kind]), DataConfig())
    assert report.ok
    assert report.groups["W734"].count == 1


@pytest.mark.parametrize(
    ("loss_on", "messages", "trains"),
    [
        ("assistant", [user(), answer(train=False), user(), answer()], True),
        ("last", [user(), answer(), user(), answer(train=False)], False),
        ("last", [user(), answer(train=True), user(), answer(train=False)], True),
        ("all", [user(), answer(train=False)], True),
        ("all", [{**user(), "train": False}, answer(train=False)], False),
        ("assistant", [{**user(), "train": True}, answer(train=False)], True),
    ],
)
def test_it_follows_loss_on(
    tmp_path: Path, loss_on: Any, messages: list[dict[str, Any]], trains: bool
) -> None:
    report = datasets.check(write(tmp_path, {"messages": messages}), DataConfig(loss_on=loss_on))
    assert report.ok is trains


@pytest.mark.parametrize("kind", ["conversation", "pair"])
def test_the_preview_does_not_blame_the_length(
    tmp_path: Path, model: Path, home: Path, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    name = write(tmp_path, OFF[kind], ON[kind])
    method = ["--method.type", "dpo"] if kind == "pair" else []
    assert main(["data", "preview", name, "--model.name", str(model), *method]) == 0
    said = capsys.readouterr()
    assert "truncated" not in said.out + said.err
    assert "max_length" not in said.err
    assert "A run would drop this row: no trained tokens." in said.err
