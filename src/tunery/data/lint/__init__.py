"""The checker: reads a whole dataset as a stream and reports every problem in it."""

from __future__ import annotations

from tunery.data.dataset import Dataset
from tunery.data.lint.options import CheckOptions
from tunery.data.lint.report import Report
from tunery.data.lint.scan import scan


def check(dataset: Dataset, options: CheckOptions | None = None) -> Report:
    """Check every row of a dataset, in bounded memory, before anything else is loaded.

    Problems never raise; they are in the report, grouped, at most five examples of each.
    """
    return scan(dataset, options or CheckOptions()).report


__all__ = ["CheckOptions", "Report", "check"]
