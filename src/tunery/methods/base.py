"""The interface of a training method: all that the training loop uses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor, nn

from tunery.data.collate import Batch
from tunery.data.groups import RowGroup
from tunery.data.rows import Rows
from tunery.policy.policy import Policy
from tunery.runs.context import RunContext


@dataclass(frozen=True, slots=True)
class Loss:
    """The loss of one micro batch.

    Args:
        total: Loss sums, keyed by the name of the count that divides each; 0-dim fp32 with a
            graph. The loop divides each by its count over the whole global batch and adds them up,
            so the gradient does not depend on the split into micro batches.
        sums: Measures by name, each as (sum, count) of a mean; 0-dim, without a graph. The loop
            adds them over micro batches and ranks, then divides. If one is named ``loss``, a step
            reports it as its loss, and the total as ``objective``.
        each: Mean loss of each group, over its own counts; NaN if these are zero.
            Shape ``[G]``, without a graph.
    """

    total: Mapping[str, Tensor]
    sums: Mapping[str, tuple[Tensor, Tensor]] = field(default_factory=dict)
    each: Tensor | None = None


class Method(Protocol):
    """A training method: computes the loss of groups of rows; created by its config section."""

    @property
    def others(self) -> Sequence[nn.Module]:
        """Further models that it has loaded, which occupy memory beside the trained one."""
        ...

    def units(self, group: RowGroup) -> Mapping[str, int]:
        """The amount that a group adds to each loss divisor, by name."""
        ...

    def prepare(self, policy: Policy, rows: Rows, context: RunContext, *, name: str) -> Rows:
        """Add to the rows what the method needs, once, before the first step.

        For example reference log-probabilities of the unmodified model, or extra rows that each
        step reads without training on them (``Rows.beside``).

        Args:
            policy: The model with its initial weights.
            rows: Rows for training or evaluation.
            context: Its folder stores the computed values for a resume.
            name: Identifies the rows within the run: ``train``, ``held_out``.
        """
        ...

    def prepared(self) -> None:
        """Called when all rows are prepared, to free what only ``prepare`` needs."""
        ...

    def before_step(self, policy: Policy, beside: Sequence[Batch]) -> Mapping[str, Tensor]:
        """Values shared by all losses of a step: sums over the whole step, without gradients.

        Args:
            policy: The model, in eval mode.
            beside: ``Rows.beside`` of the step's groups, as batches on the device.
        """
        ...

    def after_step(self, step: Mapping[str, Tensor]) -> dict[str, float]:
        """Called when a step was taken; returns what the next steps need, for the checkpoint.

        Args:
            step: The result of ``before_step``, summed over all ranks.
        """
        ...

    def resume(self, saved: Mapping[str, float]) -> None:
        """Restore what the last ``after_step`` of a checkpoint returned; empty if nothing."""
        ...

    def loss(self, policy: Policy, batch: Batch, step: Mapping[str, Tensor]) -> Loss:
        """Compute the loss of a micro batch.

        Args:
            policy: The model being trained or evaluated.
            batch: Complete groups, on the device.
            step: The result of ``before_step``, summed over all ranks.
        """
        ...


class Plain:
    """Default implementations for methods that need no preparation."""

    @property
    def others(self) -> Sequence[nn.Module]:
        """No further models."""
        return ()

    def prepare(self, policy: Policy, rows: Rows, context: RunContext, *, name: str) -> Rows:
        """Return the rows unchanged."""
        return rows

    def prepared(self) -> None:
        """Free nothing."""

    def before_step(self, policy: Policy, beside: Sequence[Batch]) -> Mapping[str, Tensor]:
        """Return no shared values."""
        return {}

    def after_step(self, step: Mapping[str, Tensor]) -> dict[str, float]:
        """Keep nothing."""
        return {}

    def resume(self, saved: Mapping[str, float]) -> None:
        """Restore nothing."""


def combine(total: Mapping[str, Tensor], units: Mapping[str, int]) -> Tensor:
    """The mean loss: the total of each sum divided by its own count over the global batch.

    Args:
        total: As in ``Loss.total``.
        units: Counts under the same names.

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
        values_K: One value per trained token. Shape ``[K]``.
        batch: The batch of these tokens.

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
    """The (sum, count) pair of a measure that is a plain mean."""
    return values.detach().sum(), torch.tensor(float(values.numel()), device=values.device)
