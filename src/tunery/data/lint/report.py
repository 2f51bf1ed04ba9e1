"""The report of a check: problems grouped by code and level, counted, with up to five examples."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from tunery.data.kinds import Finding, row_kind_named
from tunery.data.problems import Level, Problem

MAX_EXAMPLES = 5
ORDER = {"stop": 0, "warn": 1, "note": 2}


@dataclass(slots=True)
class Group:
    """All problems with one code and level; the first ones are kept, and one of each advice."""

    code: str
    severity: Level
    count: int = 0
    examples: list[Problem] = field(default_factory=list[Problem])

    def by_advice(self) -> list[list[Problem]]:
        """The examples, those with the same advice together."""
        found: dict[str, list[Problem]] = {}
        for each in self.examples:
            found.setdefault(each.fix.template, []).append(each)
        return list(found.values())


@dataclass(slots=True)
class Report:
    """The result of checking one dataset.

    Args:
        dataset: Name of the dataset.
        format: Format of its rows; None if none was found.
        rows: Number of records read.
        bad: Number of records that cannot be used.
        duplicates: Number of records removed by ``data.deduplicate``.
        files: Number of files read.
        found: Problems by code and level: a code may stop a run in one row and warn in another.
        broken_files: Number of files that could not be read to their end.
        unfilled: Whether rows contain ``{{...}}`` placeholders without a variable.
        tolerated: Maximum fraction of unusable rows that a run quarantines; None if any unusable
            row stops it.
        by_template: Whether rows contain parts that not every chat template supports.
        rendered_for: The model whose template rendered all usable rows; empty if none was tried.
        tags: Number of usable rows by the tag of their kind, such as the label.
        kind: The row kind of the format.
        per_epoch: Number of rows per epoch of training, before the repeats of ``NAME*2``; None if
            not known.
        sampled_by: The setting that determines this number; empty if every row is used once.
        times: How often ``NAME*2`` uses these rows.
        untrained: Number of usable rows that a run drops: without a trained message, or of weight
            0.
        idle: Settings without effect on the rows, by setting; reported only if they have no effect
            on the other datasets of the request either.
    """

    dataset: str
    format: str | None = None
    rows: int = 0
    bad: int = 0
    duplicates: int = 0
    files: int = 0
    found: dict[tuple[str, Level], Group] = field(default_factory=dict[tuple[str, Level], Group])
    broken_files: int = 0
    unfilled: bool = False
    tolerated: float | None = None
    by_template: bool = False
    rendered_for: str = ""
    tags: dict[str, int] = field(default_factory=dict[str, int])
    kind: str | None = None
    per_epoch: int | None = None
    sampled_by: str = ""
    times: int = 1
    untrained: int = 0
    idle: dict[str, Problem] = field(default_factory=dict[str, Problem])

    def add(self, problem: Problem, count: int = 1) -> None:
        """Count a problem, and keep it if it is among the first, or has advice of its own."""
        key = problem.code, problem.severity
        group = self.found.setdefault(key, Group(*key))
        group.count += count
        kept = group.examples
        template = problem.fix.template
        if len(kept) < MAX_EXAMPLES or all(template != each.fix.template for each in kept):
            kept.append(problem)

    @property
    def ordered(self) -> list[Group]:
        """All groups, the most severe first."""
        return sorted(self.found.values(), key=lambda g: (ORDER[g.severity], g.code))

    def drop(self, code: str) -> bool:
        """Forget all problems with a code; return whether there were any."""
        keys = [key for key in self.found if key[0] == code]
        for key in keys:
            del self.found[key]
        return bool(keys)

    @property
    def groups(self) -> dict[str, Group]:
        """The problems by code, with the most severe level of each."""
        return {group.code: group for group in reversed(self.ordered)}

    @property
    def ok(self) -> bool:
        """Whether nothing stops a run."""
        return not self.stops

    @property
    def refusal(self) -> str:
        """The code of the error that stops a run on this dataset alone; empty if it can start."""
        if not self.ok and not self.sets_aside:
            return self.stops[0].code
        if self.unfilled:
            return "W706"
        return lacks.code if (lacks := self.lacks) is not None else ""

    @property
    def sets_aside(self) -> bool:
        """Whether there are unusable rows and a run quarantines them."""
        allowed = self.tolerated is not None and self.bad <= self.tolerated * self.rows
        return not self.ok and allowed and self.only_rows

    @property
    def lacks(self) -> Finding | None:
        """What these rows lack for a run, such as rows with the other label; None if nothing."""
        return row_kind_named(self.kind).lacks(self.tags) if self.kind is not None else None

    @property
    def good(self) -> int:
        """Number of usable rows."""
        return self.rows - self.bad - self.duplicates

    @property
    def only_rows(self) -> bool:
        """Whether only unusable rows stop a run, so that they can be quarantined."""
        counted = sum(group.count for group in self.stops)
        return not self.broken_files and self.good > 0 and self.bad == counted

    @property
    def stops(self) -> list[Group]:
        """Groups that stop a run."""
        return [group for group in self.ordered if group.severity == "stop"]

    def problems(self) -> list[Problem]:
        """All examples, the most severe first, each with the count of its code."""
        return [each.counted(group.count) for group in self.ordered for each in group.examples]

    def warnings(self) -> list[Problem]:
        """One problem per warning code, with its count."""
        return [
            group.examples[0].counted(group.count)
            for group in self.ordered
            if group.severity == "warn"
        ]

    def as_dict(self) -> dict[str, Any]:
        """Plain data for ``--json`` and ``--report``, always in English."""
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
            "rows_per_epoch": None if self.per_epoch is None else self.per_epoch * self.times,
            "times": self.times,
            "problems": [problem.as_dict() for problem in self.problems()],
        }
