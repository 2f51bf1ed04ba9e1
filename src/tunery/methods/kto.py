"""Kahneman-Tversky optimization (Ethayarajh et al. 2024, https://arxiv.org/abs/2402.01306).

An answer's reward is compared with the KL divergence of the model from the reference, which is
estimated over the whole step on prompts paired with answers to other prompts. Binary classifier
optimization (Jung et al. 2024, https://arxiv.org/abs/2404.04656) compares it with the mean reward
of all answers so far.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from tunery.config.methods.kto import KTOConfig
from tunery.data.collate import Batch
from tunery.data.groups import RowGroup, TokenRow
from tunery.data.rows import Rows
from tunery.i18n import t
from tunery.methods.base import Loss, Plain, mean_of, sum_by_row
from tunery.methods.reference import Reference, Referring
from tunery.policy.policy import Policy
from tunery.runs.context import RunContext

PAIRING_SEED = 0x4B10
MOST_TRIES = 64
TRAINED = "train"
"""Name of the rows whose rewards count for the baseline of bco."""


def kto_loss(
    reward_G: Tensor, label_G: Tensor, kl: Tensor, beta: float, weights: tuple[float, float]
) -> Tensor:
    """The loss of each answer.

    Args:
        reward_G: (log p - log ref) of the answer, in nats. Shape ``[G]``.
        label_G: 1 for a good answer, 0 for a bad one. Shape ``[G]``.
        kl: The KL estimate, at least 0, 0-dim.
        beta: Inverse temperature of the sigmoid.
        weights: Weights of good and of bad answers.

    Returns:
        Shape ``[G]``.
    """
    good, bad = weights
    return torch.where(
        label_G > 0,
        good * (1 - torch.sigmoid(beta * (reward_G - kl))),
        bad * (1 - torch.sigmoid(beta * (kl - reward_G))),
    )


def bco_loss(
    reward_G: Tensor, label_G: Tensor, baseline: Tensor, weights: tuple[float, float]
) -> Tensor:
    """The loss of each answer: a classifier of good and bad by the reward.

    Args:
        reward_G: beta * (log p - log ref) of the answer, in nats. Shape ``[G]``.
        label_G: 1 for a good answer, 0 for a bad one. Shape ``[G]``.
        baseline: The reward between good and bad, 0-dim.
        weights: Weights of good and of bad answers.

    Returns:
        Shape ``[G]``.
    """
    good, bad = weights
    margin_G = reward_G - baseline
    return torch.where(label_G > 0, -good * logsigmoid(margin_G), -bad * logsigmoid(-margin_G))


class KTO(Referring, Plain):
    """KTO on labelled answers, one row per group."""

    def __init__(self, config: KTOConfig) -> None:
        self.config = config
        self.reference = Reference(config.reference_model)
        self._rewards, self._answers = 0.0, 0.0  # of all steps so far, for the baseline of bco

    def units(self, group: RowGroup) -> Mapping[str, int]:
        """Each answer counts as one, regardless of its length."""
        return {"answers": 1}

    def prepare(self, policy: Policy, rows: Rows, context: RunContext, *, name: str) -> Rows:
        """Add the mismatched answers, and the stored reference of all answers if needed."""
        if self.config.loss_type == "apo_zero_unpaired":
            return self.reference.added(policy, rows, context, name=name)
        if self.config.loss_type == "bco":
            found = self.reference.added(policy, rows, context, name=name)
            return found.with_beside(found) if name == TRAINED else found
        made, unmatched = _mismatched(rows, context.config.data.max_length)
        if unmatched:
            context.warn(
                "kl",
                t(
                    "The KL term needs answers to other prompts; for these rows there are "
                    "none, so it is estimated from their own answers."
                ),
                unmatched,
            )
        mismatched = self.reference.added(policy, made, context, name=f"{name}_mismatched")
        return self.reference.added(policy, rows, context, name=name).with_beside(mismatched)

    def before_step(self, policy: Policy, beside: Sequence[Batch]) -> Mapping[str, Tensor]:
        """Sum and count of log p - log ref over the mismatched answers, for the KL estimate.

        With bco, over the answers of the step themselves; none of held-out rows.
        """
        total = torch.zeros((), device=policy.device)
        count = torch.zeros((), device=policy.device)
        for batch in beside:
            moved_K = policy.logprobs(batch) - self.reference.logprobs(policy, batch)
            total += moved_K.sum()
            count += len(batch.rows)
        return {"sum": total, "count": count}

    def after_step(self, step: Mapping[str, Tensor]) -> dict[str, float]:
        """Add the rewards of a step to those of all steps, for the baseline of bco."""
        if self.config.loss_type != "bco":
            return {}
        self._rewards += float(step["sum"])
        self._answers += float(step["count"])
        return {"rewards": self._rewards, "answers": self._answers}

    def resume(self, saved: Mapping[str, float]) -> None:
        """Restore the sum and the number of the rewards so far."""
        self._rewards, self._answers = saved.get("rewards", 0.0), saved.get("answers", 0.0)

    def loss(self, policy: Policy, batch: Batch, step: Mapping[str, Tensor]) -> Loss:
        """Sum the loss over the answers."""
        reference_K = self.reference.logprobs(policy, batch)
        reward_G = sum_by_row(policy.logprobs(batch) - reference_K, batch)
        label_G = batch.facts["label"]
        config = self.config
        weights = (config.desirable_weight, config.undesirable_weight)
        if config.loss_type == "bco":
            compared = config.beta * (self._rewards + step["sum"])
            compared = compared / (self._answers + step["count"]).clamp(min=1)
            loss_G = bco_loss(config.beta * reward_G, label_G, compared, weights)
        else:
            # Without mismatched answers (apo_zero_unpaired) both are 0, and so is the KL term.
            compared = (step["sum"] / step["count"].clamp(min=1)).clamp(min=0)
            loss_G = kto_loss(reward_G, label_G, compared, config.beta, weights)
        shown_G = config.beta * reward_G.detach()
        sums = {
            "reward_desirable": mean_of(shown_G[label_G > 0]),
            "reward_undesirable": mean_of(shown_G[label_G <= 0]),
            config.reported()[-1].name: mean_of(compared[None]),
        }
        return Loss({"answers": loss_G.sum()}, sums, each=loss_G.detach())


def _mismatched(rows: Rows, max_length: int) -> tuple[Rows, int]:
    """Pair each prompt with an answer to another one; the pairing does not depend on the steps.

    Args:
        rows: Labelled answers.
        max_length: Maximum tokens per row; a longer row loses the beginning of its prompt.

    Returns:
        The same number of groups, and how many still hold an answer to their own prompt.
    """
    count = len(rows)
    order = np.random.default_rng(PAIRING_SEED).permutation(count)
    partner = np.empty(count, dtype=np.int64)
    partner[order] = np.roll(order, -1)

    def group(i: int) -> RowGroup:
        own = rows.group(i).rows[0]
        prompt = _prompt(own)
        other = int(partner[i])
        for _ in range(MOST_TRIES):  # skip answers to the same prompt
            if not np.array_equal(_prompt(rows.group(other).rows[0]), prompt):
                break
            other = int(partner[other])
        answer = rows.group(other).rows[0]
        begin = len(_prompt(answer))
        unmatched.append(np.array_equal(_prompt(answer), prompt))
        prompt = prompt[-max(1, max_length - (len(answer) - begin)) :]
        ids = np.concatenate([prompt, answer.input_ids[begin:]])
        mask = np.concatenate([np.zeros(len(prompt), dtype=bool), answer.loss_mask[begin:]])
        return RowGroup((TokenRow(ids, mask),))

    unmatched: list[bool] = []
    made = [group(i) for i in range(count)]
    return Rows.of_groups(made, name="mismatched"), sum(unmatched)


def _prompt(row: TokenRow) -> np.ndarray:
    """The tokens before the first trained one."""
    return row.input_ids[: int(np.argmax(row.loss_mask))]
