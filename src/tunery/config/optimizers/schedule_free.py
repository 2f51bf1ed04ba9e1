"""The light half of schedule-free AdamW."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

from tunery.config.base import Finding
from tunery.config.optimizers.adamw import AdamWConfig
from tunery.i18n import t


class ScheduleFreeConfig(AdamWConfig):
    """Schedule-free AdamW: an average of the weights replaces the decay of the learning rate."""

    build = "tunery.optimizers.schedule_free:ScheduleFree"
    extra = "optimizers"
    packages = ("pytorch_optimizer",)
    known_as = "schedule_free_adamw:optim.schedule=constant"

    type: Literal["schedule_free"] = "schedule_free"  # pyright: ignore[reportIncompatibleVariableOverride]
    """Schedule-free AdamW (Defazio et al. 2024)."""

    def excludes(self, config: Any) -> Iterator[Finding]:
        """Reject a first decay rate of 0, which would leave nothing to average."""
        yield from super().excludes(config)
        if self.betas[0] == 0:
            yield (
                "optim.betas",
                t("optim.type={type} needs a first number in optim.betas above 0.", type=self.type),
                t("The usual values are {values}.", values=[0.9, 0.999]),
            )

    def advises(self, config: Any) -> Iterator[str]:
        """Warn about a schedule that decays as well."""
        yield from super().advises(config)
        if self.schedule != "constant":
            yield t(
                "optim.type={type} is made for a constant learning rate, and optim.schedule is "
                "{schedule}: set optim.schedule=constant.",
                type=self.type,
                schedule=self.schedule,
            )
