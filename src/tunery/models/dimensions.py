"""Check the sizes in a model's ``config.json`` for plausible values."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tunery.errors import ModelError
from tunery.i18n import t
from tunery.models import files
from tunery.shape import NAMES
from tunery.types import is_object

SIZES = ("hidden_size", "num_hidden_layers", "num_attention_heads", "vocab_size")
ALONE = ("num_key_value_heads", "max_position_embeddings")
MOST = {"num_hidden_layers": 4_096}
"""Upper limits by key. Even without weights each layer takes memory; real models have hundreds."""
MOST_OF_ALL = 2**31
"""Upper limit of every other size."""
DIVIDED = frozenset({"llama", "gpt_neox"})
"""Architectures that require hidden_size to be a multiple of the heads, despite ``head_dim``."""


def check_folder(folder: Path) -> None:
    """Reject a model whose config has an impossible size.

    Raises:
        ModelError: With the first such key and its value.
    """
    for problem in problems(files.read_json(folder / files.CONFIG)):
        raise ModelError(
            t("{file}: {problem}.", file=folder / files.CONFIG, problem=problem),
            fix=t("Use the original config.json of the model: download it again."),
            code="bad_config",
            path=folder,
        )


def problems(config: dict[str, Any]) -> Iterator[str]:
    """Describe every impossible size in a config, one translated sentence each."""
    inner = config.get("text_config")
    for part in (config, inner if is_object(inner) else {}):
        for name in (*SIZES, *ALONE):
            for key in (name, *NAMES.get(name, ())):
                value: Any = part.get(key)
                most = MOST.get(name, MOST_OF_ALL)
                if isinstance(value, bool) or not isinstance(value, int):
                    continue
                if value < 1:
                    yield t("{key} is {value}; expected at least 1", key=key, value=value)
                elif value > most:
                    yield t("{key} is {value:,}; at most {most:,} are supported",
                            key=key, value=value, most=most)  # fmt: skip
    if config.get("model_type") in DIVIDED:
        hidden, heads = config.get("hidden_size"), config.get("num_attention_heads")
        if isinstance(hidden, int) and isinstance(heads, int) and heads > 0 and hidden % heads:
            yield t("hidden_size {hidden} is not a multiple of num_attention_heads {heads}",
                    hidden=hidden, heads=heads)  # fmt: skip
