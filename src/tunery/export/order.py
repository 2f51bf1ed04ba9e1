"""What is to be exported, decided on the light side before anything is loaded."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Order:
    """One export.

    Args:
        name: What the user named.
        folder: Folder of the whole model, the base's for an adapter.
        adapter: Folder of the adapter; None where every weight was trained.
        base_name: How others find the base: a hub id, or a path.
        base_revision: The hub's commit; empty for a path.
        template: Chat template the run was trained with; None is the tokenizer's own.
        dtype: Type of the numbers it was trained in and will be written in, or ``auto``.
        device: Where to run it, as ``model.device``.
    """

    name: str
    folder: Path
    adapter: Path | None
    base_name: str
    base_revision: str
    template: str | None
    dtype: str
    device: str
