"""Code shared by the methods that learn from pairs.

Even rows of a batch are chosen answers; each odd row is the rejected answer of the same pair.

Shapes: K trained tokens, B rows, G pairs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from tunery.data.collate import Batch
from tunery.data.groups import RowGroup
from tunery.methods.base import Loss, Plain, mean_of, sum_by_row

SFT_UNIT = "chosen_tokens"
"""Name of the count that divides the SFT term: trained tokens of the chosen answers."""


@dataclass(frozen=True, slots=True)
class Sides:
    """One value for each chosen answer and one for its rejected answer. Shape ``[G]`` each."""

    chosen_G: Tensor
    rejected_G: Tensor

    @classmethod
    def of(cls, values_B: Tensor) -> Sides:
        """Split the rows of a batch into chosen and rejected."""
        return cls(values_B[0::2], values_B[1::2])

    @property
    def margin_G(self) -> Tensor:
        """Chosen minus rejected."""
        return self.chosen_G - self.rejected_G

    def times(self, factor: float | Tensor) -> Sides:
        """Both values multiplied by a factor."""
        return Sides(self.chosen_G * factor, self.rejected_G * factor)


class Paired(Plain):
    """Base class of the pair methods: defines their counts."""

    def units(self, group: RowGroup) -> Mapping[str, int]:
        """Each pair counts as one; an SFT term counts the trained tokens of the chosen answer."""
        return {"pairs": 1, SFT_UNIT: group.rows[0].num_trained}


def counts(batch: Batch) -> Tensor:
    """Trained tokens of each row, at least 1. Shape ``[B]``, fp32."""
    return torch.tensor(batch.trained_counts, device=batch.row_K.device).clamp(min=1).float()


def mean_by_row(values_K: Tensor, batch: Batch) -> Tensor:
    """Mean over each row's trained tokens. Shape ``[B]``."""
    return sum_by_row(values_K, batch) / counts(batch)


def smoothed(margin_G: Tensor, smoothing: float) -> Tensor:
    """The logistic loss of a margin, assuming that a share of the labels is flipped.

    Args:
        margin_G: Reward of the chosen answer minus that of the rejected one. Shape ``[G]``.
        smoothing: Share of flipped labels (conservative DPO, https://ericmitchell.ai/cdpo.pdf).

    Returns:
        Shape ``[G]``.
    """
    loss_G = -logsigmoid(margin_G)
    if smoothing:
        return (1 - smoothing) * loss_G - smoothing * logsigmoid(-margin_G)
    return loss_G


def reward_measures(reward: Sides) -> dict[str, tuple[Tensor, Tensor]]:
    """The measures of the rewards, as (sum, count) by name."""
    return {
        "reward_accuracy": mean_of((reward.chosen_G > reward.rejected_G).float()),
        "reward_margin": mean_of(reward.margin_G),
        "reward_chosen": mean_of(reward.chosen_G),
        "reward_rejected": mean_of(reward.rejected_G),
    }


def measures(reward: Sides, logprob: Sides) -> Mapping[str, tuple[Tensor, Tensor]]:
    """The measures that steps and evaluations report, as (sum, count) by name.

    Args:
        reward: The implicit rewards.
        logprob: Log-probabilities of the answers, in nats.
    """
    return {
        **reward_measures(reward),
        "logprob_chosen": mean_of(logprob.chosen_G),
        "logprob_rejected": mean_of(logprob.rejected_G),
    }


def with_sft(
    loss_G: Tensor, logprob_K: Tensor, batch: Batch, *, reward: Sides, weight: float
) -> Loss:
    """Combine a pair loss with an SFT term: the likelihood of the chosen answers.

    Args:
        loss_G: Loss of each pair. Shape ``[G]``.
        logprob_K: Log-probability of each trained token, in nats. Shape ``[K]``.
        batch: The batch of these pairs.
        reward: Implicit rewards, for the measures.
        weight: Weight of the SFT term, a mean over the tokens of all chosen answers of the step.
    """
    logprob = Sides.of(sum_by_row(logprob_K, batch))
    total, each_G = {"pairs": loss_G.sum()}, loss_G.detach()
    if weight:
        nll_G = -weight * logprob.chosen_G
        total[SFT_UNIT] = nll_G.sum()
        each_G = each_G + nll_G.detach() / Sides.of(counts(batch)).chosen_G
    with torch.no_grad():
        sums = measures(reward, logprob)
    return Loss(total, sums, each=each_G)
