"""What one process says in its language is said again in the reader's."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import pytest

from tunery import i18n
from tunery.data.formats import FORMATS, RowOptions
from tunery.data.lint.unused import unused
from tunery.env import percent
from tunery.errors import ConfigError, DataError, rebuilt
from tunery.i18n import joined, retold, say, speaking, t
from tunery.runs.events import EventWriter
from tunery.workers.log import read_events

STEP = "第 3 步等待保存"


def _said() -> str:
    return t("waiting to save step {step}", step=3)


def test_a_sentence_is_text_that_remembers_its_phrase():
    with speaking("zh"):
        said = _said()
    assert said == STEP
    assert json.loads(json.dumps(said)) == STEP
    assert i18n.english(said) == "waiting to save step 3"
    again = pickle.loads(pickle.dumps(said))
    assert i18n.phrase_of(again) == i18n.phrase_of(said) is not None


def test_sentences_inside_sentences_and_after_one_another_are_said_again_as_well():
    with speaking("zh"):
        inner = t("{disk}: {what}, retrying every {seconds:g} s",
                  disk=t("disk full"), what=_said(), seconds=30.0)  # fmt: skip
        both = inner + " " + t("stopped on request")
        row = joined(say("null"), "", both)
    english = "disk full: waiting to save step 3, retrying every 30 s stopped on request"
    assert i18n.english(both) == english
    assert i18n.english(row) == f"null. {english}"
    with speaking("zh"):
        assert i18n.Phrase.of(json.loads(json.dumps(row.phrase.stored()))).local() == row


def test_an_english_sentence_that_quotes_chinese_ends_with_an_english_full_stop():
    quoting = say("it may be {words}", words="gb18030: 你好")
    row = joined(quoting, say("Save the file as UTF-8."))
    assert row == str(row.phrase) == "it may be gb18030: 你好. Save the file as UTF-8."
    with speaking("zh"):
        assert "你好。" in joined(quoting, say("Save the file as UTF-8."))


@pytest.mark.parametrize(
    ("parts", "english"),
    [
        (("not used: note", "Name it."), "not used: note. Name it."),
        (("a.jsonl:3:", "no text", "Add one."), "a.jsonl:3: no text. Add one."),
        (('Ends "here."', "Next"), 'Ends "here." Next'),
        (("Did you mean x?", "", "List: y"), "Did you mean x? List: y"),
        (("不使用：note", "写出名称。"), "不使用：note。写出名称。"),
        (("不使用（note）", "写出名称。", "另一句"), "不使用（note）。写出名称。另一句"),
        (("改用“它。”", "或删除"), "改用“它。”或删除"),
    ],
)
def test_sentences_in_a_row_are_each_ended_but_the_last(
    parts: tuple[str, ...], english: str
) -> None:
    assert joined(*parts) == english == str(joined(*parts).phrase)
    assert i18n.Phrase.of(json.loads(json.dumps(joined(*parts).phrase.stored()))).local() == english


@pytest.mark.parametrize(
    ("language", "said"),
    [
        ("en", "W725 a.jsonl: not used: note. If one is needed, name it with --data.columns; "
               "otherwise --data.accept W725."),
        ("zh", "W725 a.jsonl：未使用：note。如果需要其中某一列，请用"),
    ],
)  # fmt: skip
def test_a_warning_in_one_line_ends_what_is_wrong_before_what_to_do(
    language: str, said: str
) -> None:
    (problem,) = unused(["text", "note"], [], FORMATS.get("text"), RowOptions(), "a.jsonl")
    with speaking(language):
        assert problem.sentence.startswith(said)
        assert problem.sentence.endswith(
            str(DataError(problem.found.local(), fix=problem.fix.local()))
        )


@pytest.mark.parametrize("language", ["en", "zh"])
def test_an_event_is_english_and_is_read_in_the_readers_language(tmp_path: Path, language: str):
    with speaking(language), EventWriter(tmp_path / "events.jsonl") as events:
        events.write("status", status="paused", reason=_said(), fix="plain")
        events.write("result", diagnosis={"words": _said()})
    kept, _ = read_events(tmp_path / "events.jsonl")
    assert kept[0]["reason"] == "waiting to save step 3"
    assert kept[1]["diagnosis"] == {"words": "waiting to save step 3"}
    with speaking("zh"):
        assert (retold(kept[0], "reason"), retold(kept[0], "fix")) == (STEP, "plain")
    with speaking("en"):
        assert retold(kept[0], "reason") == "waiting to save step 3"


@pytest.mark.parametrize("phrases", [None, [], {}, {"reason": ["{x}", {"y": 1}]}, {"reason": 3}])
def test_what_another_version_kept_is_told_as_it_stands(phrases: object):
    assert retold({"reason": "as it stands", "phrases": phrases}, "reason") == "as it stands"


def test_an_error_of_another_process_is_said_in_this_ones_language():
    with speaking("zh"):
        kept = json.loads(json.dumps(ConfigError(_said(), fix=t("disk full"), path="x").stored()))
    assert (kept["message"], kept["fix"]) == ("waiting to save step 3", "disk full")
    with speaking("zh"):
        again = rebuilt(kept)
    assert (again.message, again.fix) == (STEP, "磁盘已满")
    assert again.fields == {"path": "x"}
    assert isinstance(again, ConfigError)


@pytest.mark.parametrize(
    ("share", "said"),
    [
        (1.0, "100 %"),
        (0.4567, "46 %"),
        (28 / 69, "41 %"),
        (1 / 8, "13 %"),
        (0.0996, "10 %"),
        (0.01816, "1.8 %"),
        (0.0225, "2.3 %"),
        (0.02, "2 %"),
        (2e-7, "0.00002 %"),
        (0.0, "0 %"),
    ],
)
def test_a_share_is_said_without_powers_of_ten(share: float, said: str) -> None:
    assert percent(share) == said
