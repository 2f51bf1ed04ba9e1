"""Rows by page, and edits that only ever go into copies."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tunery.config.data import DataConfig
from tunery.data.registered import registered
from tunery.errors import DataError
from tunery.services.datasets import _edits, _named, _rows

ALPACA = [{"instruction": f"q{n}", "output": f"a{n}"} for n in range(1, 11)]


def lines(file: Path, rows: list[Any]) -> Path:
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


@pytest.fixture
def added(tmp_path: Path) -> str:
    file = lines(tmp_path / "mine.jsonl", ALPACA)
    _named.add("mine", str(file), DataConfig())
    return "mine"


def rows_of(name: str) -> list[dict[str, Any]]:
    return [row["values"] for row in _rows.rows_page(name, limit=200)["rows"]]


def test_pages_follow_each_other_and_know_the_total_at_the_end(added: str) -> None:
    first = _rows.rows_page(added, limit=4)
    assert [row["number"] for row in first["rows"]] == [1, 2, 3, 4]
    assert first["columns"] == ["instruction", "output"]
    last = _rows.rows_page(added, offset=8, limit=4)
    assert [row["values"]["output"] for row in last["rows"]] == ["a9", "a10"]
    assert (last["total"], last["next"]) == (10, None)


def test_search_finds_rows_after_an_offset_in_any_case(added: str) -> None:
    found = _rows.rows_page(added, query="A1", limit=1)
    assert [row["number"] for row in found["rows"]] == [1]
    again = _rows.rows_page(added, query="A1", offset=found["next"], limit=5)
    assert [row["number"] for row in again["rows"]] == [10]
    assert again["next"] is None


def test_a_row_that_is_no_json_is_shown_with_its_problem(tmp_path: Path) -> None:
    file = tmp_path / "bad.jsonl"
    file.write_text('{"text": "fine"}\n{"text": "cut\n{"text": "fine too"}\n')
    page = _rows.rows_page(str(file))
    assert [row["line"] for row in page["rows"]] == [1, 2, 3]
    assert page["rows"][1]["problem"].startswith("E106")
    assert page["rows"][1]["raw"] == '{"text": "cut'


def test_an_edit_makes_a_version_and_leaves_the_original(added: str, tmp_path: Path) -> None:
    before = (tmp_path / "mine.jsonl").read_bytes()
    change = {"row": 2, "path": ["output"], "text": "new"}
    made = _edits.edit_rows(added, [change])
    assert made == {"name": "mine-v2", "made": True, "rows": 10}
    assert rows_of("mine-v2")[1] == {"instruction": "q2", "output": "new"}
    assert (tmp_path / "mine.jsonl").read_bytes() == before
    again = _edits.edit_rows(
        "mine-v2", [{"row": 1, "delete": True}, {"after": 1, "values": ALPACA[4]}]
    )
    assert again == {"name": "mine-v2", "made": False, "rows": 10}
    assert rows_of("mine-v2")[:2] == [ALPACA[4], {"instruction": "q2", "output": "new"}]
    assert registered()["mine-v2"]["sha256"] == _named.digest(
        _rows.located("mine-v2", DataConfig())
    )


def test_an_edit_that_no_run_could_read_is_refused_and_changes_nothing(added: str) -> None:
    with pytest.raises(DataError, match="E302"):
        _edits.edit_rows(added, [{"row": 2, "path": ["output"], "text": " "}])
    assert "mine-v2" not in registered()
    with pytest.raises(DataError, match="no row 11"):
        _edits.edit_rows(added, [{"row": 11, "path": ["output"], "text": "x"}])
    with pytest.raises(DataError, match=r"no text at messages\.0"):
        _edits.edit_rows(added, [{"row": 1, "path": ["messages", 0], "text": "x"}])
    assert not list((_named.own_folder("x").parent).glob(".*"))


def test_blanks_are_counted_and_a_filled_copy_is_saved() -> None:
    found = _edits.blanks("identity")
    assert {blank["name"] for blank in found} == {"name", "author"}
    assert all(blank["places"] >= blank["rows"] > 0 for blank in found)
    with pytest.raises(DataError, match="no value entered yet"):
        _edits.fill_in("identity", {"name": "Tuna"})
    saved = _edits.fill_in("identity", {"name": "Tuna", "author": "Ada & Co"})
    assert (saved["name"], saved["rows"]) == ("identity-tuna", 90)
    assert _edits.blanks("identity-tuna") == []
    assert "Tuna, an AI assistant created by Ada & Co" in json.dumps(rows_of("identity-tuna")[0])
    chinese = _edits.fill_in("identity", {"name": "小北", "author": "陈伟"})
    assert chinese["name"] == "identity-mine"


def test_bad_rows_are_left_out_of_a_copy_and_kept_beside_it(tmp_path: Path) -> None:
    file = lines(tmp_path / "some.jsonl", [*ALPACA[:3], {"instruction": "q"}, *ALPACA[3:]])
    saved = _edits.skip_bad(str(file))
    assert saved["rows"] == 10
    assert saved["made"]["read"] == 11
    assert saved["made"]["quarantined"] == 1
    aside = Path(saved["path"]).with_name("quarantine.jsonl").read_text().splitlines()
    assert [json.loads(line)["code"] for line in aside] == ["E301"]
    assert rows_of(saved["name"]) == ALPACA
    with pytest.raises(DataError, match="there are no bad rows"):
        _edits.skip_bad(saved["name"])


def test_an_own_copy_goes_with_its_name(added: str) -> None:
    _edits.edit_rows(added, [{"row": 1, "delete": True}])
    folder = _named.own_folder("mine-v2")
    assert folder.is_dir()
    _named.remove("mine-v2")
    assert not folder.exists()
