"""The measures of a run, declared once: every view shows this list."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from tunery.i18n import translated

Better = Literal["low", "high", ""]


@dataclass(frozen=True, slots=True)
class Measure:
    """One number that a run tells at its steps, its evaluations, or both.

    Args:
        name: As events carry it, such as ``reward_margin``.
        label: What people call it, in English; ``locales`` has the Chinese.
        unit: Such as ``nats``; ``%`` shows a share of one as a percentage; empty for a plain
            number.
        better: Whether lower or higher is better; empty where neither is.
        chart: Whether it gets a chart of its own.
    """

    name: str
    label: str
    unit: str = ""
    better: Better = ""
    chart: bool = True

    def as_dict(self) -> dict[str, Any]:
        """As the ``plan`` event carries it."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Measure:
        """Read a measure from an event; fields added by later versions are ignored."""
        return cls(**{name: data[name] for name in cls.__slots__ if name in data})

    def named(self) -> dict[str, Any]:
        """The measure for display, with its translated label."""
        return {**asdict(self), "label": self.title}

    @property
    def title(self) -> str:
        """The label, translated."""
        return translated(self.label)

    @property
    def inside(self) -> str:
        """Its label within a sentence: ``reward margin``, but ``KL from the reference``."""
        return within(self.title)

    def shown(self, value: float | None, *, signed: bool = False) -> str:
        """A value with its unit: ``0.6931``, ``75.0 %``, ``0.12 nats``; a dash for None.

        Args:
            value: The value; one that is not finite is written as it is.
            signed: Whether a plus is written too, for a difference.
        """
        if value is None:
            return "–"
        sign = "+" if signed else ""
        if not math.isfinite(value):
            return str(value)
        if self.unit == "%":
            return f"{100 * value:{sign}.1f} %"
        return f"{value:{sign}.4g} {self.unit}".rstrip()

    def is_better(self, value: float, than: float) -> bool:
        """Whether a value is better than another; never where neither direction is."""
        return value < than if self.better == "low" else self.better == "high" and value > than


LOSS = Measure("loss", "Loss", better="low")
"""What every run has."""


def within(title: str) -> str:
    """A title as it is written inside a sentence; one that begins with an acronym stays."""
    return title if title[1:2].isupper() else title[:1].lower() + title[1:]


@dataclass(frozen=True, slots=True)
class Declared:
    """The measures of one run, as its ``plan`` event lists them.

    Args:
        measures: All of them, the loss first.
        best: The one that chooses the best checkpoint.
        per_token: Whether the loss is a mean over tokens, in nats.
    """

    measures: tuple[Measure, ...] = (LOSS,)
    best: Measure = LOSS
    per_token: bool = True

    @classmethod
    def of(cls, plan: Mapping[str, Any] | None) -> Declared:
        """Read a ``plan`` event; one without a list, as older runs have it, has the loss."""
        if not plan:
            return cls()
        listed: Sequence[Mapping[str, Any]] = plan.get("measures") or ()
        own = tuple(Measure.from_dict(each) for each in listed if each["name"] != LOSS.name)
        measures = (LOSS, *own)
        best = next((each for each in measures if each.name == plan.get("best")), LOSS)
        return cls(measures, best, plan.get("loss_per", "tokens") == "tokens")

    @property
    def own(self) -> tuple[Measure, ...]:
        """All but the loss."""
        return self.measures[1:]

    @property
    def main(self) -> tuple[Measure, ...]:
        """Those that say how well it goes: the one that decides, then its own with a direction."""
        own = [each for each in self.own if each.chart and each.better and each != self.best]
        return (self.best, *own)


LOSS_ALONE = Declared()
"""What a run has that has not declared anything."""
