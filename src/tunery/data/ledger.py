"""The row equation: every row read is used, quarantined, or filtered by a named rule."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class Ledger:
    """Counts of what happened to the rows.

    Args:
        read: Rows found in the files.
        used: Rows that become examples.
        quarantined: Rows excluded because they cannot be used.
        filtered: Rows excluded on purpose, by rule.
        repeated: Total number of repeats of used rows per epoch.
    """

    read: int = 0
    used: int = 0
    quarantined: int = 0
    filtered: dict[str, int] = field(default_factory=dict[str, int])
    repeated: int = 0

    def balanced(self) -> bool:
        """Whether read = used + quarantined + filtered."""
        return self.read == self.used + self.quarantined + sum(self.filtered.values())

    def filter(self, rule: str, count: int) -> None:
        """Move ``count`` rows from ``used`` to ``filtered`` under the given rule."""
        if count:
            self.used -= count
            self.filtered[rule] = self.filtered.get(rule, 0) + count

    def add(self, other: Ledger) -> None:
        """Add another dataset's rows to this ledger."""
        self.read += other.read
        self.used += other.used
        self.quarantined += other.quarantined
        self.repeated += other.repeated
        for rule, count in other.filtered.items():
            self.filtered[rule] = self.filtered.get(rule, 0) + count

    def as_dict(self) -> dict[str, Any]:
        """Plain data for events and ``--json``."""
        return {
            "read": self.read,
            "used": self.used,
            "quarantined": self.quarantined,
            "filtered": dict(self.filtered),
            "repeated": self.repeated,
        }

    def __str__(self) -> str:
        filtered = sum(self.filtered.values())
        rules = ", ".join(f"{rule} {count:,}" for rule, count in self.filtered.items())
        again = f"; repeated to {self.used + self.repeated:,}" if self.repeated else ""
        return (
            f"{self.read:,} rows read = {self.used:,} used + {self.quarantined:,} quarantined "
            f"+ {filtered:,} filtered{f' ({rules})' if rules else ''}{again}"
        )
