"""The light half of contrastive preference optimization."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

from pydantic import Field

from tunery.config.base import Finding
from tunery.config.methods.pairs import PairMethod
from tunery.i18n import t


class CPOConfig(PairMethod):
    """Contrastive preference optimization: DPO without a reference, plus an SFT term."""

    build = "tunery.methods.cpo:CPO"

    type: Literal["cpo"] = "cpo"
    """Contrastive preference optimization (CPO) on pairs of answers, without a reference."""

    loss_type: Literal["sigmoid", "hinge", "ipo"] = "sigmoid"
    """Loss of a pair; ipo compares the mean log-probability per token."""

    beta: float = Field(default=0.1, gt=0)
    """How steeply the loss reacts to the difference between the two answers."""

    label_smoothing: float = Field(default=0.0, ge=0, lt=0.5)
    """Share of the pairs that are assumed to be labeled the wrong way round."""

    sft_weight: float = Field(default=1.0, ge=0)
    """Weight of the SFT loss of the chosen answers, which keeps the model from drifting."""

    def excludes(self, config: Any) -> Iterator[Finding]:
        """Reject label smoothing for a loss without labels."""
        if self.label_smoothing and self.loss_type != "sigmoid":
            yield (
                "method.label_smoothing",
                t("method.label_smoothing has no effect with method.loss_type={losses}.",
                  losses=self.loss_type),
                t("Set method.label_smoothing to 0, or change method.loss_type."),
            )  # fmt: skip
