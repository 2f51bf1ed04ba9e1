"""What is measured in a run, declared once: every view shows what the list says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal


@dataclass(frozen=True, slots=True)
class Measure:
    """One number that a run tells at its steps, its evaluations, or both.

    Args:
        name: As events carry it, such as ``reward_margin``.
        label: What people call it, in English; ``locales`` has the Chinese.
        unit: Such as ``nats`` or ``%``; empty for a plain number.
        better: Whether lower or higher is better; empty where neither is.
        chart: Whether it gets a chart of its own.
    """

    name: str
    label: str
    unit: str = ""
    better: Literal["low", "high", ""] = ""
    chart: bool = True

    def as_dict(self) -> dict[str, Any]:
        """As the ``plan`` event carries it."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Measure:
        """Read what an event carries; what a later version added is left out."""
        return cls(**{name: data[name] for name in cls.__slots__ if name in data})

    def is_better(self, value: float, than: float) -> bool:
        """Whether a value is better than another; never where neither direction is."""
        return value < than if self.better == "low" else self.better == "high" and value > than


LOSS = Measure("loss", "Loss", better="low")
"""What every run has."""
