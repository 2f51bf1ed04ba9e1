"""The light half of supervised fine-tuning and its losses."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

from pydantic import Field

from tunery.config.adapters import ADAPTERS
from tunery.config.base import Finding, tag
from tunery.config.methods.base import MethodKind
from tunery.errors import ConfigError
from tunery.i18n import t
from tunery.measures import OBJECTIVE, Measure
from tunery.types import MOST_WEIGHT

SFTLoss = Literal["cross_entropy", "dft", "eaft", "asft", "focal"]
ReplayLoss = Literal["cross_entropy", "kl_divergence", "both"]

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

    neftune_alpha: float = Field(default=0.0, ge=0)
    """Amplitude of the noise added to the token embeddings while training (NEFTune); 5 is usual."""

    source_weights: dict[str, float] = Field(default_factory=dict[str, float])
    """Weight of the rows of a dataset in the loss, as NAME: 0.5.

    It is multiplied by the row's own weight."""

    replay_loss: ReplayLoss = "cross_entropy"
    """What is learned from replay rows: the answer, the distribution before training, or both.

    kl_divergence is measured from the model before training, at each token of the answer."""

    replay_kl_weight: float = Field(default=1.0, gt=0)
    """Weight of the mean KL divergence on replay rows."""

    @property
    def is_plain(self) -> bool:
        """Whether the objective is the cross-entropy itself, possibly weighted."""
        own = self.loss == "cross_entropy" and not self.label_smoothing
        return own and not self.has_replay_kl

    @property
    def needs_before(self) -> bool:
        """Whether a step compares the model with what it was before training."""
        return self.loss == "asft" or self.has_replay_kl

    @property
    def has_replay_kl(self) -> bool:
        """Whether replay rows are kept close to the model before training."""
        return self.replay_loss != "cross_entropy"

    def reported(self) -> tuple[Measure, ...]:
        """The cross-entropy as the loss, and the objective if it differs."""
        return self.measures if self.is_plain else (*self.measures, OBJECTIVE)

    def check_continued(self) -> None:
        """Reject a comparison with a model that an adapter has already changed."""
        if self.needs_before:
            setting = "method.loss" if self.loss == "asft" else "method.replay_loss"
            value = self.loss if self.loss == "asft" else self.replay_loss
            raise ConfigError(
                t("{setting}={value} needs the model before training, but this run "
                  "continues an adapter, which changes with it.", setting=setting, value=value),
                fix=t("Use the merged model (tunery export ADAPTER --to merged FOLDER), or set "
                      "{setting} to cross_entropy.", setting=setting),
                setting=setting,
            )  # fmt: skip

    def advises(self, config: Any) -> Iterator[str]:
        """Warn about constants of a loss that is not selected."""
        for name, loss in CONSTANTS.items():
            chosen = name in self.model_fields_set and name != "label_smoothing"
            if chosen and self.loss != loss:
                yield t("method.{name} has no effect with method.loss={loss}.",
                        name=name, loss=self.loss)  # fmt: skip
        if "replay_kl_weight" in self.model_fields_set and not self.has_replay_kl:
            yield t("method.replay_kl_weight has no effect with "
                    "method.replay_loss=cross_entropy.")  # fmt: skip

    def excludes(self, config: Any) -> Iterator[Finding]:
        """Reject smoothing of other losses, and a comparison with weights that are overwritten."""
        if self.label_smoothing and self.loss != "cross_entropy":
            yield (
                "method.label_smoothing",
                t("method.label_smoothing has no effect with method.loss={loss}.", loss=self.loss),
                t("Set method.label_smoothing to 0, or method.loss to cross_entropy."),
            )
        compared = {
            "method.loss": (self.loss, self.loss == "asft"),
            "method.replay_loss": (self.replay_loss, self.has_replay_kl),
        }
        for setting, (value, compares) in compared.items():
            if compares and config.adapter.writes == "model":
                yield (
                    setting,
                    t("{setting}={value} needs the model before training, which is overwritten "
                      "with adapter.type={adapter}.",
                      setting=setting, value=value, adapter=config.adapter.type),
                    t("Set adapter.type to {adapter}, or {setting} to cross_entropy.",
                      adapter=tag(ADAPTERS[0]), setting=setting),
                )  # fmt: skip
        if self.has_replay_kl and not config.data.replay.num_prompts:
            yield (
                "method.replay_loss",
                t("method.replay_loss={value} needs replay rows; data.replay.num_prompts is 0.",
                  value=self.replay_loss),
                t("Set data.replay.num_prompts, such as 32, or method.replay_loss to "
                  "cross_entropy."),
            )  # fmt: skip
        names = [name.rpartition("*")[0].strip() or name for name in config.data.train]
        for name, value in self.source_weights.items():
            path = f"method.source_weights.{name}"
            if not 0 < value <= MOST_WEIGHT:
                yield (
                    path,
                    t("{path} must be above 0 and at most {most:,}, got {value:g}.", path=path,
                      most=MOST_WEIGHT, value=value),
                    t("Set a weight; 1 is the usual one. To leave a dataset out, remove it from "
                      "data.train."),
                )  # fmt: skip
            if name not in names:
                yield (
                    path,
                    t("{path}: {name} is not in data.train.", path=path, name=name),
                    t("Use one of its datasets, without *2: {names}.", names=", ".join(names)),
                )
