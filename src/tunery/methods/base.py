"""The interface of a training method: all that the training loop uses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

from tunery.data.collate import Batch
from tunery.data.groups import RowGroup
from tunery.data.rows import Rows
from tunery.policy.policy import Policy
from tunery.runs.context import RunContext


@dataclass(frozen=True, slots=True)
class Loss:
    """The loss of one micro batch.

    Args:
        total: Sums by the name of the count that divides each: 0-dim fp32 with a graph. The loop
            divides by that count over the whole global batch, so the gradient does not depend on
            how the batch was divided, and adds them up.
        sums: Measures by name, each as a sum and the count that it is a mean over; 0-dim, without
            a graph. The loop adds them over micro batches and ranks and divides.
        each: The mean loss of each group, over its own counts; not a number where it has none.
            Shape ``[G]``, without a graph.
    """

    total: Mapping[str, Tensor]
    sums: Mapping[str, tuple[Tensor, Tensor]] = field(default_factory=dict)
    each: Tensor | None = None


class Method(Protocol):
    """What is learned from groups of rows; made by its config section."""

    def units(self, group: RowGroup) -> Mapping[str, int]:
        """What a group adds to each count that a loss is divided by, by name."""
        ...

    def prepare(self, policy: Policy, rows: Rows, context: RunContext, *, name: str) -> Rows:
        """Add to the rows what the method needs, once, before the first step.

        What the untouched model says of them, or rows that each step looks at beside its own
        (``Rows.beside``) without learning from them.

        Args:
            policy: With the weights that training begins with.
            rows: Of training or evaluation.
            context: Its folder keeps what was computed, for a resume.
            name: Tells the rows of a run apart: ``train``, ``held_out``.
        """
        ...

    def before_step(self, policy: Policy, beside: Sequence[Batch]) -> Mapping[str, Tensor]:
        """What the losses of a step have in common: sums over the whole step, without gradients.

        Args:
            policy: In eval mode.
            beside: ``Rows.beside`` of the step's groups, as batches on the device.
        """
        ...

    def loss(self, policy: Policy, batch: Batch, step: Mapping[str, Tensor]) -> Loss:
        """Compute a micro batch.

        Args:
            policy: What is trained or measured.
            batch: Whole groups, on the device.
            step: What ``before_step`` gave, added up over all ranks.
        """
        ...


class Plain:
    """The usual answers of a method that needs nothing beforehand."""

    def prepare(self, policy: Policy, rows: Rows, context: RunContext, *, name: str) -> Rows:
        """The rows as they are."""
        return rows

    def before_step(self, policy: Policy, beside: Sequence[Batch]) -> Mapping[str, Tensor]:
        """Nothing."""
        return {}


def combine(total: Mapping[str, Tensor], units: Mapping[str, int]) -> Tensor:
    """The mean loss: each sum divided by its own count of the global batch, added up.

    Args:
        total: As ``Loss.total``.
        units: Counts by the same names.

    Returns:
        0-dim, with a graph.
    """
    first, *others = (value / max(1, units[name]) for name, value in total.items())
    for value in others:
        first = first + value
    return first


def sum_by_row(values_K: Tensor, batch: Batch) -> Tensor:
    """Add up the values of each row's trained tokens.

    Args:
        values_K: Shape ``[K]``.
        batch: Whose tokens they belong to.

    Returns:
        Shape ``[B]``, in the dtype of the values.
    """
    total_B = values_K.new_zeros(len(batch.rows))
    return total_B.index_add(0, batch.row_K, values_K)


def sum_by_group(values_B: Tensor, batch: Batch) -> Tensor:
    """Add up the values of each group's rows. Shape ``[B]`` to ``[G]``."""
    total_G = values_B.new_zeros(batch.num_groups)
    return total_G.index_add(0, batch.group_B, values_B)


def mean_of(values: Tensor) -> tuple[Tensor, Tensor]:
    """A measure that is a plain mean: the sum and the count."""
    return values.detach().sum(), torch.tensor(float(values.numel()), device=values.device)
