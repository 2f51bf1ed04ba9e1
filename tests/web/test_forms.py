"""The form of a run is drawn from the config classes; whatever is registered is in it."""

from __future__ import annotations

import json
import re
import shlex
from importlib import resources

import pytest
from starlette.testclient import TestClient
from tests.web.toy import toys  # noqa: F401

from tunery import i18n
from tunery.config import load, settings
from tunery.config.config import Config
from tunery.services import settings as settings_service
from tunery.services.settings import _filled


def test_every_setting_is_in_the_form_once():
    keys = [field.key for field in settings_service.form().fields()]
    assert sorted(keys) == sorted(s.key for s in settings.walk() if s.path != "preset")


@pytest.mark.parametrize("language", ["en", "zh"])
def test_every_field_has_a_label_and_a_help_in_each_language(language: str):
    with i18n.speaking(language):
        made = settings_service.form()
    for each in [*made.fields(), *made.more]:
        assert each.help
        assert getattr(each, "label", "") or getattr(each, "title", "")
    if language == "zh":
        chinese = [f.label for f in made.fields() if any(c >= "\u4e00" for c in f.label)]
        assert len(chinese) >= len(made.fields()) - 2  # LoRA's own words stay


def test_labels_are_complete_and_none_is_stale():
    file = resources.files("tunery") / "locales" / "labels.json"
    labels = json.loads(file.read_text(encoding="utf-8"))
    known = {s.key for s in settings.walk()} | {g.key for g in settings.groups()}
    assert known - labels.keys() == set()
    assert {k for k in labels if not k.startswith("preset.")} - known == set()


def test_the_defaults_that_fields_show_are_the_defaults():
    given = {f.path: f.default for f in settings_service.form().fields() if not f.variant}
    found = _filled.fill_form(None, {**given, "data.train": ["instructions"]})
    assert found.errors == {}
    assert found.config is not None
    expected = Config().model_dump(mode="json")
    expected["data"]["train"] = ["instructions"]
    assert found.config.model_dump(mode="json") == expected


def test_a_toy_adapter_and_a_toy_method_appear_by_themselves(toys: None):  # noqa: F811
    made = {field.key: field for field in settings_service.form().fields()}
    assert "toy" in [option.value for option in made["adapter.type"].options]
    assert "play" in [option.value for option in made["method.type"].options]
    wheels, joy = made["adapter.toy.wheels"], made["method.play.joy_seconds"]
    assert (wheels.kind, wheels.default, wheels.bounds) == ("number", "4", ">= 2, <= 16")
    assert (wheels.label, wheels.variant) == ("Wheels", "toy")
    assert wheels.help == "How many wheels it has; 4 is usual."
    assert made["adapter.toy.squeaks"].kind == "switch"
    assert joy.unit == "seconds"
    about = {option.value: option.help for option in made["adapter.type"].options}
    assert about["toy"] == "Train what a toy would train."
    assert not any(text in made["adapter.type"].help for text in about.values())


def test_a_toy_is_in_the_values_the_errors_and_the_command(toys: None):  # noqa: F811
    fields = {"data.train": ["instructions"], "adapter.type": "toy", "adapter.wheels": "6"}
    found = _filled.fill_form(None, fields)
    assert found.errors == {}
    assert found.shown["adapter.squeaks"] == _filled.Shown(False, "default")
    assert "adapter.rank" not in found.shown
    command = _filled.command(found.words)
    assert command == "tunery train --data.train instructions --adapter.type toy --adapter.wheels 6"
    assert load.from_tokens(shlex.split(command)[2:]).config == found.config
    assert "wheels: 6" in _filled.yaml(found)
    assert list(_filled.fill_form(None, {**fields, "adapter.wheels": "1"}).errors) == [
        "adapter.wheels"
    ]


def test_settings_of_a_type_that_is_not_chosen_wait_for_it():
    fields = {"data.train": "instructions", "adapter.type": "full", "adapter.rank": "32"}
    assert _filled.fill_form(None, fields).errors == {}
    assert (
        _filled.fill_form(None, {**fields, "adapter.type": "lora"}).words[-1] == "--adapter.rank=32"
    )


def test_numbers_are_read_as_people_write_them():
    fields = {"data.train": ["instructions"], "optim.learning_rate": "1e-4",
              "data.max_length": "1,024", "train.num_epochs": "２"}  # fmt: skip
    config = _filled.fill_form(None, fields).config
    assert config is not None
    assert (config.optim.learning_rate, config.data.max_length) == (1e-4, 1024)
    assert config.train.num_epochs == 2


def test_an_error_stands_under_its_field_and_what_was_typed_stays():
    found = _filled.fill_form("identity", {"optim.learning_rate": "abc", "train.num_epochs": "-1"})
    assert found.errors["train.num_epochs"].message == "Must be more than 0, got -1."
    assert found.errors["optim.learning_rate"].message.startswith("Must be a number")
    assert found.shown["optim.learning_rate"] == _filled.Shown("abc", "set")
    assert found.config is None


def test_a_cleared_field_is_none_where_none_is_allowed():
    fields = {"data.train": ["instructions"], "checkpoint.every_minutes": ""}
    config = _filled.fill_form(None, fields).config
    assert config is not None
    assert config.checkpoint.every_minutes is None
    assert "train.num_epochs" in _filled.fill_form(None, {**fields, "train.num_epochs": ""}).errors


def test_the_command_and_the_yaml_give_the_same_settings():
    fields = {
        "data.variables": {"name": "Tuna", "author": "O'Reef & Co"},
        "evaluate.prompts": "Who, me?\n--really?\n你是谁？",
        "optim.betas": "0.8, 0.95",
        "optim.groups": "match: layers\\.0\\., learning_rate: 1e-5\nmatch: norm, weight_decay: 0",
        "evaluate.every": "7",
        "adapter.target_modules": "q_proj,v_proj",
        "data.packing": False,
        "data.columns": "a b: c",
    }
    found = _filled.fill_form("identity", fields)
    assert found.errors == {}
    assert load.from_tokens(shlex.split(_filled.command(found.words))[2:]).config == found.config
    assert load.from_text(_filled.yaml(found), "YAML").config == found.config
    preset, again = _filled.fields_of(_filled.yaml(found))
    assert _filled.fill_form(preset, again).config == found.config
    assert found.config is not None
    assert _filled.fill_form(None, _filled.fields_of_config(found.config)).config == (
        found.config.model_copy(update={"preset": None})
    )


def test_settings_of_an_optional_section_wait_for_its_switch():
    data = {"data.train": ["identity"]}
    fields = {**data, "track.tensorboard": False, "track.tensorboard.folder": "boards"}
    off = _filled.fill_form(None, fields)
    assert off.config is not None
    assert off.config.track.tensorboard is None
    assert off.shown["track.tensorboard"].value is False
    assert "track.tensorboard.folder" not in off.shown
    on = _filled.fill_form(None, {**fields, "track.tensorboard": True})
    assert on.config is not None
    assert "--track.tensorboard.folder boards" in _filled.command(on.words)
    assert _filled.fields_of(_filled.yaml(on)) == (None, {**fields, "track.tensorboard": True})
    assert _filled.fields_of_config(on.config) == {**fields, "track.tensorboard": True}
    alone = _filled.fill_form(None, {**data, "track.tensorboard": True})
    assert _filled.yaml(alone).endswith("track:\n  tensorboard: {}\n")
    assert alone.shown["track.tensorboard"].value is True
    assert alone.shown["track.tensorboard.folder"].value == ""


@pytest.mark.parametrize(("language", "word"), [("en", "tokens"), ("zh", "token")])
def test_a_label_that_says_its_unit_does_not_say_it_twice(
    client: TestClient, language: str, word: str
) -> None:
    client.cookies.set("tunery_lang", language)
    for path in ("/train", "/chat", "/evaluate", "/settings"):
        page = client.get(path).text
        for label in re.findall(r"<label for=[^>]*>([^<]*)<span class=\"muted\">", page):
            unit = page.partition(f'>{label}<span class="muted">(')[2].partition(")")[0]
            assert unit.lower() not in label.lower(), (path, label)
    assert word in client.get("/evaluate").text.lower()
