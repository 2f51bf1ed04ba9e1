"""A setting of ``data`` that no row made use of is named: in the check, the plan and the run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tunery.cli.main import main
from tunery.config import rules
from tunery.config.data import DataConfig
from tunery.config.load import from_tokens
from tunery.data.examples import read
from tunery.data.formats.roles import ROLES
from tunery.data.lint.report import Report
from tunery.data.lint.words import report_text
from tunery.errors import ConfigError
from tunery.services import datasets

ALPACA = [{"instruction": f"q{i}", "output": f"a{i}", "sys": "Be kind."} for i in range(4)]
CHAT = [{"messages": [{"role": "bot?", "content": "Hi {{name}}"},
                      {"role": "assistant", "content": "a"}]}]  # fmt: skip
NAMED = {"instruction": "instruction", "output": "output"}


def write(folder: Path, rows: list[dict[str, Any]], name: str = "rows.jsonl") -> str:
    (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(folder / name)


def idle(report: Report) -> list[tuple[str, str]]:
    group = report.groups.get("W732")
    return [(str(p.found), str(p.fix)) for p in group.examples] if group else []


CASES: list[tuple[dict[str, Any], str, str]] = [
    ({"columns": {**NAMED, "system": "syss"}},
     "data.columns.system: no row has a column syss, so it has no effect", "Did you mean sys?"),
    ({"parse": {"nosuch": "json"}},
     "data.parse.nosuch: no row has a column nosuch, so it has no effect",
     "Available: instruction, output, sys."),
    ({"coerce": {"outputs": "text"}},
     "data.coerce.outputs: no row has a column outputs, so it has no effect",
     "Did you mean output?"),
    ({"coerce": {"sys": "text"}},
     "data.coerce.sys: column sys is not read, so it has no effect",
     "Available: instruction, output."),
    ({"allow_empty": ["nosuch"]},
     "data.allow_empty: no row has a column nosuch, so it has no effect",
     "Available: instruction, output, sys."),
    ({"role_map": {"bot": "user"}},
     "data.role_map.bot: no message has the role bot, so it has no effect",
     "Remove it: rows of format alpaca have no roles."),
    ({"variables": {"nosuch": "x"}},
     "data.variables.nosuch: no row has the placeholder {{nosuch}}, so it has no effect",
     "Remove it: the rows have no placeholders."),
    ({"header": False}, "data.header: no file is a csv or tsv file, so it has no effect",
     "Remove the setting."),
    ({"delimiter": ";"}, "data.delimiter: no file is a csv or tsv file, so it has no effect",
     "Remove the setting."),
]  # fmt: skip


@pytest.mark.parametrize(("settings", "found", "fix"), CASES)
def test_a_setting_without_effect_is_named(
    tmp_path: Path, settings: dict[str, Any], found: str, fix: str
) -> None:
    name = write(tmp_path, ALPACA)
    config = DataConfig(**settings)
    report = datasets.check(name, config)
    assert report.ok
    assert idle(report) == [(found, fix)]
    said = [(str(w.found), str(w.fix)) for w in read([name], config).warnings if w.code == "W732"]
    assert said == [(found, fix)]
    silent = config.model_copy(update={"accept": ["W732"]})
    assert idle(datasets.check(name, silent)) == []


def test_a_setting_that_another_dataset_uses_is_not_named(tmp_path: Path) -> None:
    plain = write(tmp_path, ALPACA)
    other = write(tmp_path, CHAT, "chat.jsonl")
    config = DataConfig(role_map={"bot?": "user"}, variables={"name": "Tuna", "nome": "x"})
    said = [str(w.found) for w in read([plain, other], config).warnings if w.code == "W732"]
    assert said == ["data.variables.nome: no row has the placeholder {{nome}}, so it has no effect"]
    reports = [datasets.check(each, config) for each in (plain, other)]
    assert [len(idle(report)) for report in reports] == [3, 1]
    datasets.only_common(reports)
    assert [len(idle(report)) for report in reports] == [1, 1]
    assert idle(reports[1])[0][1] == "Did you mean name?"


@pytest.mark.parametrize("column", ["messages", "conversations"])
def test_roles_and_placeholders_that_are_used_are_seen(tmp_path: Path, column: str) -> None:
    turns = {"messages": CHAT[0]["messages"],
             "conversations": [{"from": "bot?", "value": "Hi {{ name }}"},
                               {"from": "gpt", "value": "a"}]}[column]  # fmt: skip
    name = write(tmp_path, [{column: turns}])
    config = DataConfig(role_map={"bot?": "user"}, variables={"name": "x"})
    assert idle(datasets.check(name, config)) == []
    written = write(tmp_path, [{column: json.dumps(turns)}], "text.jsonl")
    config = DataConfig(role_map={"bot?": "user"}, parse={column: "json"}, variables={"name": "x"})
    assert idle(datasets.check(written, config)) == []


def test_a_role_that_is_mapped_is_mapped_in_every_row(tmp_path: Path) -> None:
    turns = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
    name = write(tmp_path, [{"messages": turns}])
    config = DataConfig(role_map={"user": "assistant", "assistant": "user"})
    (example,) = read([name], config)
    assert [m.role for m in example.messages] == ["assistant", "user"]  # pyright: ignore


def test_a_role_that_does_not_exist_is_refused_by_its_setting() -> None:
    with pytest.raises(ConfigError, match=r"data.role_map.a: 'robot' is not a role") as error:
        from_tokens(["--data.role_map.a", "robot"])
    assert error.value.fix == ""
    with pytest.raises(ConfigError) as error:
        from_tokens(["--data.role_map.a", "asistant"])
    assert error.value.fix == "Did you mean assistant?"
    assert set(rules.ROLES) == set(ROLES)


def test_settings_are_not_counted_in_rows(tmp_path: Path) -> None:
    report = datasets.check(write(tmp_path, ALPACA), DataConfig(header=False, delimiter=";"))
    text = report_text(report)
    assert "2 rows" not in text
    assert text.count("fix: Remove the setting.") == 2


def test_the_command_takes_several_datasets_as_one_request(
    tmp_path: Path, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = [write(tmp_path, ALPACA), write(tmp_path, CHAT, "chat.jsonl")]
    flags = ["--data.role_map", '{"bot?": "user"}', "--data.variables.name", "x"]
    assert main(["data", "check", *names, *flags]) == 0
    assert "W732" not in capsys.readouterr().out
