"""Direct preference optimization (Rafailov et al. 2023, https://arxiv.org/abs/2305.18290).

It also covers the losses derived from it, alone or as a weighted sum (``dpo_losses``,
``transport``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from tunery.config.methods.dpo import RANKED, DPOConfig
from tunery.data.collate import Batch
from tunery.data.rows import Rows
from tunery.methods import pairs
from tunery.methods.base import Loss, sum_by_row
from tunery.methods.dpo_losses import LOSSES, Pairs
from tunery.methods.pairs import Paired, Sides
from tunery.methods.reference import Reference, Referring
from tunery.methods.transport import transport_loss
from tunery.policy.policy import Policy
from tunery.runs.context import RunContext


class DPO(Referring, Paired):
    """DPO on pairs of a chosen and a rejected answer, relative to a reference."""

    def __init__(self, config: DPOConfig) -> None:
        self.config = config
        self.reference = Reference(config.reference_model)
        weights = config.loss_weights or [1.0] * len(config.loss_type)
        self.weights = dict.fromkeys(config.loss_type, 0.0)
        for name, weight in zip(config.loss_type, weights, strict=True):
            self.weights[name] += weight
        self.sft_weight = self.weights.pop("sft", 0.0)

    def prepare(self, policy: Policy, rows: Rows, context: RunContext, *, name: str) -> Rows:
        """Add the stored reference if needed, and the rows as ``beside`` if a loss ranks pairs."""
        made = self.reference.added(policy, rows, context, name=name)
        return made.with_beside(made) if RANKED & self.weights.keys() else made

    def before_step(self, policy: Policy, beside: Sequence[Batch]) -> Mapping[str, Tensor]:
        """The values that ranked losses compare, over the whole step, ascending."""
        found: dict[str, list[Tensor]] = {}
        for batch in beside:
            ratio, logprob = self._ratio(policy.logprobs(batch), policy, batch)
            for name in RANKED & self.weights.keys():
                sides = _ranked(name, ratio, logprob)
                found.setdefault(f"{name}_first", []).append(sides.chosen_G)
                found.setdefault(f"{name}_second", []).append(sides.rejected_G)
        return {name: torch.cat(values).sort().values for name, values in found.items()}

    def loss(self, policy: Policy, batch: Batch, step: Mapping[str, Tensor]) -> Loss:
        """Sum the loss over the pairs, and over the tokens of an SFT term."""
        config = self.config
        if config.use_weighting:
            logprob_K, aligned_K = policy.aligned_logprobs(batch)
            mean = Sides.of(pairs.mean_by_row(aligned_K, batch))
            weight_G: Tensor | float = torch.exp(mean.chosen_G + mean.rejected_G)
        else:
            logprob_K, weight_G = policy.logprobs(batch), 1.0
        ratio, logprob = self._ratio(logprob_K, policy, batch)
        known = Pairs(ratio, Sides.of(pairs.counts(batch)), config)
        loss_G = torch.zeros_like(ratio.chosen_G)
        for name, weight in self.weights.items():
            if name in RANKED:
                each_G = transport_loss(
                    _ranked(name, ratio, logprob),
                    step[f"{name}_first"],
                    step[f"{name}_second"],
                    beta=config.beta,
                    smoothing=config.label_smoothing,
                )
            else:
                each_G = LOSSES[name](known)
            loss_G = loss_G + weight * each_G
        loss_G = loss_G * weight_G
        reward = ratio.times(config.beta)
        return pairs.with_sft(loss_G, logprob_K, batch, reward=reward, weight=self.sft_weight)

    def _ratio(self, logprob_K: Tensor, policy: Policy, batch: Batch) -> tuple[Sides, Sides]:
        """log p - log ref and log p of the answers, in nats, tokens weighted by ``ld_alpha``."""
        reference_K = self.reference.logprobs(policy, batch)
        ratio_K = logprob_K - reference_K
        if self.config.ld_alpha < 1:
            weight_K = length_weights(batch, self.config.ld_alpha)
            ratio_K, logprob_K = ratio_K * weight_K, logprob_K * weight_K
        return Sides.of(sum_by_row(ratio_K, batch)), Sides.of(sum_by_row(logprob_K, batch))


def length_weights(batch: Batch, alpha: float) -> Tensor:
    """A weight per trained token: 1, or ``alpha`` beyond the length of the shorter answer.

    Length-desensitized DPO, https://arxiv.org/abs/2409.06411.

    Returns:
        Shape ``[K]``, fp32.
    """
    counts_B = torch.tensor(batch.trained_counts, device=batch.row_K.device)
    place_K = torch.arange(batch.num_trained, device=batch.row_K.device)
    place_K = place_K - (counts_B.cumsum(0) - counts_B)[batch.row_K]
    common_B = torch.minimum(counts_B[0::2], counts_B[1::2]).repeat_interleave(2)
    return torch.where(place_K < common_B[batch.row_K], 1.0, alpha)


def _ranked(name: str, ratio: Sides, logprob: Sides) -> Sides:
    """The values to raise and to lower by rank; in ``aot``, only the policy's part has a graph."""
    if name == "aot_unpaired":
        return ratio
    return Sides(logprob.margin_G, (logprob.margin_G - ratio.margin_G).detach())
