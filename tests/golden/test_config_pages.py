"""What is generated from the declaration: the pages, the JSON schema, the help."""

from __future__ import annotations

import json
import re
from pathlib import Path

import jsonschema
import pytest
from ruamel.yaml import YAML

from tunery.cli import codes
from tunery.cli import reference as command_reference
from tunery.config import layers, reference, schema, settings
from tunery.config.config import Config
from tunery.config.help import help_table
from tunery.config.load import dump

REPOSITORY = Path(__file__).parents[2]


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_reference_page_is_current(language: str):
    page = (REPOSITORY / "docs" / reference.PAGES[language]).read_text(encoding="utf-8")
    assert page == reference.page(language), "run: make docs"


def test_the_pages_of_commands_are_current(tmp_path: Path):
    for path in command_reference.write(tmp_path):
        kept = REPOSITORY / "docs" / path.name
        assert kept.read_text(encoding="utf-8") == path.read_text(encoding="utf-8"), (
            "run: make docs"
        )


def test_the_pages_of_codes_are_current(tmp_path: Path):
    for path in codes.write(tmp_path):
        kept = REPOSITORY / "docs" / path.name
        assert kept.read_text(encoding="utf-8") == path.read_text(encoding="utf-8"), (
            "run: make docs"
        )


def test_every_code_in_the_source_is_on_the_page_with_what_it_says():
    listed = codes.codes()
    used = {
        code
        for path in (REPOSITORY / "src" / "tunery").rglob("*.py")
        for code in re.findall(r'"([EWN]\d{3})"', path.read_text(encoding="utf-8"))
    }
    assert used - set(listed) == set()
    assert [code for code in used if not listed[code]] == []
    (repeated,) = listed["W704"]
    assert repeated.found == "{count} rows, {distinct} distinct"
    assert repeated.fixes == ("Keep them all, or set --data.deduplicate true.",)


def test_the_schema_page_is_current():
    kept = json.loads((REPOSITORY / "docs" / "settings.schema.json").read_text(encoding="utf-8"))
    assert kept == schema.json_schema("en"), "run: make docs"


def test_the_page_has_a_heading_for_every_type_and_a_row_for_every_setting():
    page = reference.page("en")
    for section, types in settings.tagged().items():
        assert f"## {section}\n" in page
        for name in types:
            assert f"{name}: " in page
    for setting in settings.walk():
        assert f"| `{setting.path}` |" in page


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_schema_is_valid_and_describes_every_setting(language: str):
    made = schema.json_schema(language)
    jsonschema.Draft202012Validator.check_schema(made)
    text = json.dumps(made, ensure_ascii=False)
    for setting in settings.walk():
        if not setting.path.endswith(".type"):
            assert json.dumps(setting.help(language), ensure_ascii=False) in text


def test_presets_defaults_and_short_forms_fit_the_schema():
    check = jsonschema.Draft202012Validator(schema.json_schema())
    for name in layers.preset_names():
        check.validate(layers.preset_layer(name).values)
    yaml = YAML(typ="safe", pure=True)
    check.validate(yaml.load(dump(Config())))
    check.validate({"model": "demo", "adapter": "full", "method": {"type": "sft"}, "data": None})
    check.validate({"adapter": {"rank": 8}, "train": {}, "_run": {"x": 1}})


@pytest.mark.parametrize(
    "wrong",
    [
        {"adapter": {"type": "full", "rank": 8}},
        {"adapter": {"rank": 0}},
        {"adapter": "lorra"},
        {"modle": "demo"},
        {"data": {"lr": 1}},
        {"evaluate": {"every": 0}},
    ],
)
def test_wrong_settings_do_not_fit_the_schema(wrong: dict):
    assert not jsonschema.Draft202012Validator(schema.json_schema()).is_valid(wrong)


def test_the_help_table_has_every_setting_in_both_languages():
    for language in ("en", "zh"):
        table = help_table(language)
        for setting in settings.walk():
            assert f"--{setting.path}  " in table
            assert setting.help(language).split()[0] in table


def test_the_help_table_shows_one_section_alone():
    table = help_table("en", prefix="data.replay")
    assert "--data.replay.num_prompts" in table
    assert "--data.train" not in table


def test_the_walk_gives_each_key_once_and_each_path_a_type():
    keys = [setting.key for setting in settings.walk()]
    assert len(keys) == len(set(keys))
    ranks = settings.by_path()["adapter.rank"]
    assert (ranks[0].key, ranks[0].variant, ranks[0].default) == ("adapter.lora.rank", "lora", 8)
    assert (ranks[0].type, ranks[0].bounds) == ("a whole number", ">= 1, <= 4096")
    every = settings.by_path()["evaluate.every"][0]
    assert (every.choices, every.bounds) == (("epoch", "never"), ">= 1")
