"""What the heavy half of an adapter does."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from torch import nn
from transformers import PreTrainedTokenizerBase

from tunery.config.adapters import AdapterKind
from tunery.errors import ConfigError
from tunery.i18n import joined, t


class Adapter(Protocol):
    """One way of choosing and keeping what is trained; made by its config section."""

    config: AdapterKind

    def attach(self, model: nn.Module, *, adapter: Path | None, base_name: str) -> nn.Module:
        """Make the chosen weights trainable and everything else frozen.

        Args:
            model: The loaded base; changed in place.
            adapter: An adapter folder that the run continues from; None for a plain base.
            base_name: What to write down as the base: a hub id or a folder.

        Returns:
            The model to be trained. Its new weights are drawn from torch's generator.

        Raises:
            ConfigError: A named module does not exist or cannot be trained.
        """
        ...

    def remarks(self, model: nn.Module) -> list[str]:
        """What is not trained though a reader of the settings may expect it, in sentences.

        Args:
            model: What ``attach`` gave; it may be on the meta device.
        """
        ...

    def off(self, model: nn.Module) -> Callable[[], AbstractContextManager[None]] | None:
        """What makes the model as it was before training, for as long as the context lasts.

        Returns:
            None where that cannot be switched: the weights are trained in place, or the adapter
            was not new when the run began.
        """
        ...

    def write(self, model: nn.Module, tokenizer: PreTrainedTokenizerBase, into: Path) -> None:
        """Write ``into/adapter`` or ``into/model``, in the ecosystem's own format.

        Raises:
            OSError: The disk is full or cannot be written.
        """
        ...


def no_such_module(setting: str, name: str, known: Iterable[str]) -> ConfigError:
    """The error for a module name that matches nothing, with near misses."""
    names = sorted({each for each in known if not each.isdigit()})  # a layer's number is no name
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    shown = ", ".join(names[:20]) + (" ..." if len(names) > 20 else "")
    has = t("Available: {names}.", names=shown) if names else ""
    meant = t("Did you mean {name}?", name=" / ".join(near)) if near else ""
    if name.replace("_", "-") in ("all", "linear", "all-linear"):
        meant = t("To use every linear layer: --adapter.target_modules all-linear.")
    return ConfigError(
        t("{setting}: this model has no module {name!r}.", setting=setting, name=name),
        fix=joined(meant, has),
    )
