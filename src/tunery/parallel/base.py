"""What the loop asks of the way in which a run is spread over devices."""

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
        rank: 0 writes events, folders and samples; the others are silent.
        size: How many processes there are.
        device: ``cpu`` or ``cuda:N``, this process's own.
    """

    rank: int
    size: int
    device: str


@dataclass(frozen=True, slots=True)
class Flags:
    """Flags that all processes agree on: a flag raised by one is set for all.

    Args:
        stop: A stop was asked for.
        save_due: The state after this step is to be saved.
        out_of_memory: The micro batch did not fit.
    """

    stop: bool = False
    save_due: bool = False
    out_of_memory: bool = False


class Parallel(Protocol):
    """One way of spreading a run."""

    world: World

    def wrap(self, policy: Policy) -> None:
        """Spread the model; after adapters, kernels and their probes."""
        ...

    def share(
        self, groups: Sequence[int], lengths: np.ndarray, capacity: int, *, packing: bool
    ) -> list[list[int]]:
        """This process's micro batches of a step: as many as any other's.

        Args:
            groups: Numbers of the step's groups.
            lengths: Tokens of every group of the run.
            capacity: Most tokens at once; a longer group is computed alone.
            packing: False computes every group alone.
        """
        ...

    def add(self, tensor: Tensor) -> Tensor:
        """The sum of a tensor over all processes."""
        ...

    def agree(self, flags: Flags) -> Flags:
        """What any process raises; one exchange."""
        ...

    def save(self, state: Mapping[str, Tensor], file: Path) -> None:
        """Write the optimizer's state.

        Raises:
            OSError: The disk.
        """
        ...

    def load(self, file: Path) -> Mapping[str, Tensor]:
        """Read what ``save`` wrote."""
        ...
