"""One process on one device."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from torch import Tensor

from tunery import storage
from tunery.data.packing import micro_batches
from tunery.parallel.base import Flags, World
from tunery.policy.policy import Policy


class Solo:
    """A single process without communication."""

    def __init__(self, device: str) -> None:
        self.world = World(0, 1, device)

    def wrap(self, policy: Policy) -> None:
        """The model stays as it is."""

    def share(
        self, groups: Sequence[int], lengths: np.ndarray, capacity: int, *, packing: bool
    ) -> list[list[int]]:
        """All of them."""
        return micro_batches(groups, lengths, capacity, packing=packing)

    def add(self, tensor: Tensor) -> Tensor:
        """The tensor itself."""
        return tensor

    def agree(self, flags: Flags) -> Flags:
        """The flags of this process."""
        return flags

    def save(self, state: Mapping[str, Tensor], file: Path) -> None:
        """One safetensors file."""
        storage.write_tensors(file, state)

    def load(self, file: Path) -> Mapping[str, Tensor]:
        """That file."""
        return storage.read_tensors(file)
