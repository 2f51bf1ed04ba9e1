"""The common base of all methods that learn from pairs of a chosen and a rejected answer."""

from __future__ import annotations

from typing import ClassVar

from tunery.config.methods.base import MethodKind
from tunery.measures import LOSS, Measure


class RewardedPairs(MethodKind):
    """A method that gives each answer of a pair a reward, implicit or scored."""

    rows = "pair"
    measures: ClassVar[tuple[Measure, ...]] = (
        LOSS,
        Measure("reward_accuracy", "Reward accuracy", unit="%", better="high"),
        Measure("reward_margin", "Reward margin", better="high"),
        Measure("reward_chosen", "Reward of chosen answers"),
        Measure("reward_rejected", "Reward of rejected answers"),
    )
    unit = "pairs"


class PairMethod(RewardedPairs):
    """A method that makes the better of two answers likelier."""

    measures: ClassVar[tuple[Measure, ...]] = (
        *RewardedPairs.measures,
        Measure("logprob_chosen", "Log-probability of chosen answers", unit="nats", chart=False),
        Measure(
            "logprob_rejected", "Log-probability of rejected answers", unit="nats", chart=False
        ),
    )
    rate_scale = 0.1
