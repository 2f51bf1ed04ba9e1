"""The longest row that a model accepts, and what changes in long rows.

Rows never have more tokens than the model has positions (including RoPE scaling if its config
enables it). Learned position tables (GPT-2, OPT) end there; rotary embeddings were not trained
beyond.
"""

from __future__ import annotations

from tunery.config.config import Config
from tunery.i18n import t
from tunery.models import files
from tunery.models.resolved import Resolved


def within_context(config: Config, model: Resolved) -> Config:
    """Lower ``data.max_length`` to the model's positions; the same config if it fits already.

    Args:
        config: The settings.
        model: The model that ``model.name`` refers to.
    """
    positions = model.context_length
    if positions is None or config.data.max_length <= positions:
        return config
    data = config.data.model_copy(update={"max_length": positions})
    return config.model_copy(update={"data": data})


def lowered(asked: Config, given: Config) -> str:
    """The notice that ``data.max_length`` was lowered."""
    return t(
        "data.max_length is lowered from {asked:,} to {given:,}, the model's number of positions.",
        asked=asked.data.max_length,
        given=given.data.max_length,
    )


def indexed(config: Config, model: Resolved) -> str:
    """The notice on long rows for models with a sparse indexer (DeepSeek V3.2, GLM 5), or empty."""
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
