"""Direct preference optimization (Rafailov et al. 2023, https://arxiv.org/abs/2305.18290)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from tunery.config.methods.dpo import DPOConfig
from tunery.data.collate import Batch
from tunery.data.groups import RowGroup
from tunery.data.rows import Rows
from tunery.methods.base import Loss, Plain, mean_of, sum_by_row
from tunery.methods.reference import reference_logprobs, with_reference
from tunery.policy.policy import Policy
from tunery.runs.context import RunContext


def sigmoid_loss(margin_G: Tensor) -> Tensor:
    """The loss of each pair.

    Args:
        margin_G: beta * ((log p - log ref)(chosen) - (log p - log ref)(rejected)). Shape ``[G]``.

    Returns:
        Shape ``[G]``.
    """
    return -logsigmoid(margin_G)


class DPO(Plain):
    """Pairs: the row at even places of a batch is chosen, the one after it rejected."""

    def __init__(self, config: DPOConfig) -> None:
        self.config = config

    def units(self, group: RowGroup) -> Mapping[str, int]:
        """A pair is one, however long."""
        return {"pairs": 1}

    def prepare(self, policy: Policy, rows: Rows, context: RunContext, *, name: str) -> Rows:
        """The reference, where it has to be kept."""
        return with_reference(policy, rows, context, name=name)

    def loss(self, policy: Policy, batch: Batch, step: Mapping[str, Tensor]) -> Loss:
        """Sum over the pairs."""
        reference_K = reference_logprobs(policy, batch)
        logprob_K = policy.logprobs(batch)
        reward_B = self.config.beta * sum_by_row(logprob_K - reference_K, batch)
        chosen_G, rejected_G = reward_B[0::2], reward_B[1::2]
        loss_G = sigmoid_loss(chosen_G - rejected_G)
        with torch.no_grad():
            said_B = sum_by_row(logprob_K, batch)
            sums = {
                "reward_accuracy": mean_of((chosen_G > rejected_G).float()),
                "reward_margin": mean_of(chosen_G - rejected_G),
                "reward_chosen": mean_of(chosen_G),
                "reward_rejected": mean_of(rejected_G),
                "logprob_chosen": mean_of(said_B[0::2]),
                "logprob_rejected": mean_of(said_B[1::2]),
            }
        return Loss({"pairs": loss_G.sum()}, sums, each=loss_G.detach())
