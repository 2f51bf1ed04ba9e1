"""How long a row may be for a model, and what changes in long ones.

Rows never get more tokens than the model has positions, unless its config asks for RoPE scaling.
A table of learned positions (GPT-2, OPT) ends there, and rotary ones were never trained beyond.
"""

from __future__ import annotations

from tunery.config.config import Config
from tunery.i18n import t
from tunery.models import files
from tunery.models.resolved import Resolved


def within_context(config: Config, model: Resolved) -> Config:
    """Lower ``data.max_length`` to the model's positions; the same config if it already fits.

    Args:
        config: The settings.
        model: What ``model.name`` refers to.
    """
    positions = model.context_length
    if positions is None or config.data.max_length <= positions:
        return config
    data = config.data.model_copy(update={"max_length": positions})
    return config.model_copy(update={"data": data})


def lowered(asked: Config, given: Config) -> str:
    """Report that the requested length was lowered."""
    return t(
        "data.max_length is lowered from {asked:,} to {given:,}, the model's number of positions.",
        asked=asked.data.max_length,
        given=given.data.max_length,
    )


def indexed(config: Config, model: Resolved) -> str:
    """Say what a sparse indexer (DeepSeek V3.2, GLM 5) means for long rows; empty without one."""
    said = files.read_json(model.model_folder / files.CONFIG)
    texts = (said, said.get("text_config") or {})
    chosen = next((n for text in texts if isinstance(n := text.get("index_topk"), int)), None)
    if chosen is None or config.data.max_length <= chosen:
        return ""
    return t(
        "In rows longer than {chosen:,} tokens, this model attends only to the "
        "{chosen:,} tokens that its indexer picks: its output there can depend on the "
        "length of the row, and the indexer itself is not trained.",
        chosen=chosen,
    )
