"""The measures that a run declares once, for every view to show."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from tunery.i18n import translated

Better = Literal["low", "high", ""]


@dataclass(frozen=True, slots=True)
class Measure:
    """One number that a run reports at its steps, its evaluations, or both.

    Args:
        name: Its name in events, such as ``reward_margin``.
        label: Its English display name; ``locales`` has the Chinese one.
        unit: Such as ``nats``; ``%`` shows a fraction as a percentage; empty for a plain number.
        better: Whether lower or higher is better; empty if neither.
        chart: Whether it gets its own chart.
    """

    name: str
    label: str
    unit: str = ""
    better: Better = ""
    chart: bool = True

    def as_dict(self) -> dict[str, Any]:
        """Plain data, as stored in the ``plan`` event."""
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
        """The label within a sentence: ``reward margin``, but ``KL from the reference``."""
        return within(self.title)

    def shown(self, value: float | None, *, signed: bool = False) -> str:
        """Format a value with its unit: ``0.6931``, ``75.0 %``, ``0.12 nats``; a dash for None.

        Args:
            value: The value; a non-finite one is shown as is.
            signed: Whether to show a plus sign, for a difference.
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
        """Whether a value is better than another; always False if neither direction is better."""
        return value < than if self.better == "low" else self.better == "high" and value > than


LOSS = Measure("loss", "Loss", better="low")
"""The measure that every run has."""

OBJECTIVE = Measure("objective", "Training objective", better="low")
"""What a step minimizes, where its loss tells something else; see ``methods.base.Loss``."""


def within(title: str) -> str:
    """A title in the form used inside a sentence; one that begins with an acronym is unchanged."""
    return title if title[1:2].isupper() else title[:1].lower() + title[1:]


@dataclass(frozen=True, slots=True)
class Declared:
    """The measures of one run, as its ``plan`` event lists them.

    Args:
        measures: All of them, the loss first.
        best: The measure that selects the best checkpoint.
        per_token: Whether the loss is a mean over tokens, in nats.
        writes: Whether the trained model writes text; a reward model returns scores.
    """

    measures: tuple[Measure, ...] = (LOSS,)
    best: Measure = LOSS
    per_token: bool = True
    writes: bool = True

    @classmethod
    def of(cls, plan: Mapping[str, Any] | None) -> Declared:
        """Read a ``plan`` event; one from an older run, without a list, declares only the loss."""
        if not plan:
            return cls()
        listed: Sequence[Mapping[str, Any]] = plan.get("measures") or ()
        own = tuple(Measure.from_dict(each) for each in listed if each["name"] != LOSS.name)
        measures = (LOSS, *own)
        best = next((each for each in measures if each.name == plan.get("best")), LOSS)
        per_token = plan.get("loss_per", "tokens") == "tokens"
        return cls(measures, best, per_token, plan.get("produces", "text") == "text")

    @property
    def own(self) -> tuple[Measure, ...]:
        """All measures except the loss."""
        return self.measures[1:]

    @property
    def main(self) -> tuple[Measure, ...]:
        """The main measures: ``best``, then the charted others that have a better direction."""
        own = [each for each in self.own if each.chart and each.better and each != self.best]
        return (self.best, *own)


LOSS_ALONE = Declared()
"""The measures of a run that has not declared any."""
