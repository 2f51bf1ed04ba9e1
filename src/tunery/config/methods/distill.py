"""The light half of distillation: learning from the distributions of another model."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

from pydantic import Field

from tunery.config.base import Finding
from tunery.config.methods.base import LOGPROB_BYTES, MethodKind
from tunery.errors import ConfigError
from tunery.i18n import t
from tunery.measures import LOSS, Measure

ID_BYTES = 4


class DistillConfig(MethodKind):
    """Distillation: predict, at each token of the answers, what a teacher model predicts."""

    build = "tunery.methods.distill:Distill"
    rows = "conversation"
    measures = (
        LOSS,
        Measure("teacher_divergence", "Divergence from the teacher", unit="nats", better="low"),
        Measure("answer_nll", "Cross-entropy of the answers", unit="nats", better="low"),
        Measure(
            "teacher_agreement", "Same most probable token as the teacher", unit="%", better="high"
        ),
    )
    models = ("teacher",)
    unit = "answer tokens"

    type: Literal["distill"] = "distill"
    """Distillation of a teacher model on conversations."""

    teacher: str = ""
    """The model to learn from, named like model.name; its tokenizer must have the same tokens."""

    teacher_top_k: int | None = Field(default=None, ge=1)
    """Number of the teacher's most probable tokens to compute once before training and store.

    The teacher is then released, and all other tokens count as one outcome; 64 is usual. By
    default the teacher stays in memory and all tokens are compared."""

    divergence: Literal["forward_kl", "reverse_kl", "jsd"] = "forward_kl"
    """What is minimized between the two distributions over the next token.

    forward_kl covers all that the teacher may say, reverse_kl its most probable answers; jsd is
    between them."""

    beta: float = Field(default=0.5, gt=0, lt=1)
    """Weight of the teacher in the mixture that jsd compares both models with."""

    temperature: float = Field(default=1.0, gt=0, le=100)
    """Divides the logits of both models; above 1, improbable tokens count more."""

    sft_weight: float = Field(default=0.0, ge=0)
    """Weight of the cross-entropy of the answers, which is added to the divergence."""

    @property
    def keeps_models(self) -> bool:
        """A teacher whose predictions are stored is released."""
        return self.teacher_top_k is None

    def stored_bytes(self, trained_tokens: int, config: Any) -> int:
        """An ID and a log-probability of each stored token, and one of the rest."""
        if self.teacher_top_k is None:
            return 0
        return trained_tokens * (self.teacher_top_k * (ID_BYTES + LOGPROB_BYTES) + LOGPROB_BYTES)

    def check_vocabulary(self, size: int) -> None:
        """Reject more tokens than the vocabulary has."""
        if (self.teacher_top_k or 0) > size:
            raise ConfigError(
                t("method.teacher_top_k={count:,} is more than the vocabulary, which has {size:,} "
                  "tokens.", count=self.teacher_top_k, size=size),
                fix=t("Set method.teacher_top_k to 64, or to null to keep the teacher in memory "
                      "and compare all tokens."),
                setting="method.teacher_top_k",
            )  # fmt: skip

    def advises(self, config: Any) -> Iterator[str]:
        """Warn about a constant of a divergence that is not selected."""
        if "beta" in self.model_fields_set and self.divergence != "jsd":
            yield t("method.beta has no effect with method.divergence={divergence}.",
                    divergence=self.divergence)  # fmt: skip

    def excludes(self, config: Any) -> Iterator[Finding]:
        """Require a teacher, and one that has something to teach."""
        name = self.teacher.strip()
        if not name:
            yield (
                "method.teacher",
                t("method.teacher is empty: there is no model to learn from."),
                t("Set method.teacher to a model with the same tokenizer."),
            )
        elif name == config.model.name.strip() and not self.sft_weight:
            yield (
                "method.teacher",
                t("method.teacher is the model that is trained ({name}): both predict the same, "
                  "so there is nothing to learn.", name=name),
                t("Name another model, or set method.sft_weight above 0."),
            )  # fmt: skip
