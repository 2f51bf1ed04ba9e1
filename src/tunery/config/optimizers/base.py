"""The settings that all optimizers share: learning rate schedule, weight decay, clipping."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from tunery.config.base import Finding, Kind, WholeText
from tunery.config.optimizers.groups import GroupRule, check_groups
from tunery.i18n import t
from tunery.shape import Trained

Schedule = Literal[
    "cosine",
    "linear",
    "constant",
    "cosine_with_restarts",
    "polynomial",
    "warmup_stable_decay",
    "inverse_sqrt",
    "rex",
]
USED_BY = {
    "schedule_num_cycles": "cosine_with_restarts",
    "schedule_power": "polynomial",
    "schedule_decay_ratio": "warmup_stable_decay",
    "schedule_decay_type": "warmup_stable_decay",
}
"""Settings that only one schedule has."""


class OptimizerKind(Kind):
    """How large each step is.

    Attributes:
        known_as: Names in other tools; a further setting that a name means follows after a colon.
    """

    known_as: ClassVar[str] = ""

    learning_rate: float = Field(default=2e-4, gt=0, le=1.0)
    """Peak learning rate; 1e-4 to 1e-3 is usual for LoRA, 1e-5 to 5e-5 for full training."""

    schedule: Schedule = "cosine"
    """How the learning rate changes after warmup; warmup_stable_decay falls only at the end."""

    schedule_num_cycles: int = Field(default=1, ge=1, le=1000)
    """How often cosine_with_restarts falls from the peak to the end."""

    schedule_power: float = Field(default=1.0, gt=0, le=100)
    """Exponent of polynomial; 1 is a straight line, 2 falls fast at first."""

    schedule_decay_ratio: float = Field(default=0.1, gt=0, le=1.0)
    """Share of the steps after warmup in which warmup_stable_decay falls."""

    schedule_decay_type: Literal["cosine", "linear", "1-sqrt"] = "cosine"
    """How warmup_stable_decay falls."""

    warmup_ratio: float = Field(default=0.05, ge=0.0, lt=1.0)
    """Share of the steps used to warm up the learning rate from zero."""

    warmup_steps: int | None = Field(default=None, ge=0)
    """Number of warmup steps, instead of warmup_ratio."""

    min_learning_rate_ratio: float = Field(default=0.0, ge=0.0, le=1.0)
    """Learning rate at the end, as a share of the peak."""

    weight_decay: float = Field(default=0.0, ge=0.0, le=1.0)
    """Decoupled weight decay, applied to matrices only."""

    max_grad_norm: float = Field(default=1.0, ge=0)
    """Gradients are clipped to this norm; 0 disables clipping."""

    embedding_learning_rate: float | None = Field(default=None, gt=0, le=1.0)
    """Peak learning rate of the embeddings and the output layer, if they are trained."""

    groups: Annotated[list[GroupRule], WholeText()] = Field(default_factory=list)
    """Own rates of parameters by name: {match: REGEX, learning_rate: 1e-5, weight_decay: 0}.

    The first rule that matches counts. match is searched in the parameter's name."""

    @abstractmethod
    def state_bytes(self, trained: Trained) -> int:
        """Bytes of the optimizer's state, without the weights themselves."""

    def gradient_bytes(self, trained: Trained) -> int:
        """Bytes of the gradients that exist at once: one fp32 number per trained parameter."""
        return 4 * trained.count

    def excludes(self, config: Any) -> Iterator[Finding]:
        """Reject two settings for the same thing, and rules for nothing."""
        yield from check_groups(self.groups)
        if self.warmup_steps is not None and "warmup_ratio" in self.model_fields_set:
            default = type(self).model_fields["warmup_ratio"].default
            if self.warmup_ratio != default:
                yield (
                    "optim.warmup_steps",
                    t(
                        "optim.warmup_steps and optim.warmup_ratio are mutually "
                        "exclusive; both are set."
                    ),
                    t("Keep one of them."),
                )

    def advises(self, config: Any) -> Iterator[str]:
        """Warn about a minimum that the schedule never reaches, and settings of another one."""
        for name, schedule in USED_BY.items():
            changed = getattr(self, name) != type(self).model_fields[name].default
            if changed and self.schedule != schedule:
                yield t("optim.{name} has no effect with optim.schedule={schedule}.",
                        name=name, schedule=self.schedule)  # fmt: skip
        if self.schedule == "constant" and self.min_learning_rate_ratio > 0:
            yield t("optim.min_learning_rate_ratio has no effect with optim.schedule=constant.")


def check_betas(betas: Sequence[float], *, usual: Sequence[float]) -> Iterator[Finding]:
    """Reject decay rates outside their range."""
    if not all(0 <= beta < 1 for beta in betas):
        yield (
            "optim.betas",
            t(
                "optim.betas must be {count} numbers from 0 to below 1, got {found}.",
                count=len(betas),
                found=list(betas),
            ),
            t("The usual values are {values}.", values=list(usual)),
        )
