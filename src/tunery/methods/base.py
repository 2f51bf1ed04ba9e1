"""What a method is to the engine, and the table of methods."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from torch import Tensor, nn

from tunery.data.groups import RowGroup
from tunery.registry import Registry


class Method(Protocol):
    """What is learned from rows. The loop knows only this.

    ``loss`` gives a sum, not a mean: the loop divides by ``units`` of the whole global batch, so
    the gradient does not depend on how the batch was divided.
    """

    unit: str
    """What the loss is normalised by, in words: tokens, pairs."""

    def units(self, group: RowGroup) -> int:
        """How many units a group counts."""
        ...

    def batch(self, groups: Sequence[RowGroup], numbers: Sequence[int]) -> Any:
        """Make what ``loss`` eats from groups; ``numbers`` are their places among the rows."""
        ...

    def loss(self, model: nn.Module, batch: Any) -> tuple[Tensor, Mapping[str, Tensor]]:
        """Compute a micro batch.

        Returns:
            The loss summed over the batch's units, a 0-dim fp32 tensor with a graph, and further
            sums to be shown beside it.
        """
        ...


METHODS: Registry[Any] = Registry("method")
METHODS.add("sft", "tunery.methods.sft:SFT")
METHODS.add("pretrain", "tunery.methods.pretrain:Pretrain")
