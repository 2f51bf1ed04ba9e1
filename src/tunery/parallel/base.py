"""The interface that the training loop uses to distribute a run over devices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from torch import Tensor

from tunery.policy.policy import Policy


@dataclass(frozen=True, slots=True)
class World:
    """The position of this process among those of the run.

    Args:
        rank: Index of this process; only rank 0 writes events, folders and samples.
        size: Number of processes.
        device: Device of this process, ``cpu`` or ``cuda:N``.
    """

    rank: int
    size: int
    device: str


@dataclass(frozen=True, slots=True)
class Flags:
    """Flags that all processes agree on: a flag raised by one is set for all.

    Args:
        stop: A stop was requested.
        save_due: The current state should be saved.
        out_of_memory: The micro batch did not fit.
    """

    stop: bool = False
    save_due: bool = False
    out_of_memory: bool = False


class Parallel(Protocol):
    """One way of distributing a run."""

    world: World

    def wrap(self, policy: Policy) -> None:
        """Distribute the model; called once adapters and kernels are attached and checked."""
        ...

    def share(
        self, groups: Sequence[int], lengths: np.ndarray, capacity: int, *, packing: bool
    ) -> list[list[int]]:
        """The micro batches of a step for this process; every process gets the same number.

        Args:
            groups: Indices of the step's groups.
            lengths: Tokens of every group of the run.
            capacity: Maximum tokens per micro batch; a longer group is computed alone.
            packing: False computes every group alone.
        """
        ...

    def add(self, tensor: Tensor) -> Tensor:
        """Sum a tensor over all processes."""
        ...

    def agree(self, flags: Flags) -> Flags:
        """Combine the flags of all processes by logical OR, in one exchange."""
        ...

    def save(self, state: Mapping[str, Tensor], file: Path) -> None:
        """Write the optimizer's state.

        Raises:
            OSError: The disk is full or cannot be written.
        """
        ...

    def load(self, file: Path) -> Mapping[str, Tensor]:
        """Read what ``save`` wrote."""
        ...
