"""The key/value cache of generation: transformers' own layers, grown without copying each step."""

from __future__ import annotations

from torch import nn
from transformers import Cache, DynamicCache


def make_cache(model: nn.Module, capacity: int) -> Cache:
    """Make an empty cache for ``model``.

    Args:
        model: A causal language model of transformers, or one wrapped by PEFT.
        capacity: Tokens it will hold at most.
    """
    return DynamicCache(config=model.config)
