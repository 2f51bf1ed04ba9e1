"""Whether a model's chat template can render every row: the extra part of a check with a model."""

from __future__ import annotations

from collections.abc import Callable

from tunery.config.config import Config
from tunery.data.lint.report import Report
from tunery.data.problems import Phrase, Problem
from tunery.errors import DataError
from tunery.i18n import phrase_of
from tunery.services.datasets import _named, _preview

Progress = Callable[[int, int, int], None]


def check_with_model(
    name: str,
    config: Config,
    *,
    wanted: str | None = None,
    progress: Progress | None = None,
    fetching: _preview.Fetching | None = None,
) -> Report:
    """Check one dataset as a run would: first its rows, then each row with the model's template.

    Args:
        name: Any name of a dataset.
        config: Settings with the model, its template and the ``data`` section.
        wanted: The row kind that the run's method learns from; None accepts any.
        progress: Called with (rows, bytes, total bytes) while the rows are read.
        fetching: Called with the progress of the model's download, if it is not here yet.

    Raises:
        UnknownName: No such dataset, model or template.
        TuneryError: The dataset or the model is not available, or the template does not suit it.
    """
    from tunery.data.catalog import weight
    from tunery.data.examples import SETTLED_BY_RENDERING, read
    from tunery.data.tokenize import refused
    from tunery.models.beside import ensure_others
    from tunery.models.context import within_context
    from tunery.models.ensure import ensure

    name, _ = weight(name)
    report = _named.check(name, config.data, wanted=wanted, progress=progress)
    if report.unfilled or not report.good or not (report.ok or report.only_rows):
        return report
    _preview.fetch_model(config, fetching or (lambda event: None))
    own = ensure(config.model.name)
    others = ensure_others(config.method, own, None)  # a run downloads what is missing
    tokenizer, template, config = _preview.template_of(config)
    for other in others.values():
        config = within_context(config, other)
    data = config.data.model_copy(update={"on_bad_rows": "quarantine", "max_bad_share": 1.0})
    for error in refused(read([name], data, wanted=wanted), template, tokenizer, config.data):
        if "record" in error.fields:
            report.bad += 1
        report.add(_problem(error, name))
    for code in SETTLED_BY_RENDERING:
        report.drop(code)
    report.rendered_for = config.model.name
    return report


def _problem(error: DataError, name: str) -> Problem:
    found = phrase_of(error.message) or Phrase("{text}", {"text": error.message})
    record = error.fields.get("record")
    if record is not None and (inner := phrase_of(found.values.get("what"))) is not None:
        found = inner  # the location is shown separately
    return Problem(
        error.code,
        str(error.fields.get("file") or name),
        found,
        phrase_of(error.fix) or Phrase("{text}", {"text": error.fix}),
        line=error.fields.get("line"),
        record=record,
    )
