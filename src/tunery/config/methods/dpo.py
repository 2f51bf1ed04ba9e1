"""The light half of direct preference optimization."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from tunery.config.methods.base import MethodKind
from tunery.measures import LOSS, Measure

REWARDS = (
    Measure("reward_accuracy", "Reward accuracy", unit="%", better="high"),
    Measure("reward_margin", "Reward margin", better="high"),
    Measure("reward_chosen", "Reward of chosen answers"),
    Measure("reward_rejected", "Reward of rejected answers"),
    Measure("logprob_chosen", "Log-probability of chosen answers", unit="nats", chart=False),
    Measure("logprob_rejected", "Log-probability of rejected answers", unit="nats", chart=False),
)


class DPOConfig(MethodKind):
    """Direct preference optimization: prefer the better of two answers."""

    build = "tunery.methods.dpo:DPO"
    rows = "pair"
    reference = True
    measures = (LOSS, *REWARDS)
    rate_scale = 0.1
    unit = "pairs"

    type: Literal["dpo"] = "dpo"
    """Direct preference optimization (DPO) on pairs of answers."""

    beta: float = Field(default=0.1, gt=0)
    """How strongly the model is held to what it was before training; 0.1 to 0.5 is usual."""
