"""The checker: reads a whole dataset as a stream and reports every problem in it."""

from __future__ import annotations

from collections.abc import Sequence

from tunery.data.dataset import Dataset
from tunery.data.lint.idle import CODE, common
from tunery.data.lint.options import CheckOptions
from tunery.data.lint.report import Report
from tunery.data.lint.scan import scan


def check(dataset: Dataset, options: CheckOptions | None = None) -> Report:
    """Check every row of a dataset, in bounded memory, before anything else is loaded.

    Problems never raise; they are in the report, grouped, at most five examples of each.
    """
    report = scan(dataset, options or CheckOptions()).report
    for problem in report.idle.values():
        report.add(problem)
    return report


def only_common(reports: Sequence[Report]) -> None:
    """Take back, in the reports of one request, the idle settings that another dataset uses."""
    kept = common([report.idle for report in reports])
    for report in reports:
        if report.groups.pop(CODE, None) is not None:
            for path in kept:
                report.add(report.idle[path])


__all__ = ["CheckOptions", "Report", "check", "only_common"]
