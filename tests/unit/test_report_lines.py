"""What stops a run as sentences for the page, which shows no carets."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tunery.config.load import from_tokens
from tunery.data.catalog import find
from tunery.data.examples import read
from tunery.data.lint import CheckOptions, check
from tunery.data.lint.words import report_text
from tunery.errors import DataError


@pytest.mark.parametrize(
    ("content", "lines"),
    [
        (b"not json\n{broken\n", ["rows.jsonl, line 1: expected a value, found 'not json'. "
                                  "Correct the line. · 2 rows"]),
        (b"\x89PNG\r\n\x1a\n" + bytes(range(1, 256)) * 20, ["rows.jsonl: "]),
    ],
)  # fmt: skip
def test_a_refused_dataset_says_each_cause_once(home: Path, tmp_path: Path, content, lines):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(content)
    config = from_tokens([f"--data.train={path}"]).config
    with pytest.raises(DataError) as told:
        read([str(path)], config.data)
    found = told.value.as_dict()["findings"]
    assert len(found) == len(lines)
    assert all(said.startswith(line) for said, line in zip(found, lines, strict=True))


def told(path: Path, *rows: Any) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return report_text(check(find(str(path)), CheckOptions()))


def test_each_advice_stands_below_what_it_is_for(tmp_path: Path) -> None:
    numbers = [{"prompt": n, "completion": "a"} for n in range(7)]
    listed = {"prompt": ["a"], "completion": "b"}
    said = told(tmp_path / "rows.jsonl", *numbers, listed)
    lines = [line.strip() for line in said.splitlines() if "rows.jsonl" not in line]
    assert lines[0] == "field prompt: expected text, found number 0"
    assert "fix: Write it as text, or set --data.coerce.prompt text." in lines
    at = lines.index('prompt[0]: expected a message, found text "a"')
    assert lines[at - 1].startswith("fix: Write it as text, or set")
    assert "… and 2 more" in lines
    assert lines[-2].startswith("fix: Write each message as")
    assert said.count("fix: ") == 2


def test_a_message_is_counted_from_1_as_lines_are(tmp_path: Path) -> None:
    turns = [{"role": "user", "content": "q"}, {"role": "assistant", "content": None}]
    said = told(tmp_path / "rows.jsonl", {"messages": turns})
    assert "(record 1, message 2)" in said
    assert "fix: Write the content, or remove the row." in said
