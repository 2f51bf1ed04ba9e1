"""Reward models: the Bradley-Terry likelihood of which answer is preferred.

As in Ouyang et al. 2022 (https://arxiv.org/abs/2203.02155), with the margin of Llama 2
(https://arxiv.org/abs/2307.09288) and the centering term of Eisenstein et al. 2023
(https://arxiv.org/abs/2312.09244).

Shapes: B rows, G pairs.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from tunery.config.methods.reward import RewardConfig
from tunery.data.collate import Batch
from tunery.data.groups import RowGroup
from tunery.data.rows import Rows
from tunery.methods.base import Loss, Plain
from tunery.methods.pairs import Sides, reward_measures, smoothed
from tunery.policy.policy import Policy
from tunery.runs.context import RunContext


class Reward(Plain):
    """One score per answer; the loss is -log sigmoid(chosen - rejected - margin)."""

    def __init__(self, config: RewardConfig) -> None:
        self.config = config

    def units(self, group: RowGroup) -> Mapping[str, int]:
        """Each pair counts as one."""
        return {"pairs": 1}

    def prepare(self, policy: Policy, rows: Rows, context: RunContext, *, name: str) -> Rows:
        """Keep the rows whole: the score is read at their last token."""
        return rows.whole(unlike=policy.pad_id)

    def loss(self, policy: Policy, batch: Batch, step: Mapping[str, Tensor]) -> Loss:
        """Sum the loss over the pairs."""
        reward = Sides.of(policy.scores(batch))
        margin_G = reward.margin_G
        if "margin" in batch.facts:
            margin_G = margin_G - batch.facts["margin"].nan_to_num(nan=0.0)
        loss_G = smoothed(margin_G, 0.0)
        if self.config.center_rewards_coefficient:
            total_G = reward.chosen_G + reward.rejected_G
            loss_G = loss_G + self.config.center_rewards_coefficient * total_G.square()
        with torch.no_grad():
            sums = reward_measures(reward)
        return Loss({"pairs": loss_G.sum()}, sums, each=loss_G.detach())
