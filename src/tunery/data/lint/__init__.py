"""The checker: streams through a whole dataset and reports every problem in it."""

from __future__ import annotations

from collections.abc import Sequence

from tunery.data.dataset import Dataset
from tunery.data.lint.idle import CODE, common
from tunery.data.lint.options import CheckOptions
from tunery.data.lint.report import Report
from tunery.data.lint.scan import scan


def check(dataset: Dataset, options: CheckOptions | None = None) -> Report:
    """Check every row of a dataset in bounded memory.

    Problems are not raised; the report contains them, grouped by code with up to five examples.
    """
    report = scan(dataset, options or CheckOptions()).report
    for problem in report.idle.values():
        report.add(problem)
    return report


def only_common(reports: Sequence[Report]) -> None:
    """Remove W732 from reports of one request for settings that another of the datasets uses."""
    kept = common([report.idle for report in reports])
    for report in reports:
        if report.drop(CODE):
            for path in kept:
                report.add(report.idle[path])


__all__ = ["CheckOptions", "Report", "check", "only_common"]
