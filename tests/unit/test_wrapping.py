"""On a terminal, prose ends its lines at spaces; commands and paths stay whole."""

from __future__ import annotations

import io
import re
from typing import Any

import pytest
from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from tunery.cli import console, plan
from tunery.cli.wrapping import prose, wrapped
from tunery.i18n import speaking
from tunery.services.runs import Plan

WARNING = (
    "! W725 a.jsonl: not used: note. If one is needed, name it with --data.columns; otherwise pass "
    "--data.accept W725 and go on with the assistance of the documentation."
)
CHINESE = (
    "修正：如果需要其中某一列，请用 --data.columns 指定；不需要的话，加 --data.accept W725。默认值"
    "default会把这些行（note、score）全部当作assistance来处理，然后继续训练，直到结束为止。"
)


def terminal(width: int = 80) -> Console:
    return Console(file=io.StringIO(), force_terminal=True, width=width, color_system=None)


def shown(text: str, width: int = 80) -> list[str]:
    return wrapped(Text(text), width).plain.split("\n")


@pytest.mark.parametrize("width", [30, 80])
@pytest.mark.parametrize("text", [WARNING, CHINESE])
def test_a_line_has_no_more_columns_than_the_terminal_and_no_broken_word(
    text: str, width: int
) -> None:
    lines = shown(text, width)
    assert len(lines) > 1
    assert max(map(cell_len, lines)) <= width
    words = set(re.findall(r"[\x21-\x7e]+", text))
    assert set(re.findall(r"[\x21-\x7e]+", "\n".join(lines))) == words
    assert not any(line.lstrip().startswith(("，", "。", "；", "、", "）")) for line in lines)
    assert not any(line.endswith("（") for line in lines)


def test_further_lines_are_indented_as_the_first_behind_its_mark() -> None:
    assert [line[:2] for line in shown(WARNING)] == ["! ", "  ", "  "]
    assert [line[:4] for line in shown("  → " + WARNING[2:])] == ["  → ", "    ", "    "]


@pytest.mark.parametrize(
    "whole",
    [
        "tunery runs resume a-run-with-a-long-name --allow-drift data_hash",
        "/home/someone/a/folder/with/a/long/name/that/does/not/fit/on/one/line/of/a/terminal/x.jsonl",
        "--data.variables.author Somebody",
    ],
)
@pytest.mark.parametrize(
    "before", ["The run stopped before its end, so ", "运行在结束之前停止了，"]
)
def test_a_command_a_setting_and_a_path_are_never_broken(whole: str, before: str) -> None:
    text = f"{before}{before}: {whole}"
    assert any(line.endswith(whole) for line in shown(text))
    assert shown(f"  {whole}") == [f"  {whole}"]


def test_a_sentence_behind_a_command_is_wrapped() -> None:
    text = f"List them with: tunery runs list. {WARNING}"
    assert max(map(len, shown(text))) <= 80


def test_what_is_no_terminal_gets_the_text_as_it_is() -> None:
    pipe = Console(file=io.StringIO(), force_terminal=False, width=80)
    prose(pipe, WARNING)
    assert pipe.file.getvalue() == f"{WARNING}\n"  # type: ignore[attr-defined]
    here = terminal()
    prose(here, Text(WARNING))
    assert len(here.file.getvalue().splitlines()) == 3  # type: ignore[attr-defined]


def test_an_excerpt_and_its_caret_stay_lines_of_their_own() -> None:
    text = "      12 | " + "x y " * 30 + "\n         | " + " " * 90 + "^"
    assert shown(text) == text.split("\n")


@pytest.mark.parametrize("language", ["en", "zh"])
def test_warnings_errors_and_plans_fit_a_terminal(
    language: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = terminal()
    for module, name in ((console, "err"), (console, "out"), (plan, "out")):
        monkeypatch.setattr(module, name, here)
    with speaking(language):
        console.print_error(WARNING * 2, CHINESE)
        console.print_warning(CHINESE)
        plan.show(_plan())
    lines = [line.rstrip() for line in here.file.getvalue().splitlines()]  # type: ignore[attr-defined]
    assert max(map(cell_len, lines)) <= 80
    told = " ".join(" ".join(lines).split())
    assert ("about 1,775 in all epochs" if language == "en" else "约 1,775，") in told
    assert ("2,442,240 of 134,515,008 trainable (1.8 %)" in told) == (language == "en")


def _plan() -> Plan:
    memory: dict[str, Any] = dict.fromkeys(
        ("weights", "trained", "gradients", "optimizer", "activations", "logits", "others",
         "interpreter"),
        123_456_789,
    )  # fmt: skip
    return Plan(
        rows={"read": 90, "used": 90, "quarantined": 0, "filtered": {}, "train": 90, "replay": 4},
        tokens={
            "all": 1775, "trained": 516, "estimated": True, "epoch": 900, "longest": 111,
            "mean": 56.9,
        },
        steps={"all": 2, "epoch": 6, "batch_size": 16, "micro_batch_tokens": 1776},
        parameters={"trained": 2_442_240, "all": 134_515_008},
        memory=memory | {"total": 10**9, "available": 10**10, "measured": False},
        disk={"total": 10**9, "stored": 0, "free": 10**10},
        seconds=None,
        speed={"tokens_per_second": None, "from": None},
        device={"name": "cpu", "dtype": "bfloat16"},
        fits=True,
        advice="",
        remedy={},
    )  # fmt: skip
