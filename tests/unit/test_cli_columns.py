"""Lists in terminals of any width: names and numbers are whole, a path gives way."""

from __future__ import annotations

import io

import pytest
from rich.console import Console
from rich.text import Text

from tunery.cli import runs
from tunery.cli.columns import Column, fitted
from tunery.runs.status import RunStatus

NAME = "2026-11-27-tuna-sft"


def drawn(monkeypatch: pytest.MonkeyPatch, home, width: int) -> list[str]:
    console = Console(file=io.StringIO(), width=width)
    monkeypatch.setattr(runs, "out", console)
    run = RunStatus(name=NAME, folder=home, status="interrupted", num_steps=1200, step=1187,
                    loss=2.744, model="/data/models/" + "long/" * 20 + "base",
                    duration_seconds=30.0, started=1.0)  # fmt: skip
    console.print(runs._table([run]), crop=False, soft_wrap=True)
    return console.file.getvalue().splitlines()  # type: ignore[attr-defined]  # a StringIO


@pytest.mark.parametrize("width", [20, 40, 60, 80, 120])
def test_name_status_step_and_loss_are_whole_at_every_width(monkeypatch, home, width) -> None:
    head, line = drawn(monkeypatch, home, width)
    for whole in (NAME, "interrupted", "1187/1200", "2.744"):
        assert whole in line
    for whole in ("run", "status", "step", "loss"):
        assert whole in head.split()
    least = len(f"{NAME}  interrupted  1187/1200  2.744")
    assert len(line.rstrip()) <= max(width, least)


def test_a_path_is_shortened_before_anything_is_left_out(monkeypatch, home) -> None:
    head, line = drawn(monkeypatch, home, 110)
    assert "…" in line
    assert {"model", "validation", "started", "duration"} <= set(head.split())
    assert "…" not in drawn(monkeypatch, home, 220)[1]


def test_a_filling_column_wraps_in_what_is_left() -> None:
    console = Console(file=io.StringIO(), width=40)
    columns = [Column("name"), Column("from", gives_way=1), Column("what", fills=True)]
    row = [Text("a-long-name"), Text("built in"), Text("one two three four five six seven")]
    console.print(fitted(console, columns, [row]), crop=False, soft_wrap=True)
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]  # a StringIO
    assert lines[1].startswith("a-long-name  built in  one two")
    assert all(len(line.rstrip()) <= 40 for line in lines)
    assert " ".join(line[23:].strip() for line in lines[1:]) == str(row[2])
