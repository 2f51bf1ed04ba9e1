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


def drawn(
    monkeypatch: pytest.MonkeyPatch, home, width: int, *, terminal: bool = False, name: str = NAME
) -> list[str]:
    console = Console(file=io.StringIO(), width=width, force_terminal=terminal, color_system=None)
    monkeypatch.setattr(runs, "out", console)
    run = RunStatus(name=name, folder=home, status="interrupted", num_steps=1200, step=1187,
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


MODEL = "/data/models/" + "long/" * 20 + "base"


@pytest.mark.parametrize("width", [80, 100])
def test_in_a_terminal_what_has_no_room_in_the_line_follows_below_it(
    monkeypatch, home, width
) -> None:
    head, line, *below = drawn(monkeypatch, home, width, terminal=True)
    assert head.split() == ["run", "status", "step", "loss", "validation", "started"] + (
        ["duration"] if width == 100 else []
    )
    assert "…" not in "".join([line, *below])
    more = " ".join(each.strip() for each in below)
    assert MODEL in more
    assert ("duration 30 s" in more) is (width == 80)
    assert all(len(each) <= width for each in (head, line))
    assert below[0].startswith("  ")


def test_in_a_terminal_a_name_that_leaves_no_room_has_its_own_line(monkeypatch, home) -> None:
    long = "a-name-of-sixty-four-characters-which-is-the-most-that-a-run-has"
    lines = [each.rstrip() for each in drawn(monkeypatch, home, 80, terminal=True, name=long)]
    assert len(long) == 64
    assert lines[0] == "run"
    assert lines[1].split() == ["status", "step", "loss", "validation", "started", "duration"]
    assert lines[2] == long
    assert lines[3].split()[:3] == ["interrupted", "1187/1200", "2.744"]
    assert len(lines[3]) <= 80


def test_a_terminal_with_room_has_a_line_for_each_run(monkeypatch, home) -> None:
    assert len(drawn(monkeypatch, home, 240, terminal=True)) == 2
