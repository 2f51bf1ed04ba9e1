"""Full training: train every weight of the model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from torch import nn
from transformers import PreTrainedTokenizerBase

from tunery.config.adapters.full import FullConfig
from tunery.models.attach import load_adapter
from tunery.storage import full_disk

MAX_SHARD_BYTES = 5 * 10**9


class Full:
    """The ``full`` adapter: nothing is added, everything is trained."""

    def __init__(self, config: FullConfig) -> None:
        self.config = config

    def attach(self, model: nn.Module, *, adapter: Path | None, base_name: str) -> nn.Module:
        """Make every weight trainable; an adapter to continue from is merged first."""
        model = merged(model, adapter)
        for param in model.parameters():
            param.requires_grad_(True)
        return model

    def remarks(self, model: nn.Module) -> list[str]:
        """No remarks: every weight is trained."""
        return []

    def off(self, model: nn.Module) -> None:
        """None: the weights are trained in place."""
        return None

    def write(self, model: nn.Module, tokenizer: PreTrainedTokenizerBase, into: Path) -> None:
        """Write ``model/``: config, safetensors shards, tokenizer and chat template."""
        write_model(model, tokenizer, into / self.config.writes)


def merged(model: Any, adapter: Path | None) -> Any:
    """The model with the adapter merged into its weights; unchanged without an adapter."""
    if adapter is None:
        return model
    return load_adapter(model, adapter, resize=True).merge_and_unload()  # type: ignore[operator]


def write_model(model: Any, tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """Write a model folder that plain transformers can load.

    Raises:
        OSError: The disk is full (also if safetensors reports that with its own error type).
    """
    folder.mkdir()
    try:
        model.save_pretrained(folder, max_shard_size=MAX_SHARD_BYTES)
        tokenizer.save_pretrained(folder)
    except SafetensorError as error:
        raise full_disk(error) or error from None
