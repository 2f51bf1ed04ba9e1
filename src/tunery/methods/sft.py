"""Supervised fine-tuning: the likelihood of the answers, or a loss derived from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from tunery.config.methods.sft import SFTConfig
from tunery.data.collate import Batch
from tunery.data.groups import REPLAY, WEIGHT, RowGroup
from tunery.data.rows import Rows
from tunery.measures import LOSS
from tunery.methods.base import Loss, mean_of
from tunery.methods.likelihood import Likelihood, by_token, weights
from tunery.methods.sft_losses import LOSSES
from tunery.policy.policy import Policy
from tunery.policy.tokens import Wanted
from tunery.runs.context import RunContext


class SFT(Likelihood):
    """The loss chosen by ``method.loss`` where the loss mask is true.

    Whatever the objective, the reported loss and that of held-out rows is the plain cross-entropy:
    it can be compared between runs, and some of the other losses also fall as an answer becomes
    less probable.
    """

    config: SFTConfig

    def __init__(self, config: SFTConfig) -> None:
        super().__init__(config)
        self.wanted = Wanted(
            uniform=config.label_smoothing > 0,
            top_k=config.eaft_top_k if config.loss == "eaft" else 0,
            kl=config.loss == "asft",
        )

    def units(self, group: RowGroup) -> Mapping[str, int]:
        """The trained tokens; those of replay rows have a count of their own for the KL term."""
        count = group.num_trained
        if not self.config.has_replay_kl:
            return {"tokens": count}
        if REPLAY not in group.facts:
            return {"tokens": count, "replay_tokens": 0}
        return {
            "tokens": 0 if self.config.replay_loss == "kl_divergence" else count,
            "replay_tokens": count,
        }

    def prepare(self, policy: Policy, rows: Rows, context: RunContext, *, name: str) -> Rows:
        """Add the weights of the datasets; with noise, training rows are read as a whole."""
        if name != "train":
            return rows
        of_source, origin = self.config.source_weights, rows.origin
        if of_source:
            rows = rows.mapped(
                lambda i, group: _weighted(group, of_source.get(origin(i).get("dataset", ""), 1.0))
            )
        return rows.whole(unlike=None) if self.config.neftune_alpha else rows

    def loss(self, policy: Policy, batch: Batch, step: Mapping[str, Tensor]) -> Loss:
        """Sum of the trained tokens' losses; without a gradient, of their cross-entropy."""
        if not torch.is_grad_enabled():
            return super().loss(policy, batch, step)
        config = self.config
        batch = replace(batch, noise=config.neftune_alpha)
        if config.is_plain:
            return super().loss(policy, batch, step)
        replay_K = self._replay(batch)
        wanted = self.wanted if replay_K is None else replace(self.wanted, kl=True)
        tokens = policy.tokens(batch, wanted)
        loss_K = LOSSES[config.loss](tokens, config)
        if (weight_K := weights(batch)) is not None:
            loss_K = loss_K * weight_K
        total: dict[str, Tensor] = {}
        if replay_K is not None:
            if config.replay_loss == "kl_divergence":
                loss_K = loss_K * (1 - replay_K)
            total["replay_tokens"] = config.replay_kl_weight * (tokens.kl_K * replay_K).sum()
        return Loss({"tokens": loss_K.sum(), **total}, {LOSS.name: mean_of(tokens.nll_K)})

    def _replay(self, batch: Batch) -> Tensor | None:
        """1 for each token of a replay row and 0 for others; None without any, or without a KL."""
        if not self.config.has_replay_kl or REPLAY not in batch.facts:
            return None
        return by_token(batch, batch.facts[REPLAY].nan_to_num(0.0))


def _weighted(group: RowGroup, weight: float) -> RowGroup:
    """The group with its weight multiplied."""
    return RowGroup(group.rows, {**group.facts, WEIGHT: weight * group.facts.get(WEIGHT, 1.0)})
