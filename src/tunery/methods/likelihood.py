"""The likelihood of the trained tokens: of every token in pretraining, and the base of SFT.

Rows may have weights, which are not normalized: a loss is divided by the number of trained tokens,
so a row of weight 2 counts as if it came twice in its batch, whatever else is in it.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from tunery.config.methods import MethodKind
from tunery.data.collate import Batch
from tunery.data.groups import WEIGHT, RowGroup
from tunery.methods.base import Loss, Plain, sum_by_group, sum_by_row
from tunery.policy.policy import Policy


class Likelihood(Plain):
    """Next-token cross-entropy where the loss mask is true."""

    def __init__(self, config: MethodKind) -> None:
        self.config = config

    def units(self, group: RowGroup) -> Mapping[str, int]:
        """The trained tokens of the group."""
        return {"tokens": group.num_trained}

    def loss(self, policy: Policy, batch: Batch, step: Mapping[str, Tensor]) -> Loss:
        """Sum of the trained tokens' negative log-likelihood, in nats."""
        if torch.is_grad_enabled():
            return Loss({"tokens": policy.nll(batch, weights(batch))})
        nll_K = -policy.logprobs(batch)
        nll_G = sum_by_group(sum_by_row(nll_K.double(), batch), batch)
        trained_G = sum_by_group(sum_by_row(torch.ones_like(nll_K), batch), batch)
        return Loss({"tokens": nll_G.sum()}, each=nll_G / trained_G)


def weights(batch: Batch) -> Tensor | None:
    """The weight of each trained token. Shape ``[K]``, fp32.

    None if no row has one, and without a gradient: held-out rows are measured without weights.
    """
    if WEIGHT not in batch.facts or not torch.is_grad_enabled():
        return None
    return by_token(batch, batch.facts[WEIGHT].nan_to_num(1.0))


def by_token(batch: Batch, values_G: Tensor) -> Tensor:
    """Values of groups, for each of their trained tokens. Shape ``[G]`` to ``[K]``."""
    return values_G[batch.group_B][batch.row_K]
