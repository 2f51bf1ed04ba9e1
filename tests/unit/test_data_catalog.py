"""Naming datasets: built in, added, by path, and a LLaMA-Factory registry read without a change."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tunery.config.data import DataConfig
from tunery.data import example_set
from tunery.data.catalog import BUILTIN, find, list_datasets
from tunery.data.examples import read
from tunery.data.lint import check
from tunery.data.lint.words import report_text
from tunery.data.llamafactory import is_registry
from tunery.errors import ConfigError, DataError, TuneryError, UnknownName
from tunery.services import datasets, words
from tunery.types import Message

ROWS = '{"instruction": "q", "output": "a"}\n{"instruction": "r", "output": "b"}\n'
QUESTION = Message("user", "q")
ANSWER = Message("assistant", "a")
Write = Callable[..., Path]


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    path = tmp_path / "rows.jsonl"
    path.write_text(ROWS)
    return path


@pytest.fixture
def registry(tmp_path: Path) -> Callable[[dict[str, Any]], Path]:
    """Write a dataset_info.json; rows given as a list become a file of the entry's name."""

    def write(entries: dict[str, Any]) -> Path:
        folder = tmp_path / "lf"
        folder.mkdir()
        for name, entry in entries.items():
            content = entry.pop("rows", None)
            if content is not None:
                entry["file_name"] = f"{name}.json"
                (folder / f"{name}.json").write_text(json.dumps(content))
        (folder / "dataset_info.json").write_text(json.dumps(entries))
        return folder

    return write


@pytest.mark.parametrize("name", sorted(BUILTIN))
def test_a_built_in_set_passes_its_own_checker(name: str) -> None:
    variables = {"name": "Tuna", "author": "Ann"} if name == "identity" else {}
    examples = read([name], DataConfig(variables=variables))
    assert len(examples) == examples.ledger.read > 30
    assert examples.warnings == []


def test_the_built_in_sets_leave_the_question_of_the_demo_out() -> None:
    for name in BUILTIN:
        text = (find(name).files[0]).read_text(encoding="utf-8").lower()
        assert "capital of france" not in text
        assert "paris" not in text
        assert "法国" not in text


def test_the_identity_set_is_half_chinese_and_names_name_or_author_in_every_row() -> None:
    lines = find("identity").files[0].read_text(encoding="utf-8").splitlines()
    chinese = [line for line in lines if any("\u4e00" <= c <= "\u9fff" for c in line)]
    assert len(lines) == 90
    assert len(chinese) == 45
    assert all("{{name}}" in line or "{{author}}" in line for line in lines)


def test_an_unknown_name_offers_the_nearest() -> None:
    with pytest.raises(UnknownName) as caught:
        find("identiti")
    assert "Did you mean identity?" in caught.value.fix


def test_a_missing_file_is_no_unknown_name_but_a_missing_file(rows: Path) -> None:
    with pytest.raises(UnknownName, match="no such file") as caught:
        find(str(rows.with_name("row.jsonl")))
    assert "Did you mean rows.jsonl?" in caught.value.fix


@pytest.mark.parametrize("name", ["https://example.org/x.json", "ms:a/b", " ", "\x00"])
def test_a_name_that_is_never_read_is_refused_with_a_way_out(name: str) -> None:
    with pytest.raises(TuneryError) as caught:
        find(name)
    assert caught.value.fix


def test_a_folder_of_one_kind_is_one_dataset(tmp_path: Path) -> None:
    folder = tmp_path / "many"
    (folder / "deep").mkdir(parents=True)
    (folder / "a.jsonl").write_text(ROWS)
    (folder / "deep" / "b.json").write_text(json.dumps([json.loads(ROWS.splitlines()[0])]))
    (folder / "README.md").write_text("not rows")
    assert len(read([str(folder)], DataConfig())) == 3
    (folder / "c.csv").write_text("instruction,output\n")
    with pytest.raises(DataError, match="the folder contains several file types"):
        find(str(folder))


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="the folder contains no data files"):
        find(str(tmp_path))


def test_a_file_is_added_found_by_its_name_and_only_forgotten(rows: Path, home: Path) -> None:
    entry = datasets.add("mine", str(rows), DataConfig())
    assert entry["rows"] == 2
    assert entry["reading"] == {"format": "alpaca"}
    assert len(read(["mine"], DataConfig())) == 2
    assert "mine" in [each["name"] for each in datasets.listing()]
    with pytest.raises(DataError, match="already a dataset"):
        datasets.add("mine", str(rows), DataConfig())
    datasets.remove("mine")
    assert rows.exists()
    with pytest.raises(UnknownName):
        find("mine")


def test_a_copy_stays_when_the_original_goes_and_goes_with_its_name(rows: Path, home: Path) -> None:
    datasets.add("mine", str(rows), DataConfig(), copy=True)
    rows.unlink()
    assert len(read(["mine"], DataConfig())) == 2
    assert datasets.remove("mine")["deleted"]
    assert list((home / "datasets" / "copies").iterdir()) == []


def test_the_settings_it_was_added_with_read_it_again(tmp_path: Path) -> None:
    path = tmp_path / "odd.json"
    path.write_text(json.dumps({"items": [{"frage": "q", "antwort": 5}]}))
    config = DataConfig(
        format="alpaca",
        columns={"instruction": "frage", "output": "antwort"},
        records_at="items",
        coerce={"antwort": "text"},
    )
    datasets.add("odd", str(path), config)
    assert read(["odd"], DataConfig())[0].messages == (QUESTION, Message("assistant", "5"))


def test_a_file_that_changed_since_it_was_added_is_said(rows: Path) -> None:
    datasets.add("mine", str(rows), DataConfig())
    assert read(["mine"], DataConfig()).warnings == []
    rows.write_text(ROWS.replace("q", "Q"))
    assert [p.code for p in read(["mine"], DataConfig()).warnings] == ["W713"]


def test_a_file_that_is_gone_since_it_was_added_is_said(rows: Path) -> None:
    datasets.add("mine", str(rows), DataConfig())
    rows.unlink()
    with pytest.raises(DataError, match="no longer exists") as caught:
        read(["mine"], DataConfig())
    assert "tunery data remove mine" in str(caught.value)
    assert [each["ok"] for each in datasets.listing() if each["name"] == "mine"] == [False]


@pytest.mark.parametrize("name", ["identity", "a/b", "", ".hidden", "x" * 100])
def test_a_name_that_cannot_be_given_is_refused(name: str, rows: Path) -> None:
    with pytest.raises(DataError):
        datasets.add(name, str(rows), DataConfig())


def test_rows_that_do_not_pass_are_not_added(tmp_path: Path) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_text(ROWS + '{"instruction": "q"}\n')
    with pytest.raises(DataError, match="E301"):
        datasets.add("bad", str(path), DataConfig())


def test_a_built_in_set_stays() -> None:
    with pytest.raises(DataError, match="built in"):
        datasets.remove("identity")
    with pytest.raises(UnknownName):
        datasets.remove("nothing")


def test_a_damaged_list_of_names_is_named(home: Path) -> None:
    (home / "datasets").mkdir(parents=True)
    (home / "datasets" / "datasets.json").write_text("{")
    with pytest.raises(DataError, match=r"datasets\.json cannot be read"):
        list_datasets()


def test_a_partial_columns_block_keeps_the_other_defaults(registry: Any) -> None:
    folder = registry(
        {"one": {"rows": [{"ask": "q", "output": "a"}], "columns": {"prompt": "ask"}}}
    )
    assert read(["one"], DataConfig(catalog=folder))[0].messages == (QUESTION, ANSWER)


def test_a_partial_tags_block_keeps_the_other_defaults(registry: Any) -> None:
    turns = [{"from": "me", "value": "q"}, {"from": "gpt", "value": "a"}]
    entry = {
        "rows": [{"conversations": turns}],
        "formatting": "sharegpt",
        "tags": {"user_tag": "me"},
    }
    folder = registry({"one": entry})
    assert read(["one"], DataConfig(catalog=folder))[0].messages == (QUESTION, ANSWER)


def test_openai_entries_find_their_messages_under_either_name(registry: Any) -> None:
    turns = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
    tags = {"role_tag": "role", "content_tag": "content", "user_tag": "user"}
    folder = registry(
        {
            "a": {"rows": [{"messages": turns}], "formatting": "openai"},
            "b": {"rows": [{"conversations": turns}], "formatting": "openai"},
            "c": {
                "rows": [{"talk": turns}],
                "formatting": "sharegpt",
                "columns": {"messages": "talk"},
                "tags": tags,
            },
        }
    )
    examples = read(["a", "b", "c"], DataConfig(catalog=folder))
    assert [example.messages for example in examples] == [(QUESTION, ANSWER)] * 3


def test_an_entry_for_pretraining_is_plain_text(registry: Any) -> None:
    folder = registry({"pt": {"rows": [{"text": "hello"}], "columns": {"prompt": "text"}}})
    example = read(["pt"], DataConfig(catalog=folder))[0]
    assert example.text == "hello"


def test_a_file_beside_its_registry_is_read_by_its_entry(registry: Any) -> None:
    folder = registry(
        {
            "one": {
                "rows": [{"ask": "q", "reply": "a"}],
                "columns": {"prompt": "ask", "response": "reply"},
            }
        }
    )
    assert read([str(folder / "one.json")], DataConfig())[0].messages == (QUESTION, ANSWER)


def test_a_sample_of_an_entry_is_seeded_and_repeats_rows_where_it_is_larger(registry: Any) -> None:
    rows = [{"instruction": f"q{i}", "output": "a"} for i in range(50)]
    folder = registry(
        {"some": {"rows": rows, "num_samples": 10}, "all": {"rows": rows[:3], "num_samples": 10}}
    )
    examples = read(["some"], DataConfig(catalog=folder))
    assert len(examples) == 10
    assert str(examples.ledger).endswith("40 filtered (num_samples 40)")
    assert [examples.ref(i) for i in range(10)] == [
        read(["some"], DataConfig(catalog=folder)).ref(i) for i in range(10)
    ]
    larger = [read(["all"], DataConfig(catalog=folder)) for _ in range(2)]
    records = [[each.ref(i).record for i in range(len(each))] for each in larger]
    assert records[0] == records[1]
    assert (len(records[0]), records[0][:3]) == (10, [1, 2, 3])
    assert len(read(["all"], DataConfig(catalog=folder), purpose="evaluate")) == 3
    assert len(read(["all"], DataConfig(catalog=folder, max_samples=5))) == 5


@pytest.mark.parametrize(
    ("num_samples", "max_samples", "said", "rows"),
    [
        (3, None, "3 of 8 rows are used (num_samples).", 6),
        (12, None, "8 rows, repeated to 12 per epoch (num_samples).", 24),
        (12, 2, "2 of 8 rows are used (max_samples).", 4),
        (None, None, "*2 uses these 8 rows 2 times", 16),
    ],
)
def test_a_sample_is_taken_first_and_then_repeated_and_the_check_says_so(
    registry: Any, num_samples: int | None, max_samples: int | None, said: str, rows: int
) -> None:
    entry: dict[str, Any] = {"rows": [{"instruction": f"q{i}", "output": "a"} for i in range(8)]}
    folder = registry({"a": entry | ({"num_samples": num_samples} if num_samples else {})})
    config = DataConfig(catalog=folder, max_samples=max_samples)
    report = datasets.check("a*2", config)
    assert said in report_text(report)
    assert f"*2 uses these {rows // 2} rows 2 times: {rows} rows per epoch." in report_text(report)
    assert (report.as_dict()["rows_per_epoch"], report.as_dict()["times"]) == (rows, 2)
    examples = read(["a*2"], config)
    half = [examples.ref(i).record for i in range(rows // 2)]
    assert [examples.ref(i).record for i in range(rows)] == half * 2
    assert "*" not in report_text(datasets.check("a", config))


def test_a_sample_of_a_large_dataset_may_be_repeated(
    registry: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(example_set, "MAX_ROWS", 10)
    rows = [{"instruction": f"q{i}", "output": "a"} for i in range(8)]
    config = DataConfig(catalog=registry({"a": {"rows": rows, "num_samples": 3}}))
    assert datasets.check("a*2", config).ok  # as in a run: 6 rows, not 16
    assert len(read(["a*2"], config)) == 6


@pytest.mark.parametrize("named", ["in the catalog", "by its path"])
def test_rows_that_are_repeated_are_said_wherever_rows_are_counted(
    registry: Any, named: str
) -> None:
    rows = [{"instruction": f"q{i}", "output": "a"} for i in range(2)]
    folder = registry({"few": {"rows": rows, "num_samples": 5}, "all": {"rows": rows}})
    by_name = named == "in the catalog"
    name = "few" if by_name else str(folder / "few.json")
    config = DataConfig(catalog=folder if by_name else None)
    report = datasets.check(name, config)
    assert "2 rows, repeated to 5 per epoch (num_samples)." in report_text(report)
    assert report.as_dict()["rows_per_epoch"] == 5
    examples = read([name], config)
    assert examples.ledger.as_dict() == {
        "read": 2, "used": 2, "quarantined": 0, "filtered": {}, "repeated": 3
    }  # fmt: skip
    assert words.rows_line(examples.ledger.as_dict()) == (
        "2 rows read = 2 used + 0 set aside + 0 filtered; repeated to 5 per epoch"
    )
    assert [examples.is_repeat(i) for i in range(5)] == [False, False, True, True, True]
    twice = read(["all*2"], DataConfig(catalog=folder))
    assert (twice.ledger.used, twice.ledger.repeated) == (2, 2)
    few = datasets.check(name, DataConfig(catalog=config.catalog, max_samples=1))
    assert "1 of 2 rows are used (max_samples)." in report_text(few)
    assert "repeated" not in report_text(datasets.check("all", DataConfig(catalog=folder)))


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({"file_name": "x.json", "column": {}}, "unknown key 'column'"),
        ({"file_name": "x.json", "columns": {"promt": "x"}}, "unknown key 'promt'"),
        ({"file_name": "x.json", "tags": {"usertag": "x"}}, "unknown key 'usertag'"),
        ({"file_name": "x.json", "formatting": "share_gpt"}, "got 'share_gpt'"),
        ({"file_name": "x.json", "num_samples": 0}, "num_samples"),
    ],
)
def test_a_wrong_entry_is_refused_where_it_is_named_and_hinders_no_other(
    registry: Any, entry: dict[str, Any], words: str
) -> None:
    good = {"rows": [{"instruction": "q", "output": "a"}], "file_sha1": "0" * 40}
    folder = registry({"one": entry, "good": good})
    problems = check(find("one", catalog=folder)).problems()
    assert [problem.code for problem in problems] == ["E173"]
    assert words in str(problems[0].found)
    assert str(problems[0].fix)
    listed = {each["name"]: each["ok"] for each in datasets.listing(folder)}
    assert (listed["one"], listed["good"]) == (False, True)
    for name, config in (("good", DataConfig(catalog=folder)), (f"{folder}/good.json", None)):
        assert read([name], config or DataConfig())[0].messages == (QUESTION, ANSWER)


def test_a_file_beside_a_damaged_registry_is_read_and_that_is_said(rows: Path) -> None:
    (rows.parent / "dataset_info.json").write_text('{\n "a": }')
    examples = read([str(rows)], DataConfig())
    assert len(examples) == 2
    assert [problem.code for problem in examples.warnings] == ["W727"]
    assert "line 2" in examples.warnings[0].sentence


def test_what_hugging_face_says_about_its_own_files_lists_no_datasets(tmp_path: Path) -> None:
    described = {"features": {"text": {"dtype": "string"}}, "citation": "", "splits": {}}
    (tmp_path / "dataset_info.json").write_text(json.dumps(described))
    (tmp_path / "train.jsonl").write_text(ROWS)
    assert len(read([str(tmp_path / "train.jsonl")], DataConfig())) == 2
    assert not is_registry(tmp_path)
    with pytest.raises(DataError, match="describes a dataset and contains no rows"):
        find(str(tmp_path / "dataset_info.json"))
    with pytest.raises(ConfigError, match="does not list any"):
        find("x", catalog=tmp_path)


@pytest.mark.parametrize(
    ("entry", "code"),
    [
        ({"rows": [{"x": 1}], "columns": {"images": "images"}}, "E600"),
        ({"script_url": "scripts/mine"}, "E170"),
        ({"ms_hub_url": "a/b"}, "E171"),
        ({}, "E171"),
    ],
)
def test_what_is_not_trained_on_here_is_listed_and_refused_kindly(
    registry: Any, entry: dict[str, Any], code: str
) -> None:
    folder = registry({"one": entry})
    assert [d.name for d in list_datasets(folder)][-1] == "one"
    problems = check(find("one", catalog=folder)).problems()
    assert [p.code for p in problems] == [code]
    assert str(problems[0].fix)


def test_naming_the_format_reads_the_chosen_answers_of_a_ranking_entry(registry: Any) -> None:
    rows = [{"instruction": "q", "chosen": "a", "rejected": "b"}]
    folder = registry({"pairs": {"rows": rows, "ranking": True}})
    config = DataConfig(catalog=folder, format="alpaca", columns={"output": "chosen"})
    assert read(["pairs"], config)[0].messages == (QUESTION, ANSWER)


def test_a_registry_that_is_missing_or_broken_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"has no dataset_info\.json"):
        find("x", catalog=tmp_path)
    (tmp_path / "dataset_info.json").write_text('{\n "a": }')
    with pytest.raises(ConfigError, match="line 2"):
        find("x", catalog=tmp_path)
    with pytest.raises(DataError, match="is a list of datasets"):
        find(str(tmp_path / "dataset_info.json"))


def test_a_bare_name_of_the_hub_is_told_how_to_write_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("ann/rows", "HuggingFaceH4/ultrachat_200k", "ann/rows:one@test"):
        with pytest.raises(UnknownName) as caught:
            find(name)
        assert caught.value.fix.endswith(f"hf:{name}.")
        assert find(f"hf:{name}").source == "hub"
    with pytest.raises(UnknownName) as caught:
        find("ann/rows.jsonl")
    assert "hf:" not in caught.value.fix


def test_a_file_that_was_added_is_not_confused_with_itself_or_a_copy(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    for folder in (here, there):
        folder.mkdir()
        (folder / "heron.jsonl").write_text('{"instruction": "q", "output": "a"}\n')
    from tunery.cli.main import main

    assert main(["data", "add", "heron", str(there / "heron.jsonl")]) == 0
    monkeypatch.chdir(here)
    assert find("heron").problems == ()
    (here / "heron.jsonl").write_text('{"instruction": "q", "output": "b"}\n')
    assert [problem.code for problem in find("heron").problems] == ["W728"]
    monkeypatch.chdir(there)
    assert find("heron").problems == ()


def test_a_built_in_name_says_so_where_the_folder_has_its_own(
    registry: Any, rows: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(rows.parent)
    assert find("identity").problems == ()
    folder = registry({"identity": {"rows": [{"instruction": "q", "output": "mine"}]}})
    monkeypatch.chdir(folder)
    dataset = find("identity")
    assert dataset.source == "builtin"
    assert [problem.code for problem in dataset.problems] == ["W728"]
    assert str(dataset.problems[0].fix).endswith("--data.catalog .")
    assert len(read(["identity"], DataConfig(catalog=Path()))) == 1
    (folder / "dataset_info.json").unlink()
    fix = str(find("identity").problems[0].fix)
    assert "./identity.json" in fix
    assert len(read(["./identity.json"], DataConfig())) == 1


def test_the_list_says_how_to_look_at_an_entry_that_cannot_be_read(
    registry: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from tunery.cli.main import main

    folder = registry({"one": {"file_name": "x.json", "column": {}}})
    monkeypatch.chdir(folder.parent)
    assert main(["data", "list", "--catalog", "lf"]) == 0
    assert "data check one --catalog lf" in " ".join(capsys.readouterr().out.split())
    assert main(["data", "check", "one", "--catalog", "lf"]) == 2
    assert "E173" in capsys.readouterr().out
