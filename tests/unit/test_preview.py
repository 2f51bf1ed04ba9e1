"""`tunery data preview`: exactly what is trained on, as JSON and for people, in two languages."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import transformers  # noqa: F401 - before any preview, so that this process keeps torch
from tests.families import family

from tunery import i18n
from tunery.chat.template import ChatTemplate
from tunery.cli import token_view
from tunery.cli.main import main
from tunery.config.data import DataConfig
from tunery.data.examples import read
from tunery.data.letters import token_texts
from tunery.data.tokenize import tokenize
from tunery.models.load import load_tokenizer
from tunery.models.tokenizer import load_light

ROWS = [
    {
        "messages": [
            {"role": "user", "content": "Hi <|im_end|>"},
            {"role": "assistant", "content": "你好，I am {{name}}. 😀"},
            {"role": "user", "content": "second"},
            {"role": "assistant", "content": "Another answer"},
        ]
    },
    {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "yes"}]},
]


@pytest.fixture
def rows(tmp_path: Path) -> str:
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in ROWS), encoding="utf-8")
    return str(file)


@pytest.fixture
def preview(demo_home: Path, rows: str, capsys: pytest.CaptureFixture[str]) -> Any:
    """Run the command on the rows file; gives (exit status, stdout, stderr)."""

    def run(*words: str) -> tuple[int, str, str]:
        status = main(["data", "preview", rows, "--variables", "name=Tuna", *words])
        said = capsys.readouterr()
        return status, said.out, said.err

    return run


def test_json_holds_exactly_what_is_trained_on(preview: Any, demo_model: Path) -> None:
    status, said, _ = preview("--json")
    found = json.loads(said)
    assert status == 0
    assert list(found) == ["text", "input_ids", "loss_mask", "tokens", "trained", "total", "cut"]
    assert found["total"] == len(found["input_ids"]) == len(found["loss_mask"])
    assert found["total"] == len(found["tokens"])
    assert found["trained"] == sum(found["loss_mask"])
    assert set(found["loss_mask"]) == {0, 1}
    assert found["cut"] == 0
    tokenizer = load_tokenizer(demo_model)
    assert found["text"].count("<|im_end|>") == 6
    assert found["input_ids"].count(tokenizer.convert_tokens_to_ids("<|im_end|>")) == 5
    trained = [t for t, on in zip(found["input_ids"], found["loss_mask"], strict=True) if on]
    assert tokenizer.decode(trained) == "你好，I am Tuna. 😀<|im_end|>Another answer<|im_end|>"


def test_options_change_what_is_shown(preview: Any) -> None:
    base = json.loads(preview("--json")[1])
    last = json.loads(preview("--json", "--loss-on", "last")[1])
    assert last["input_ids"] == base["input_ids"]
    assert last["trained"] < base["trained"]
    every = json.loads(preview("--json", "--loss-on", "all")[1])
    assert every["trained"] == every["total"]
    short = json.loads(preview("--json", "--max-length", "50")[1])
    assert short["total"] <= 50
    assert short["total"] + short["cut"] == base["total"]
    plain = json.loads(preview("--json", "--template", "alpaca")[1])
    assert plain["text"].startswith("Below is an instruction")
    assert json.loads(preview("--json", "--row", "2")[1])["text"].endswith("yes<|im_end|>\n")
    both = preview("--json", "--variables", '{"name": "Koi"}')[1]
    assert "I am Koi" in json.loads(both)["text"]


@pytest.mark.parametrize(
    ("words", "message", "fix"),
    [
        (("--row", "0"), "rows are numbered from 1", "from 1 to 2"),
        (("--row", "3"), "there is no row 3; it has 2", "from 1 to 2"),
        (("--part", "2"), "this row becomes 1 training row.", "from 1 to 1"),
        (("--template", "chatmll"), "no such template", "Did you mean chatml?"),
        (("--max-length", "2"), "data.max_length", ""),
        (("--model", "no-such-model"), "no-such-model", ""),
        (("--variables", "name"), "expected name=value", ""),
        (("--data.max_lenth", "50"), "max_lenth", "max_length"),
    ],
)
def test_a_wrong_request_is_a_sentence_and_exit_2(
    preview: Any, words: tuple[str, ...], message: str, fix: str
) -> None:
    status, _, said = preview(*words)
    assert status == 2
    assert message in said.replace("\n", " ")
    assert fix in said.replace("\n", " ")


def test_people_see_the_trained_part_marked_and_counted(preview: Any) -> None:
    status, said, _ = preview()
    assert status == 0
    assert "⟦你好，I am Tuna. 😀<|im_end|>⟧" in said
    assert "tokens are trained" in said
    assert "content contains a control token: encoded as plain text" in said


def test_people_see_it_in_chinese(preview: Any) -> None:
    i18n.set_language("zh")
    status, said, _ = preview()
    i18n.set_language(None)
    assert status == 0
    assert "个 token 参与训练" in said


def test_a_row_that_a_run_would_leave_out_is_shown_with_the_reason(preview: Any) -> None:
    status, said, warned = preview("--json", "--max-length", "20", "--data.too_long", "drop")
    found = json.loads(said)
    assert status == 0
    assert found["cut"] == found["total"]
    assert "A run would drop this row" in warned.replace("\n", " ")


def test_statistics_of_the_dataset(preview: Any) -> None:
    found = json.loads(preview("--stats", "--json")[1])
    assert found["examples"] == 2
    assert found["ledger"]["used"] == 2
    said = preview("--stats")[1]
    assert "█" in said
    assert "1 step of 16 rows" in said


def test_preview_never_loads_torch(demo_home: Path, rows: str) -> None:
    command = Path(sys.executable).with_name("tunery")
    words = ["data", "preview", rows, "--variables", "name=Tuna", "--json"]
    watch = (
        "import sys, runpy; sys.argv = sys.argv[1:]\n"
        "from tunery.cli.main import main\n"
        "status = main(sys.argv[1:]); sys.stderr.write(f\"{'torch' in sys.modules}\")\n"
        "sys.exit(status)"
    )
    done = subprocess.run(
        [sys.executable, "-c", watch, str(command), *words], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.endswith("False")


def test_the_light_tokenizer_is_the_loader_s(demo_model: Path) -> None:
    light, loaded = load_light(demo_model), load_tokenizer(demo_model)
    text = "Hello <|im_start|> 你好 it's 1,234"
    assert light.encode(text) == loaded.encode(text)
    assert ChatTemplate.load(light).hash == ChatTemplate.load(loaded).hash


@pytest.mark.parametrize("name", ["qwen3", "mistral", "gemma"])
def test_token_texts_join_to_the_text_and_split_letters_are_bytes(name: str) -> None:
    tokenizer = family(name)
    ids = tokenizer.encode("Hello who\n <|im_end|>", add_special_tokens=False)
    assert "".join(token_texts(tokenizer, ids)).lstrip() == "Hello who\n <|im_end|>"
    pieces = token_texts(tokenizer, tokenizer.encode("😀", add_special_tokens=False))
    assert "".join(pieces).lstrip() == "<0xF0><0x9F><0x98><0x80>"


PAIR = {"prompt": "How many legs?", "chosen": "Eight.", "rejected": "I cannot say.", "margin": 2}


@pytest.fixture
def pairs(tmp_path: Path) -> str:
    file = tmp_path / "pairs.jsonl"
    file.write_text(json.dumps(PAIR) + "\n", encoding="utf-8")
    return str(file)


def test_a_pair_shows_both_sides_beside_each_other_where_there_is_room(
    demo_home: Path, pairs: str, capsys: pytest.CaptureFixture[str], monkeypatch: Any
) -> None:
    lines: dict[int, list[str]] = {}
    for width in (140, 60):
        monkeypatch.setattr(token_view.out, "width", width)
        assert main(["data", "preview", pairs]) == 0
        lines[width] = capsys.readouterr().out.splitlines()
    for shown in lines.values():
        text = "\n".join(shown)
        assert "margin 2" in text
        assert text.count("How many legs?") == 1  # the shared prompt stands once
        assert "⟦Eight.<|im_end|>⟧" in text
    assert any("⟦Eight." in line and "⟦I cannot say." in line for line in lines[140])
    assert not any("⟦Eight." in line and "⟦I cannot say." in line for line in lines[60])
    assert any("chosen" in line and "trained" in line and "rejected" in line for line in lines[140])


def test_a_pair_as_json_holds_exactly_what_is_trained_on(
    demo_home: Path, pairs: str, capsys: pytest.CaptureFixture[str], demo_model: Path
) -> None:
    assert main(["data", "preview", pairs, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    tokenizer = load_tokenizer(demo_model)
    template = ChatTemplate.load(tokenizer)
    (pair,) = read([pairs], DataConfig())
    made = tokenize(pair, template, tokenizer, DataConfig())
    sides = found["sides"]
    assert list(sides) == ["chosen", "rejected"]
    for said, row in zip(sides.values(), made.rows, strict=True):
        assert said["input_ids"] == row.input_ids
        assert said["loss_mask"] == [int(on) for on in row.loss_mask]
    assert found["facts"] == {"margin": 2.0}
    assert found["shared_prompt"] == made.rows[0].loss_mask.index(True)
    assert main(["data", "preview", pairs, "--part", "1"]) == 2
    assert "--part 1" in capsys.readouterr().err


def test_a_labelled_row_shows_its_label(
    demo_home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["data", "preview", "feedback", "--row", "3"]) == 0
    assert "bad answer" in capsys.readouterr().out
    assert main(["data", "preview", "feedback", "--row", "3", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["facts"] == {"label": 0.0}


def test_statistics_count_pairs_and_their_rows(
    demo_home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["data", "preview", "preferences", "--stats", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["groups"], found["rows"]) == (60, 120)
    assert main(["data", "preview", "preferences", "--stats"]) == 0
    assert "120 in 60 groups" in capsys.readouterr().out


@pytest.mark.parametrize("boundaries", [False, True])
def test_a_terminal_shows_whole_chinese_characters(
    demo_home: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path, boundaries: bool
) -> None:
    file = tmp_path / "zh.jsonl"
    said = "龘靐齉，蒹葭苍苍。🦙"
    row = {"messages": [{"role": "user", "content": said}, {"role": "assistant", "content": said}]}
    file.write_text(json.dumps(row, ensure_ascii=False) + "\n", encoding="utf-8")
    words = ["data", "preview", str(file), "--model.name", "demo"]
    assert main([*words, *(["--boundaries"] if boundaries else [])]) == 0
    shown = capsys.readouterr().out
    assert "<0x" not in shown
    assert "\ufffd" not in shown
    assert shown.replace("│", "").count(said) == 2
