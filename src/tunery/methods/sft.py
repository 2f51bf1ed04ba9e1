"""Supervised fine-tuning: the likelihood of the trained tokens of conversations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from tunery.data.collate import Batch, collate_groups
from tunery.data.groups import RowGroup
from tunery.policy.forward import token_losses


class SFT:
    """Next-token cross-entropy where the loss mask is true."""

    unit = "tokens"

    def units(self, group: RowGroup) -> int:
        """Trained tokens; the first token of a row is predicted from nothing and never counts."""
        return group.num_trained

    def batch(self, groups: Sequence[RowGroup], numbers: Sequence[int]) -> Batch:
        """Pack the rows into one sequence whose segments do not see each other."""
        return collate_groups(groups, numbers)

    def loss(self, model: nn.Module, batch: Batch) -> tuple[Tensor, Mapping[str, Tensor]]:
        """Sum of the trained tokens' negative log-likelihood, in nats."""
        loss_sum, _ = token_losses(model, batch)
        return loss_sum, {}
