"""The light half of training a reward model."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar, Literal

from pydantic import Field

from tunery.config.base import Finding
from tunery.config.methods.base import Produces
from tunery.config.methods.pairs import RewardedPairs
from tunery.i18n import t


class RewardConfig(RewardedPairs):
    """A reward model: scores the better of two answers higher."""

    build = "tunery.methods.reward:Reward"
    produces: ClassVar[Produces] = "scores"

    type: Literal["reward"] = "reward"
    """A reward model, which scores answers instead of writing them, from pairs of answers."""

    center_rewards_coefficient: float = Field(default=0.0, ge=0)
    """Weight of a term that keeps the scores of each pair centered around 0; 0.01 is usual."""

    def excludes(self, config: Any) -> Iterator[Finding]:
        """Reject prompts to answer: a reward model writes no text."""
        if config.evaluate.prompts:
            yield (
                "evaluate.prompts",
                t("evaluate.prompts cannot be combined with method.type=reward: a reward model "
                  "scores answers and writes none."),
                t("Remove evaluate.prompts; the scores of held-out pairs are measured."),
            )  # fmt: skip
