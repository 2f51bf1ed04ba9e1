"""Contrastive preference optimization (Xu et al. 2024, https://arxiv.org/abs/2401.08417)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from tunery.config.methods.cpo import CPOConfig
from tunery.data.collate import Batch
from tunery.methods import pairs
from tunery.methods.base import Loss, sum_by_row
from tunery.methods.pairs import Paired, Sides, smoothed
from tunery.policy.policy import Policy


class CPO(Paired):
    """CPO on pairs of a chosen and a rejected answer, without a reference, plus an SFT term."""

    def __init__(self, config: CPOConfig) -> None:
        self.config = config

    def loss(self, policy: Policy, batch: Batch, step: Mapping[str, Tensor]) -> Loss:
        """Sum the loss over the pairs, and over the tokens of the SFT term."""
        config = self.config
        logprob_K = policy.logprobs(batch)
        logprob = Sides.of(sum_by_row(logprob_K, batch))
        match config.loss_type:
            case "sigmoid":
                loss_G = smoothed(config.beta * logprob.margin_G, config.label_smoothing)
            case "hinge":
                loss_G = torch.relu(1 - config.beta * logprob.margin_G)
            case "ipo":
                logprob = Sides.of(pairs.mean_by_row(logprob_K, batch))
                loss_G = (logprob.margin_G - 1 / (2 * config.beta)) ** 2
        return pairs.with_sft(
            loss_G, logprob_K, batch, reward=logprob.times(config.beta), weight=config.sft_weight
        )
