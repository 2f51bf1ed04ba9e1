"""Supervised fine-tuning: the likelihood of the answers, or a loss derived from it."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from tunery.config.methods.sft import SFTConfig
from tunery.data.collate import Batch
from tunery.measures import LOSS
from tunery.methods.base import Loss, mean_of
from tunery.methods.likelihood import Likelihood
from tunery.methods.sft_losses import LOSSES
from tunery.policy.policy import Policy
from tunery.policy.tokens import Wanted


class SFT(Likelihood):
    """The loss chosen by ``method.loss`` where the loss mask is true.

    What is told as the loss, and measured on held-out rows, is always the plain cross-entropy: it
    can be compared between runs, and some of the other losses also fall as an answer becomes less
    probable.
    """

    config: SFTConfig

    def __init__(self, config: SFTConfig) -> None:
        super().__init__(config)
        self.wanted = Wanted(
            uniform=config.label_smoothing > 0,
            top_k=config.eaft_top_k if config.loss == "eaft" else 0,
            kl=config.needs_before,
        )

    def loss(self, policy: Policy, batch: Batch, step: Mapping[str, Tensor]) -> Loss:
        """Sum of the trained tokens' losses; without a gradient, of their cross-entropy."""
        if self.config.is_plain or not torch.is_grad_enabled():
            return super().loss(policy, batch, step)
        tokens = policy.tokens(batch, self.wanted)
        loss_K = LOSSES[self.config.loss](tokens, self.config)
        return Loss({"tokens": loss_K.sum()}, {LOSS.name: mean_of(tokens.nll_K)})
