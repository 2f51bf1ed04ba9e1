"""The description of an export, resolved on the light side before anything is loaded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tunery.config.quantization import QuantizationKind

Stage = Callable[[str, int, int], object]
"""Told what is being done, how many of its parts are done, and their number (0: not counted)."""


def silent(text: str, done: int = 0, total: int = 0) -> None:
    """A :data:`Stage` that tells nobody."""


@dataclass(frozen=True, slots=True)
class Order:
    """One export.

    Args:
        name: The name given by the user.
        folder: Folder of the full model; for an adapter, that of its base.
        adapter: Folder of the adapter; None if the full model was trained.
        base_name: Hub id or path of the base model.
        base_revision: The hub's commit; empty for a path.
        template: Chat template used in training; None means the tokenizer's own.
        dtype: Dtype of training and of the written weights, or ``auto``.
        device: Device to run on, as ``model.device``.
        quantization: How the base was quantized in training; None if it was not.
    """

    name: str
    folder: Path
    adapter: Path | None
    base_name: str
    base_revision: str
    template: str | None
    dtype: str
    device: str
    quantization: QuantizationKind | None = None
