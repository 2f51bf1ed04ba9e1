"""The light half of simple preference optimization."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from tunery.config.methods.pairs import PairMethod


class SimPOConfig(PairMethod):
    """Simple preference optimization: mean log-probabilities with a margin, without a reference."""

    build = "tunery.methods.simpo:SimPO"

    type: Literal["simpo"] = "simpo"
    """Simple preference optimization (SimPO) on pairs of answers, without a reference."""

    beta: float = Field(default=2.0, gt=0)
    """How steeply the loss reacts to the difference between the two answers; 2 to 10 is usual."""

    gamma: float = Field(default=1.0, ge=0)
    """Margin by which the reward of the chosen answer should exceed that of the rejected one."""

    label_smoothing: float = Field(default=0.0, ge=0, lt=0.5)
    """Share of the pairs that are assumed to be labeled the wrong way round."""

    sft_weight: float = Field(default=0.0, ge=0)
    """Weight of the SFT loss of the chosen answers; above 0 this is CPO-SimPO."""
