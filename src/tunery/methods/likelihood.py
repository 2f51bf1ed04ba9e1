"""The likelihood of the trained tokens: of every token in pretraining, and the base of SFT."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from tunery.config.methods import MethodKind
from tunery.data.collate import Batch
from tunery.data.groups import RowGroup
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
            return Loss({"tokens": policy.nll(batch)})
        nll_K = -policy.logprobs(batch)
        nll_G = sum_by_group(sum_by_row(nll_K.double(), batch), batch)
        trained_G = sum_by_group(sum_by_row(torch.ones_like(nll_K), batch), batch)
        return Loss({"tokens": nll_G.sum()}, each=nll_G / trained_G)
