"""The page names settings as its form does; buttons come from the sentence, in either language."""

from __future__ import annotations

import pytest
from starlette.testclient import TestClient
from tests.web.test_runs_api import write_run

from tunery import i18n
from tunery.data.problems import Problem, coded, say
from tunery.errors import DataError, TuneryError
from tunery.i18n import t
from tunery.runs.events import EventWriter
from tunery.services import settings
from tunery.web import formats


def test_chinese_has_no_space_beside_a_label_and_lists_names_with_its_own_comma():
    with i18n.speaking("zh"):
        for said in ("data.train 是空的", "请看 data.train：是空的"):
            assert " " not in settings.for_the_page(said)
        assert settings.for_the_page("data.train is empty") == "“数据集” is empty"
        assert i18n.joined("/a", "/b", "/c", between=", ") == "/a、/b、/c"
        assert formats.short_names(["/x/a", "b"]) == "a、b"
    assert i18n.joined("/a", "/b", between=", ") == "/a, /b"


@pytest.mark.parametrize(
    ("sentence", "en", "zh"),
    [
        ("Set --data.packing false.", "Set “Packing = off”.", "Set “打包短数据 = 关”."),
        ("Set train.batch_size to 1", "Set “Batch size = 1”", "Set “批大小 = 1”"),
        ("Remove model.template.", "Remove “Chat template”.", "Remove “对话模板”."),
        ("more than data.max_length={limit}", "more than “Max length = {limit}”",
         "more than “最大长度 = {limit}”"),
        ("--data.columns.prompt THEIRS.", "“Columns: prompt = THEIRS”.",
         "“列名对应：prompt = THEIRS”."),
        ("model.safetensors, /x/data.train", "model.safetensors, /x/data.train", None),
        ("{code} {text}", "{text}", "{text}"),
        ("Go on: tunery train {x} --model.name {run}, or set --data.packing false",
         "Go on: tunery train {x} --model.name {run}, or set “Packing = off”", None),
        ("--name {name}: a run with this name", "“{name}”: a run with this name", None),
        ("try --dtype fp32, or", "try “Number format = fp32”, or", None),
        ("a.b; --force replaces", "a.b; “Replace an earlier export” replaces", None),
        ("tunery runs list", "tunery runs list", "tunery runs list"),
    ],
)  # fmt: skip
def test_a_setting_is_called_what_its_field_is_called(sentence: str, en: str, zh: str | None):
    with i18n.speaking("en"):
        assert settings.for_the_page(sentence) == en
    with i18n.speaking("zh"):
        assert zh is None or settings.for_the_page(sentence) == zh


def test_what_a_person_wrote_is_never_reworded():
    with i18n.worded(settings.for_the_page):
        assert t("{place}: {found}.", place="data.train", found="x") == "data.train: x."


def test_codes_are_for_terminals():
    problem = Problem("E302", "a.jsonl", say("null"), say("Set --data.deduplicate true."))
    assert problem.sentence == "E302 a.jsonl: null. Set --data.deduplicate true."
    assert coded("E302", "x") == "E302 x"
    with i18n.worded(settings.for_the_page):
        assert problem.sentence.startswith("a.jsonl: null. Set “")
        assert coded("E302", "x") == "x"


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("page", [False, True])
def test_an_errors_buttons_are_the_same_in_every_language_and_place(language: str, page: bool):
    by = settings.for_the_page if page else None
    with i18n.speaking(language), i18n.worded(by):
        error = DataError("x", fix=t("Keep them all, or set --data.deduplicate true."))
        fields = settings.with_remedies(error).fields
    assert [remedy["set"] for remedy in fields["remedies"]] == [{"data.deduplicate": "true"}]


def test_a_word_after_a_setting_is_no_value():
    fix = t("Remove model.template to use the model's own, or choose alpaca.")
    assert "remedies" not in settings.with_remedies(TuneryError("x", fix=fix)).fields


@pytest.mark.parametrize(("language", "told"), [("en", "disk full"), ("zh", "磁盘已满")])
def test_a_failed_run_is_told_in_the_readers_language_in_the_words_of_the_page(
    client: TestClient, language: str, told: str
) -> None:
    folder = write_run("bad", status="")
    with i18n.speaking("en" if language == "zh" else "zh"), EventWriter(folder.events_file) as log:
        fix = t("Keep them all, or set --data.deduplicate true.")
        log.write("status", status="failed", reason=t("disk full"), fix=fix)
    client.cookies.set("tunery_lang", language)
    page = client.get("/runs/bad").text
    assert told in page
    assert "data.deduplicate true" not in page
    run = client.get("/api/v1/runs/bad").json()
    assert run["reason"] == told


def test_plain_text_has_buttons_too():
    found = settings.with_remedies(TuneryError("x", fix="use data.on_bad_rows=quarantine")).fields
    assert [remedy["set"] for remedy in found["remedies"]] == [{"data.on_bad_rows": "quarantine"}]
