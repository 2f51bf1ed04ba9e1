"""The numbers of every causal language model type of transformers are read from its config.json."""

from __future__ import annotations

import json
from typing import Any

import pytest
from transformers import CONFIG_MAPPING
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from tunery.shape import ModelShape

WITHOUT_HEADS = {"falcon_mamba", "mamba", "rwkv"}
HALVES = {"longcat_flash"}
"""Whose layers are pairs."""


THEIRS = {
    "hidden": "hidden_size",
    "num_layers": "num_hidden_layers",
    "num_heads": "num_attention_heads",
    "vocab": "vocab_size",
}


def _config(kind: str) -> Any:
    try:
        return CONFIG_MAPPING[kind]()
    except Exception as error:
        pytest.skip(f"transformers cannot make a default {kind}: {type(error).__name__}")


@pytest.mark.parametrize("kind", sorted(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES))
def test_a_type_has_a_shape_and_it_is_that_of_its_config(kind: str) -> None:
    config = _config(kind)
    shape = ModelShape.from_config_json(json.loads(config.to_json_string(use_diff=False)))
    assert shape.guessed == (("num_attention_heads",) if kind in WITHOUT_HEADS else ())
    assert shape.total_parameters > 0
    text = config.get_text_config(decoder=True)
    for ours, theirs in THEIRS.items():
        try:
            expected = getattr(text, theirs, None)
        except Exception:
            continue
        if isinstance(expected, int) and kind not in HALVES:
            assert getattr(shape, ours) == expected, theirs


def test_a_config_that_says_nothing_is_guessed_and_says_so() -> None:
    shape = ModelShape.from_config_json({"model_type": "new"}, total_parameters=7)
    assert shape.guessed == (
        "hidden_size",
        "num_hidden_layers",
        "num_attention_heads",
        "vocab_size",
    )
    assert shape.total_parameters == 7
