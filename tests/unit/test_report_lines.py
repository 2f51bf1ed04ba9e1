"""What stops a run as sentences for the page, which shows no carets."""

from __future__ import annotations

from pathlib import Path

import pytest

from tunery.config.load import from_tokens
from tunery.data.examples import read
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
