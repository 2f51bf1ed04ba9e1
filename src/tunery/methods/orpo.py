"""Odds ratio preference optimization (Hong et al. 2024, https://arxiv.org/abs/2403.07691)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from tunery.config.methods.orpo import ORPOConfig
from tunery.data.collate import Batch
from tunery.methods import pairs
from tunery.methods.base import Loss
from tunery.methods.pairs import Paired, Sides
from tunery.policy.policy import Policy


def log_odds(mean_G: Tensor) -> Tensor:
    """log(p / (1 - p)) of a probability p.

    Args:
        mean_G: log p: the mean log-probability per token, below 0. Shape ``[G]``.

    Returns:
        Shape ``[G]``; exact for p near 0 and near 1.
    """
    least = -torch.finfo(mean_G.dtype).eps
    return mean_G - torch.log(-torch.expm1(mean_G.clamp(max=least)))


class ORPO(Paired):
    """ORPO: SFT on the chosen answer, plus an odds-ratio term against the rejected one."""

    def __init__(self, config: ORPOConfig) -> None:
        self.config = config

    def loss(self, policy: Policy, batch: Batch, step: Mapping[str, Tensor]) -> Loss:
        """Sum the loss over the tokens of the chosen answers, and over the pairs."""
        beta = self.config.beta
        logprob_K = policy.logprobs(batch)
        mean = Sides.of(pairs.mean_by_row(logprob_K, batch))
        loss_G = -beta * logsigmoid(log_odds(mean.chosen_G) - log_odds(mean.rejected_G))
        return pairs.with_sft(loss_G, logprob_K, batch, reward=mean.times(beta), weight=1.0)
