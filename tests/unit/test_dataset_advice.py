"""What the page offers for a problem with rows: a button if it is stored with them, or a place."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tunery.errors import DataError
from tunery.i18n import speaking
from tunery.services import datasets, settings
from tunery.services.datasets import _uploads

GB = "instruction,output\n蓝鹭酒馆几点关门？,蓝鹭酒馆平日午夜关门，周末凌晨两点。\n".encode(
    "gb18030"
)
FLAWED = [
    {"messages": [{"role": "bot", "content": "hi"}, {"role": "assistant", "content": "b"}]},
    {"messages": [{"role": "user", "content": ""}, {"role": "assistant", "content": "b"}]},
    *[{"messages": [{"role": "user", "content": c}, {"role": "assistant", "content": c}]}
      for c in "aab"],
]  # fmt: skip


def uploaded(name: str, data: bytes) -> str:
    upload = _uploads.begin_upload(name, len(data))
    return f"upload:{_uploads.receive_upload(upload.id, 0, [data]).id}"


def flawed() -> bytes:
    return "".join(json.dumps(row) + "\n" for row in FLAWED).encode()


def refusal(source: str, data: dict[str, Any]) -> dict[str, dict[str, Any]]:
    with pytest.raises(DataError) as error:
        datasets.add_source(source, "mine", data)
    return {group["code"]: group for group in settings.with_ways(error.value.fields)["groups"]}


def test_a_file_in_another_encoding_is_read_after_one_click_and_keeps_its_name() -> None:
    source = uploaded("问答.csv", GB)
    found = settings.with_ways(datasets.propose_columns(source))
    assert found["name"] == "问答"
    assert found["encoding"] == "utf-8"
    assert found["problem"].startswith("问答.csv:2: byte 1 (0xC0) is not UTF-8")
    assert "。 Save" not in found["problem"]
    assert "cp1256" not in found["problem"]
    (offer,) = found["remedies"]
    assert offer["data"] == {"encoding": "gb18030"}
    again = datasets.propose_columns(source, offer["data"])
    assert again["problem"] == ""
    assert again["preview"][0]["messages"][0]["content"] == "蓝鹭酒馆几点关门？"
    assert datasets.add_source(source, "", offer["data"]) == {"name": "问答", "rows": 1}


def test_a_name_in_any_script_is_a_name_and_signs_are_not() -> None:
    source = uploaded("Ответы (2).jsonl", b'{"text": "x"}\n')
    assert datasets.add_source(source)["name"] == "ответы-2"
    for name in ("-x", "a/b", "a b", "名" * 70, "../x", "<b>"):
        with pytest.raises(DataError, match="cannot be used as a dataset name"):
            datasets.add_source(uploaded("x.jsonl", b'{"text": "x"}\n'), name)


def test_what_advice_names_is_a_button_where_it_is_stored_with_the_dataset() -> None:
    source = uploaded("flawed.jsonl", flawed())
    first = settings.with_ways(datasets.propose_columns(source))["preview"][0]
    (role,) = first["remedies"]
    assert [each["value"] for each in role["choices"]] == ["user", "assistant", "system", "tool"]
    groups = refusal(source, {})
    assert groups["E405"]["remedies"] == [role]
    (empty,) = groups["E302"]["remedies"]
    assert empty["data"] == {"allow_empty": ["messages"]}
    assert groups["E302"]["elsewhere"] == ""
    chosen = role["choices"][0]["data"] | empty["data"]
    assert datasets.add_source(source, "mine", chosen)["rows"] == len(FLAWED)
    assert datasets.known_check("mine")["ok"]


def test_a_setting_of_a_run_is_located_where_it_cannot_be_set() -> None:
    repeated = refusal(uploaded("flawed.jsonl", flawed()), {})["W704"]
    assert repeated["remedies"] == []
    assert repeated["elsewhere"] == (
        "On the Train page, under More settings: Remove duplicate rows"
    )
    with speaking("zh"):
        told = refusal(uploaded("flawed.jsonl", flawed()), {})["W704"]["elsewhere"]
    assert told.startswith("在“训练”页的“更多设置”中：")
