"""What a check found: problems grouped by code, counted, with at most five examples of each."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from tunery.data.kinds import Finding, row_kind_named
from tunery.data.problems import Problem

MAX_EXAMPLES = 5
ORDER = {"stop": 0, "warn": 1, "note": 2}


@dataclass(slots=True)
class Group:
    """All problems of one code."""

    code: str
    count: int = 0
    examples: list[Problem] = field(default_factory=list[Problem])


@dataclass(slots=True)
class Report:
    """The result of checking one dataset.

    Args:
        dataset: Its name.
        format: The format its rows have; None where none was found.
        kind: The row kind of that format.
        rows: Records read.
        bad: Records that cannot be used.
        duplicates: Records left out because ``data.deduplicate`` is on.
        files: How many files were read.
        broken_files: Files that could not be read to their end.
        unfilled: Rows hold ``{{...}}`` that no variable fills.
        tolerated: The share of unusable rows that a run sets aside; None where one stops it.
        by_template: Rows hold what not every chat template can write.
        rendered_for: The model whose template wrote every usable row; empty where none was asked.
        untrained: Usable rows of which no message is trained on, so that a run leaves them out.
        idle: Settings that had no effect on the rows; one of them is a problem only where it had
            none on the other datasets of the request either.
        tags: Usable rows by what their kind counts, such as their label.
        per_epoch: How many rows an epoch of training has, repeats included; None if not known.
    """

    dataset: str
    format: str | None = None
    rows: int = 0
    bad: int = 0
    duplicates: int = 0
    files: int = 0
    groups: dict[str, Group] = field(default_factory=dict[str, Group])
    broken_files: int = 0
    unfilled: bool = False
    tolerated: float | None = None
    by_template: bool = False
    rendered_for: str = ""
    tags: dict[str, int] = field(default_factory=dict[str, int])
    kind: str | None = None
    per_epoch: int | None = None
    untrained: int = 0
    idle: dict[str, Problem] = field(default_factory=dict[str, Problem])

    def add(self, problem: Problem, count: int = 1) -> None:
        """Count a problem and keep it if it is among the first of its code."""
        group = self.groups.setdefault(problem.code, Group(problem.code))
        group.count += count
        if len(group.examples) < MAX_EXAMPLES:
            group.examples.append(problem)

    @property
    def ok(self) -> bool:
        """Whether nothing stops a run."""
        return not self.stops

    @property
    def refusal(self) -> str:
        """The code with which a run of these rows alone is refused; empty where it can start."""
        if not self.ok and not self.sets_aside:
            return self.stops[0].code
        if self.unfilled:
            return "W706"
        return lacks.code if (lacks := self.lacks) is not None else ""

    @property
    def sets_aside(self) -> bool:
        """Whether there are unusable rows that a run sets aside."""
        allowed = self.tolerated is not None and self.bad <= self.tolerated * self.rows
        return not self.ok and allowed and self.only_rows

    @property
    def lacks(self) -> Finding | None:
        """What a run needs in addition to these rows, such as rows with the other label."""
        return row_kind_named(self.kind).lacks(self.tags) if self.kind is not None else None

    @property
    def good(self) -> int:
        """Rows that can be used."""
        return self.rows - self.bad - self.duplicates

    @property
    def only_rows(self) -> bool:
        """Whether single rows are all that stops a run, so that they could be set aside."""
        counted = sum(group.count for group in self.stops)
        return not self.broken_files and self.good > 0 and self.bad == counted

    @property
    def stops(self) -> list[Group]:
        """Groups that stop a run."""
        return [group for group in self.groups.values() if group.examples[0].severity == "stop"]

    def problems(self) -> list[Problem]:
        """Every example, the worst first, each with its code's count."""
        groups = sorted(self.groups.values(), key=lambda g: (ORDER[g.examples[0].severity], g.code))
        return [example.counted(group.count) for group in groups for example in group.examples]

    def warnings(self) -> list[Problem]:
        """One problem a warning code, with its count."""
        return [
            group.examples[0].counted(group.count)
            for group in self.groups.values()
            if group.examples[0].severity == "warn"
        ]

    def as_dict(self) -> dict[str, Any]:
        """Plain data for ``--json`` and ``--report``: never translated."""
        return {
            "dataset": self.dataset,
            "format": self.format,
            "kind": self.kind,
            "tags": self.tags,
            "files": self.files,
            "rows": self.rows,
            "ok": self.ok,
            "can_start": not self.refusal,
            "rendered_for": self.rendered_for or None,
            "rows_ok": self.good,
            "rows_bad": self.bad,
            "rows_duplicate": self.duplicates,
            "rows_per_epoch": self.per_epoch,
            "problems": [problem.as_dict() for problem in self.problems()],
        }
