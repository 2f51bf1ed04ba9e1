"""The light half of direct preference optimization and its family of losses."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

from pydantic import Field

from tunery.config.base import Finding
from tunery.config.methods.pairs import PairMethod
from tunery.config.methods.reference import Referenced
from tunery.i18n import t

DPOLoss = Literal[
    "sigmoid", "sigmoid_norm", "hinge", "ipo", "robust", "exo_pair", "nca_pair", "bco_pair",
    "sppo_hard", "apo_zero", "apo_down", "aot", "aot_unpaired", "discopop", "sft",
]  # fmt: skip
Divergence = Literal["reverse_kl", "forward_kl", "js_divergence", "alpha_divergence"]

MARGINS = {"sigmoid", "sigmoid_norm", "hinge", "ipo", "robust", "exo_pair", "discopop", "sft"}
"""Losses of the difference of two scores, which may therefore use any divergence."""
SMOOTHED = {"sigmoid", "sigmoid_norm", "robust", "exo_pair", "aot", "aot_unpaired"}
RANKED = {"aot", "aot_unpaired"}
"""Losses that compare all answers of a step with each other."""


class DPOConfig(Referenced, PairMethod):
    """Direct preference optimization: prefer the better of two answers."""

    build = "tunery.methods.dpo:DPO"

    type: Literal["dpo"] = "dpo"
    """Direct preference optimization (DPO) on pairs of answers."""

    loss_type: list[DPOLoss] = Field(default=["sigmoid"], min_length=1)
    """Loss function of a pair; several are summed, weighted by loss_weights."""

    loss_weights: list[float] = Field(default_factory=list[float])
    """Weight of each loss in loss_type; empty means 1 each."""

    beta: float = Field(default=0.1, gt=0)
    """How strongly the model is kept close to the reference; 0.1 to 0.5 is usual."""

    reference_model: str | None = None
    """The model to compare with, named like model.name; by default the model before training.

    Its tokenizer must have the same tokens. It is read once before training, then released."""

    label_smoothing: float = Field(default=0.0, ge=0, lt=0.5)
    """Share of the pairs that are assumed to be labeled the wrong way round."""

    f_divergence_type: Divergence = "reverse_kl"
    """Divergence from the reference that turns log ratios into scores."""

    f_alpha_divergence_coef: float = Field(default=0.5, ge=0, le=1)
    """Alpha of alpha_divergence; 1 is reverse_kl, 0 is forward_kl."""

    ld_alpha: float = Field(default=1.0, ge=0, le=1)
    """Weight of the tokens by which the longer answer of a pair exceeds the shorter one.

    Below 1, length counts less (LD-DPO)."""

    use_weighting: bool = False
    """Weight pairs by how likely the model is to produce both answers itself (WPO)."""

    discopop_tau: float = Field(default=0.05, gt=0)
    """Temperature of the discopop loss."""

    def advises(self, config: Any) -> Iterator[str]:
        """Warn about constants of a loss or divergence that is not selected."""
        chosen = self.model_fields_set
        if "discopop_tau" in chosen and "discopop" not in self.loss_type:
            yield t("method.discopop_tau has no effect with method.loss_type={losses}.",
                    losses=",".join(self.loss_type))  # fmt: skip
        if "f_alpha_divergence_coef" in chosen and self.f_divergence_type != "alpha_divergence":
            yield t("method.f_alpha_divergence_coef has no effect with "
                    "method.f_divergence_type={divergence}.",
                    divergence=self.f_divergence_type)  # fmt: skip

    def excludes(self, config: Any) -> Iterator[Finding]:
        """Reject losses that cannot be combined with another setting, or that require one."""
        kinds = set(self.loss_type)
        if self.loss_weights and len(self.loss_weights) != len(self.loss_type):
            yield (
                "method.loss_weights",
                t("method.loss_weights has {weights} values, method.loss_type has {losses}.",
                  weights=len(self.loss_weights), losses=len(self.loss_type)),
                t("Set one weight per loss, or remove method.loss_weights."),
            )  # fmt: skip
        if self.f_divergence_type != "reverse_kl" and (others := sorted(kinds - MARGINS)):
            yield (
                "method.f_divergence_type",
                t("method.f_divergence_type={divergence} has no effect on these losses: {losses}.",
                  divergence=self.f_divergence_type, losses=", ".join(others)),
                t("Set method.f_divergence_type to reverse_kl, or change method.loss_type."),
            )  # fmt: skip
        if self.label_smoothing and not kinds & SMOOTHED:
            yield (
                "method.label_smoothing",
                t("method.label_smoothing has no effect with method.loss_type={losses}.",
                  losses=",".join(self.loss_type)),
                t("Set method.label_smoothing to 0, or change method.loss_type."),
            )  # fmt: skip
        if "exo_pair" in kinds and not self.label_smoothing:
            yield (
                "method.label_smoothing",
                t("The exo_pair loss needs method.label_smoothing above 0."),
                t("Set method.label_smoothing to 0.001."),
            )
        if self.use_weighting and kinds & RANKED:
            yield (
                "method.use_weighting",
                t("method.use_weighting weights single pairs; aot compares whole batches."),
                t("Set method.use_weighting to false, or change method.loss_type."),
            )
        if kinds == {"sft"}:
            yield (
                "method.loss_type",
                t("method.loss_type=sft alone learns nothing from the rejected answers."),
                t("Add another loss, such as method.loss_type: [sigmoid, sft]."),
            )
