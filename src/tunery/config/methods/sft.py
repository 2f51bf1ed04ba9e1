"""The light half of supervised fine-tuning and its losses."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

from pydantic import Field

from tunery.config.base import Finding
from tunery.config.methods.base import MethodKind
from tunery.i18n import t
from tunery.measures import OBJECTIVE, Measure

SFTLoss = Literal["cross_entropy", "dft", "eaft", "asft", "focal"]

CONSTANTS: dict[str, SFTLoss] = {
    "focal_gamma": "focal",
    "eaft_alpha": "eaft",
    "eaft_top_k": "eaft",
    "asft_alpha": "asft",
    "label_smoothing": "cross_entropy",
}
"""Settings that only one loss reads."""


class SFTConfig(MethodKind):
    """Supervised fine-tuning: learn the answers of conversations."""

    build = "tunery.methods.sft:SFT"
    rows = "conversation"
    replays = True

    type: Literal["sft"] = "sft"
    """Supervised fine-tuning on conversations."""

    loss: SFTLoss = "cross_entropy"
    """Loss function of a token; the others weight tokens by what the model already expects."""

    focal_gamma: float = Field(default=2.0, ge=0, le=20)
    """Exponent of the focal loss: the higher, the less tokens count that the model expects."""

    eaft_alpha: float = Field(default=1.0, ge=0, le=20)
    """Exponent of the entropy by which the eaft loss weights a token."""

    eaft_top_k: int = Field(default=20, ge=2, le=100_000)
    """Number of most probable tokens over which the eaft loss measures the entropy."""

    asft_alpha: float = Field(default=0.1, ge=0)
    """Weight of the KL divergence from the model before training in the asft loss."""

    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    """Share of the target that is spread evenly over the vocabulary; 0.1 is usual."""

    @property
    def is_plain(self) -> bool:
        """Whether the objective is the cross-entropy itself."""
        return self.loss == "cross_entropy" and not self.label_smoothing

    @property
    def needs_before(self) -> bool:
        """Whether a step compares the model with what it was before training."""
        return self.loss == "asft"

    def reported(self) -> tuple[Measure, ...]:
        """The cross-entropy as the loss, and the objective if it differs."""
        return self.measures if self.is_plain else (*self.measures, OBJECTIVE)

    def advises(self, config: Any) -> Iterator[str]:
        """Warn about constants of a loss that is not selected."""
        for name, loss in CONSTANTS.items():
            chosen = name in self.model_fields_set and name != "label_smoothing"
            if chosen and self.loss != loss:
                yield t("method.{name} has no effect with method.loss={loss}.",
                        name=name, loss=self.loss)  # fmt: skip

    def excludes(self, config: Any) -> Iterator[Finding]:
        """Reject smoothing of other losses, and a comparison with weights that are overwritten."""
        if self.label_smoothing and self.loss != "cross_entropy":
            yield (
                "method.label_smoothing",
                t("method.label_smoothing has no effect with method.loss={loss}.", loss=self.loss),
                t("Set method.label_smoothing to 0, or method.loss to cross_entropy."),
            )
        if self.loss == "asft" and config.adapter.writes == "model":
            yield (
                "method.loss",
                t("method.loss=asft compares with the model before training, which "
                  "adapter.type={adapter} overwrites.", adapter=config.adapter.type),
                t("Set adapter.type to lora, or choose another method.loss."),
            )  # fmt: skip
