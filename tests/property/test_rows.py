"""Whatever happens to a good file, the checker answers, and every row is accounted for."""

from __future__ import annotations

import json
import random
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tunery.config.data import DataConfig
from tunery.data.catalog import find
from tunery.data.examples import read
from tunery.data.lint import CheckOptions, check
from tunery.data.lint.words import report_text
from tunery.errors import TuneryError

texts = st.text(min_size=1, max_size=20).filter(lambda text: bool(text.strip()))
alpaca = st.fixed_dictionaries({"instruction": texts, "output": texts})
chats = st.lists(st.tuples(texts, texts), min_size=1, max_size=3).map(
    lambda turns: {
        "messages": [
            {"role": role, "content": content}
            for turn in turns
            for role, content in zip(("user", "assistant"), turn, strict=True)
        ]
    }
)
rows = st.one_of(st.lists(alpaca, min_size=1, max_size=8), st.lists(chats, min_size=1, max_size=8))
CALM = settings(deadline=None, max_examples=150, suppress_health_check=list(HealthCheck))


def encoded(values: list[Any], kind: str, ascii: bool) -> bytes:
    if kind == "json":
        return json.dumps(values, ensure_ascii=ascii, indent=1).encode("utf-8", "surrogatepass")
    lines = "".join(json.dumps(value, ensure_ascii=ascii) + "\n" for value in values)
    return lines.encode("utf-8", "surrogatepass")


def accounted(path: Path) -> None:
    report = check(find(str(path)), CheckOptions())
    assert report.rows == report.good + report.bad
    assert report.good >= 0
    assert all(line.isprintable() for line in report_text(report).split("\n"))
    data = json.loads(json.dumps(report.as_dict()))
    assert data["ok"] == (not any(p["level"] == "stop" for p in data["problems"]))
    config = DataConfig(on_bad_rows="quarantine", max_bad_share=1.0, accept=["W706"])
    try:
        examples = read([str(path)], config)
    except TuneryError:
        assert not report.ok or report.good == 0
        return
    assert examples.ledger.balanced()
    assert len(examples) == report.good
    for i in range(len(examples)):
        assert examples[i].ref == examples.ref(i)


@CALM
@given(rows, st.sampled_from(["jsonl", "json"]), st.booleans(), st.randoms(use_true_random=False))
def test_flipped_and_cut_bytes_never_crash_the_checker(
    values: list[Any], kind: str, ascii: bool, chance: random.Random
) -> None:
    data = bytearray(encoded(values, kind, ascii))
    for _ in range(chance.randrange(4)):
        at = chance.randrange(len(data))
        match chance.randrange(4):
            case 0:
                data[at] ^= 1 << chance.randrange(8)
            case 1:
                del data[at : at + chance.randrange(1, 10)]
            case 2:
                data[at:at] = bytes(chance.randrange(256) for _ in range(3))
            case _:
                data = data[:at]
        if not data:
            break
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"rows.{kind}"
        path.write_bytes(data)
        accounted(path)


@CALM
@given(rows, st.sampled_from(["jsonl", "json"]), st.booleans())
def test_good_rows_come_back_as_they_were_written(
    values: list[Any], kind: str, ascii: bool
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"rows.{kind}"
        path.write_bytes(encoded(values, kind, ascii))
        examples = read([str(path)], DataConfig(accept=["W706"]))
        assert len(examples) == len(values)
        for example, value in zip(examples, values, strict=True):
            said = [message.content for message in example.messages]
            if "messages" in value:
                assert said == [message["content"] for message in value["messages"]]
            else:
                assert said == [value["instruction"], value["output"]]


json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(
            st.sampled_from(
                [
                    "messages",
                    "conversations",
                    "role",
                    "content",
                    "from",
                    "value",
                    "text",
                    "prompt",
                    "completion",
                    "instruction",
                    "output",
                    "tools",
                    "tool_calls",
                    "history",
                    "weight",
                ]
            ),
            inner,
            max_size=4,
        ),
    ),
    max_leaves=12,
)


@CALM
@given(st.lists(json_values, min_size=1, max_size=6), st.sampled_from(["jsonl", "json"]))
def test_rows_of_any_shape_get_an_answer(values: list[Any], kind: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"rows.{kind}"
        path.write_bytes(encoded(values, kind, True))
        accounted(path)


@pytest.mark.slow
def test_ten_thousand_mutants_of_good_files_are_all_accounted_for(tmp_path: Path) -> None:
    chance = random.Random(11)
    good = [
        encoded([{"instruction": f"q {i}", "output": f"答案 {i}"} for i in range(9)], kind, ascii)
        for kind in ("jsonl", "json")
        for ascii in (True, False)
    ]
    for number in range(10_000):
        data = bytearray(chance.choice(good))
        for _ in range(chance.randrange(1, 6)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        path = tmp_path / f"rows.{'jsonl' if number % 2 else 'json'}"
        path.write_bytes(data)
        report = check(find(str(path)))
        assert report.rows == report.good + report.bad
