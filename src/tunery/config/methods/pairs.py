"""The common base of all methods that learn from pairs of a chosen and a rejected answer."""

from __future__ import annotations

from typing import ClassVar

from tunery.config.methods.base import MethodKind
from tunery.measures import LOSS, Measure

REWARDS = (
    Measure("reward_accuracy", "Reward accuracy", unit="%", better="high"),
    Measure("reward_margin", "Reward margin", better="high"),
    Measure("reward_chosen", "Reward of chosen answers"),
    Measure("reward_rejected", "Reward of rejected answers"),
)
"""Measures of the two rewards of a pair, implicit or scored."""


class PairMethod(MethodKind):
    """A method that learns from pairs."""

    rows = "pair"
    measures: ClassVar[tuple[Measure, ...]] = (
        LOSS,
        *REWARDS,
        Measure("logprob_chosen", "Log-probability of chosen answers", unit="nats", chart=False),
        Measure(
            "logprob_rejected", "Log-probability of rejected answers", unit="nats", chart=False
        ),
    )
    rate_scale = 0.1
    unit = "pairs"
