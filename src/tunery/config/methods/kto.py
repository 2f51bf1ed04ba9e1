"""The light half of Kahneman-Tversky optimization."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from tunery.config.methods.reference import Referenced
from tunery.measures import LOSS, Measure

BASELINE = Measure("reward_baseline", "Mean of all rewards so far")


class KTOConfig(Referenced):
    """Kahneman-Tversky optimization: learn from answers labeled good or bad."""

    build = "tunery.methods.kto:KTO"
    rows = "labelled"
    measures = (
        LOSS,
        Measure("reward_desirable", "Reward of good answers", better="high"),
        Measure("reward_undesirable", "Reward of bad answers", better="low"),
        Measure("kl", "KL from the reference", unit="nats"),
    )
    rate_scale = 0.1
    unit = "answers"

    type: Literal["kto"] = "kto"
    """Kahneman-Tversky optimization (KTO) on answers marked good or bad."""

    loss_type: Literal["kto", "apo_zero_unpaired", "bco"] = "kto"
    """Loss function of an answer; apo_zero_unpaired omits the KL term.

    bco compares each reward with the mean of all rewards so far."""

    beta: float = Field(default=0.1, gt=0)
    """How strongly the model is kept close to the reference; 0.1 to 0.5 is usual."""

    reference_model: str | None = None
    """The model to compare with, named like model.name; by default the model before training.

    Its tokenizer must have the same tokens. It is read once before training, then released."""

    desirable_weight: float = Field(default=1.0, gt=0)
    """Weight of the loss of good answers."""

    undesirable_weight: float = Field(default=1.0, gt=0)
    """Weight of the loss of bad answers."""

    @property
    def reference_reads(self) -> int:
        """Twice with a KL term: also as an answer to another prompt."""
        return 2 if self.loss_type == "kto" else 1

    def reported(self) -> tuple[Measure, ...]:
        """For bco, the mean of the rewards in place of the KL divergence."""
        if self.loss_type != "bco":
            return self.measures
        return (*(measure for measure in self.measures if measure.name != "kl"), BASELINE)
