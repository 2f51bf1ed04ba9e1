"""Simple preference optimization (Meng et al. 2024, https://arxiv.org/abs/2405.14734)."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from tunery.config.methods.simpo import SimPOConfig
from tunery.data.collate import Batch
from tunery.methods import pairs
from tunery.methods.base import Loss
from tunery.methods.pairs import Paired, Sides, smoothed
from tunery.policy.policy import Policy


class SimPO(Paired):
    """SimPO on pairs of a chosen and a rejected answer; the reward is the mean log-probability."""

    def __init__(self, config: SimPOConfig) -> None:
        self.config = config

    def loss(self, policy: Policy, batch: Batch, step: Mapping[str, Tensor]) -> Loss:
        """Sum the loss over the pairs, and over the tokens of the SFT term."""
        config = self.config
        logprob_K = policy.logprobs(batch)
        reward = Sides.of(pairs.mean_by_row(logprob_K, batch)).times(config.beta)
        loss_G = smoothed(reward.margin_G - config.gamma, config.label_smoothing)
        return pairs.with_sft(loss_G, logprob_K, batch, reward=reward, weight=config.sft_weight)
