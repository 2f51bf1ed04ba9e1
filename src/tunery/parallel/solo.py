"""Train in a single process on one device."""

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
        """Do nothing: the model is not distributed."""

    def share(
        self, groups: Sequence[int], lengths: np.ndarray, capacity: int, *, packing: bool
    ) -> list[list[int]]:
        """All micro batches of the step."""
        return micro_batches(groups, lengths, capacity, packing=packing)

    def add(self, tensor: Tensor) -> Tensor:
        """Return the tensor unchanged."""
        return tensor

    def agree(self, flags: Flags) -> Flags:
        """Return the flags unchanged."""
        return flags

    def save(self, state: Mapping[str, Tensor], file: Path) -> None:
        """Write one safetensors file."""
        storage.write_tensors(file, state)

    def load(self, file: Path) -> Mapping[str, Tensor]:
        """Read the file that ``save`` wrote."""
        return storage.read_tensors(file)
