"""Detect models that attend to later tokens, from their ``config.json``.

Trained to predict the next token, such a model would learn to copy it. Models whose config does
not say are tested by ``policy.causal`` after loading.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tunery.errors import ModelError
from tunery.i18n import t
from tunery.models import files

DECODERS_BY_FLAG = frozenset({
    "bert", "bert-generation", "big_bird", "camembert", "data2vec-text", "electra", "ernie",
    "megatron-bert", "rembert", "roberta", "roberta-prelayernorm", "roc_bert", "roformer",
    "xlm-roberta", "xlm-roberta-xl", "xmod",
})  # fmt: skip
"""Encoders that are causal only if ``is_decoder`` is true in the config."""
NEVER = frozenset({"cpmant", "prophetnet"})
"""Types that are never causal."""
FLAG = "use_bidirectional_attention"


def check_config(folder: Path) -> None:
    """Reject a model whose config says that tokens attend to later tokens.

    Raises:
        ModelError: The model is not causal.
    """
    if reads_ahead(files.read_json(folder / files.CONFIG)):
        raise not_causal(folder)


def reads_ahead(config: dict[str, Any]) -> bool:
    """Whether a config says that a token attends to later tokens."""
    kind = config.get("model_type")
    if kind in DECODERS_BY_FLAG:
        return not config.get("is_decoder")
    if kind == "xlm":
        return not config.get("causal")
    if kind == "xlnet":
        return config.get("attn_type", "bi") != "uni"
    texts = (config, config.get("text_config") or {})
    return kind in NEVER or any(text.get(FLAG) in (True, "all") for text in texts)


def not_causal(model: Path | str) -> ModelError:
    """The error for a model that attends to later tokens."""
    return ModelError(
        t(
            "{model}: this model is not causal: its prediction of a token depends on "
            "later tokens, so it would learn to copy them.",
            model=model,
        ),
        fix=t(
            "Use a model that generates text from left to right. If this one can, set it "
            "in config.json (is_decoder: true for BERT and RoBERTa)."
        ),
        code="not_causal",
    )
