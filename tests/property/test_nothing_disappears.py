"""Whatever a row, a config or a registry holds is used, or named where people look."""

from __future__ import annotations

import copy
import json
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tunery.config import load
from tunery.config.data import DataConfig
from tunery.config.frozen import to_yaml
from tunery.config.settings import find as setting_of
from tunery.config.settings import walk
from tunery.data.catalog import find
from tunery.data.examples import read
from tunery.data.formats import FORMATS
from tunery.data.formats.roles import ROLES
from tunery.data.lint import CheckOptions, check
from tunery.data.lint.unused import CODES
from tunery.data.problems import visible
from tunery.errors import TuneryError

CALM = settings(deadline=None, max_examples=300, suppress_health_check=list(HealthCheck))
MARK = "zq7marker"
MARKS = (MARK, "73019")
WANTED = {"preference": "pair", "unpaired": "labelled", "text": "text"}
ASKED = {"role": "user", "content": "q"}
TOLD = {"role": "assistant", "content": "a"}
TOOL = {
    "type": "function",
    "function": {
        "name": "look",
        "description": "d",
        "parameters": {"type": "object", "properties": {"x": {"type": "string"}}},
    },
}
CALL = {
    "id": "call00001",
    "type": "function",
    "function": {"name": "look", "arguments": {"x": "1"}},
}
CALLED = [
    ASKED,
    {"role": "assistant", "content": "", "tool_calls": [CALL]},
    {"role": "tool", "tool_call_id": "call00001", "name": "look", "content": "r"},
    TOLD,
]
ROWS: dict[str, list[dict[str, Any]]] = {
    "alpaca": [
        {"instruction": "q", "output": "a"},
        {"instruction": "q", "input": "i", "output": "a", "system": "s", "history": [["b", "c"]]},
    ],
    "sharegpt": [
        {"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]},
        {
            "system": "s",
            "tools": json.dumps([TOOL]),
            "conversations": [
                {"from": "human", "value": "q"},
                {"from": "function_call", "value": '{"name": "look", "arguments": {"x": "1"}}'},
                {"from": "observation", "value": "r"},
                {"from": "gpt", "value": "a"},
            ],
        },
    ],
    "openai": [
        {"messages": [ASKED, TOLD]},
        {"messages": CALLED, "tools": [TOOL]},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "q"}]}, TOLD]},
    ],
    "prompt_completion": [
        {"prompt": "q", "completion": "a"},
        {"prompt": [ASKED], "completion": [TOLD], "tools": [TOOL]},
    ],
    "text": [{"text": "words"}],
    "preference": [
        {"prompt": "q", "chosen": "a", "rejected": "b"},
        {"prompt": [ASKED], "chosen": [TOLD], "rejected": [{**TOLD, "content": "b"}]},
        {"conversations": [{"from": "human", "value": "q"}],
         "chosen": {"from": "gpt", "value": "a"}, "rejected": {"from": "gpt", "value": "b"}},
    ],
    "unpaired": [
        {"prompt": "q", "completion": "a", "label": True},
        {"messages": [ASKED, TOLD], "label": False},
    ],
}  # fmt: skip
# Keys that people's rows and the files of other tools have.
KEYS = (
    "id", "source", "category", "score", "weight", "loss", "loss_weight", "loss_scale", "train",
    "train_detail", "mask", "masked", "label", "labels", "images", "videos", "audios", "image",
    "objects", "channel", "rejected", "rejected_response", "rejected_messages", "chosen",
    "margin", "kto_tag", "tools", "functions", "function_call", "tool_calls", "system",
    "system_prompt", "history", "input", "output", "target", "prompt", "completion", "messages",
    "conversations", "text", "thinking", "reasoning", "reasoning_content",
    "chat_template_kwargs", "enable_thinking", "add_generation_prompt", "name", "refusal",
    "audio", "annotations", "cache_control", "tool_call_id", "index", "strict", "content",
    "role", "value", "from", "type", "Ünïcode", "with space", "dotted.key",
)  # fmt: skip


class Told(NamedTuple):
    """What a file came to.

    Args:
        used: The examples of a run.
        checked: What ``data check`` says, as JSON.
        ran: What a run would say.
        refused: Whether neither takes the file.
    """

    used: str
    checked: str
    ran: str
    refused: bool


def test_every_format_is_tried() -> None:
    assert set(ROWS) == set(FORMATS)


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The paths of every object inside a row that could hold one more key."""
    if isinstance(value, dict):
        yield path
        for key, each in value.items():
            if key not in ("parameters", "arguments"):  # whose keys are data
                yield from places(each, (*path, key))
    elif isinstance(value, list):
        for i, each in enumerate(value):
            yield from places(each, (*path, i))


def at(value: Any, path: tuple[Any, ...]) -> Any:
    for part in path:
        value = value[part]
    return value


@st.composite
def rows(draw: st.DrawFn) -> tuple[str, dict[str, Any], str]:
    """A good row with one key more, whose value is unlike everything else in it."""
    format = draw(st.sampled_from(sorted(ROWS)))
    row = copy.deepcopy(draw(st.sampled_from(ROWS[format])))
    inside = at(row, draw(st.sampled_from(sorted(places(row), key=str))))
    key = draw(st.sampled_from([each for each in KEYS if each not in inside]))
    mark: Any = draw(st.sampled_from([MARK, [MARK], {"k": MARK}, 73019, 0.73019]))
    inside[key] = mark
    return format, row, key


def written(folder: str, values: list[dict[str, Any]]) -> str:
    path = Path(folder) / "rows.jsonl"
    path.write_text("".join(json.dumps(each) + "\n" for each in values))
    return str(path)


def twice(format: str, row: dict[str, Any]) -> list[dict[str, Any]]:
    """The row and another of its kind; labelled rows need both labels."""
    return [row, row | {"label": not row["label"]} if format == "unpaired" else row]


def told(path: str, format: str, row: dict[str, Any]) -> Told:
    """What becomes of a file of two rows in check and in a run."""
    wanted = WANTED.get(format)
    report = check(find(path), CheckOptions(format=format, wanted=wanted))
    assert report.rows == report.good + report.bad == 2
    shown = json.dumps(report.as_dict(), ensure_ascii=False)
    try:
        examples = read([path], DataConfig(format=format, accept=["W706"]), wanted=wanted)
    except TuneryError as error:
        assert not report.ok
        return Told("", shown, str(error), refused=True)
    assert report.ok
    said = " ".join(str(warning.words) for warning in examples.warnings)
    return Told(repr([examples[i] for i in range(len(examples))]), shown, said, refused=False)


@CALM
@given(rows())
def test_a_key_of_a_row_is_used_or_named(case: tuple[str, dict[str, Any], str]) -> None:
    format, row, key = case
    with tempfile.TemporaryDirectory() as folder:
        found = told(written(folder, twice(format, row)), format, row)
    if not found.refused and not any(mark in found.used for mark in MARKS):
        assert key in found.checked, (row, found.checked)
        assert key in found.ran, (row, found.ran)


@CALM
@given(
    st.sampled_from(sorted(ROWS)), st.integers(0, 2), st.text(min_size=1, max_size=12), st.data()
)
def test_a_role_that_is_none_is_refused_by_name(
    format: str, number: int, role: str, data: st.DataObject
) -> None:
    row = copy.deepcopy(ROWS[format][number % len(ROWS[format])])
    speaking = [path for path in places(row) if {"role", "from"} & at(row, path).keys()]
    if not speaking or role in ROLES:
        return
    turn = at(row, data.draw(st.sampled_from(speaking)))
    turn["role" if "role" in turn else "from"] = role
    with tempfile.TemporaryDirectory() as folder:
        found = told(written(folder, twice(format, row)), format, row)
    assert found.refused
    problems = json.loads(found.checked)["problems"]
    assert {p["code"] for p in problems if p["level"] == "stop"} == {"E405"}, problems
    assert visible(role, 40)[:20] in problems[0]["found"]


@CALM
@given(
    st.sampled_from(sorted(ROWS)),
    st.lists(st.lists(st.sampled_from(KEYS), max_size=4, unique=True), min_size=2, max_size=2),
)
def test_the_columns_of_a_file_are_those_used_and_those_named(
    format: str, extra: list[list[str]]
) -> None:
    first = ROWS[format][0]
    values = [
        {**dict.fromkeys(names, "x"), **row}
        for names, row in zip(extra, twice(format, first), strict=True)
    ]
    there = {name for row in values for name in row}
    with tempfile.TemporaryDirectory() as folder:
        found = told(written(folder, values), format, first)
    if found.refused:
        return
    unused = {
        name
        for problem in json.loads(found.checked)["problems"]
        if problem["code"] in CODES
        for name in re.split(r", |: |;", problem["found"])
    }
    named = {re.sub(r" ×\d+$", "", name) for name in unused} & there
    used = {name for name in there if name in FORMATS.get(format).known}
    used |= {name for names in FORMATS.get(format).usual.values() for name in names} & there
    assert there == used | named, (there - used - named, found.checked)
    assert not set(first) & unused  # what every row is read from


SECTIONS = sorted({setting.section for setting in walk() if setting.section})


@CALM
@given(
    st.sampled_from(["", *SECTIONS]),
    st.from_regex(r"[a-z][a-z_]{2,15}", fullmatch=True),
    st.sampled_from([1, "x", True, None, [1], {"k": 1}]),
)
def test_a_setting_that_is_none_is_refused_by_name(section: str, key: str, value: Any) -> None:
    path = f"{section}.{key}" if section else key
    if any(s.path == path or s.path.startswith(f"{path}.") for s in walk()) or setting_of(path):
        return
    values: Any = {key: value}
    for part in reversed(section.split(".") if section else []):
        values = {part: values}
    with pytest.raises(TuneryError) as caught:
        load.from_text(to_yaml(values), "x.yaml")
    assert key in str(caught.value), caught.value
