"""Config -> YAML -> config is the identity, and no text on the command line crashes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tunery.config import load, read
from tunery.config.config import Config
from tunery.config.frozen import to_yaml
from tunery.config.settings import walk
from tunery.errors import TuneryError

FINITE = st.floats(allow_nan=False, allow_infinity=False)
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | FINITE | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
CONFIGS = st.builds(
    lambda variables, prompts, rate, seed, modules: Config.model_validate(
        {
            "data": {"variables": variables, "train": prompts},
            "evaluate": {"prompts": prompts},
            "optim": {"type": "adamw", "learning_rate": rate},
            "train": {"seed": seed},
            "adapter": {"type": "lora", "target_modules": modules},
        }
    ),
    variables=st.dictionaries(st.text(), st.text(), max_size=3),
    prompts=st.lists(st.text(), max_size=3),
    rate=st.floats(min_value=1e-12, max_value=1.0),
    seed=st.integers(0, 2**32 - 1),
    modules=st.lists(st.text(), min_size=1, max_size=3) | st.text(min_size=1),
)


def complaint(function: Callable[..., Any], *arguments: Any) -> str | None:
    """The message of the error that was raised, or None."""
    try:
        function(*arguments)
    except TuneryError as error:
        return error.message.strip()
    return None


FLAGS = st.sampled_from([f"--{setting.path}" for setting in walk()])


@settings(deadline=None)
@given(st.dictionaries(st.text().filter(lambda key: key != "<<"), PLAIN, min_size=1, max_size=4))
def test_any_plain_data_survives_yaml(values: dict[str, Any]):
    assert read.parse(to_yaml(values), "x").values == values


@settings(deadline=None)
@given(CONFIGS)
def test_any_config_survives_yaml(config: Config):
    values = read.parse(load.dump(config), "x").values
    assert Config.model_validate(values) == config


@settings(deadline=None)
@given(st.lists(FLAGS | st.text(max_size=12).map(lambda text: f"v{text}.yaml"), max_size=4))
def test_words_load_or_are_refused_with_a_sentence(words: list[str]):
    assert complaint(load.from_tokens, words) != ""


@settings(deadline=None)
@given(FLAGS, st.text(max_size=20))
def test_any_value_of_any_setting_loads_or_is_refused_by_name(flag: str, value: str):
    message = complaint(load.from_tokens, [f"{flag}={value}"])
    assert message is None or flag[2:].split(".")[0] in message


@settings(deadline=None)
@given(st.text(max_size=60))
def test_any_text_as_a_file_is_settings_or_a_sentence(text: str):
    message = complaint(read.parse, text, "train.yaml")
    assert message is None or message.startswith("train.yaml")
