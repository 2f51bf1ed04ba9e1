"""The interface of an adapter's heavy half, which imports torch and transformers."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from torch import nn
from transformers import PreTrainedTokenizerBase

from tunery.config.adapters import AdapterKind


class Adapter(Protocol):
    """Selects the weights to train and saves them; created by its config section."""

    config: AdapterKind

    def attach(self, model: nn.Module, *, adapter: Path | None, base_name: str) -> nn.Module:
        """Make the chosen weights trainable and everything else frozen.

        Args:
            model: The loaded base model; changed in place.
            adapter: Folder of the adapter that the run continues from; None for a plain base.
            base_name: The base to record: a hub id or a folder.

        Returns:
            The model to train. New weights are drawn from torch's global generator.

        Raises:
            ConfigError: A named module does not exist or cannot be trained.
        """
        ...

    def remarks(self, model: nn.Module) -> list[str]:
        """Messages about weights that are not trained although the settings may suggest it.

        Args:
            model: The model returned by ``attach``; it may be on the meta device.
        """
        ...

    def off(self, model: nn.Module) -> Callable[[], AbstractContextManager[None]] | None:
        """A context manager factory that restores the model to its state before training.

        Returns:
            None if the model cannot be switched back: its weights are trained in place, or the run
            continues from an existing adapter.
        """
        ...

    def write(self, model: nn.Module, tokenizer: PreTrainedTokenizerBase, into: Path) -> None:
        """Write ``into/adapter`` or ``into/model``, in the ecosystem's own format.

        Raises:
            OSError: The disk is full or cannot be written.
        """
        ...
