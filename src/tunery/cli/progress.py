"""A bar for what a model costs before a run: bytes that arrive, a file that is converted."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

from tunery.cli.console import err
from tunery.cli.live import print_line
from tunery.i18n import t
from tunery.models.progress import Progress, ProgressEvent


@contextmanager
def model_progress(*, as_json: bool) -> Iterator[Progress]:
    """Give a listener that draws on stderr, or prints JSON lines on stdout.

    The bar appears with the first event: a model that is here already shows none.
    """
    if as_json:
        yield lambda event: print_line({"type": "model", **event.as_dict()})
        return
    drawing = _Drawing()
    try:
        yield drawing.take
    finally:
        drawing.end()


class _Drawing:
    def __init__(self) -> None:
        self._bars: Bars | None = None
        self._task = None

    def take(self, event: ProgressEvent) -> None:
        if event.kind == "note":
            err.print(event.text, markup=False, soft_wrap=True)
        elif event.kind == "done":
            self.end()
        else:
            self._draw(event)

    def _draw(self, event: ProgressEvent) -> None:
        text = t("converting {model}", model=event.model)
        if event.kind != "convert":
            text = t("fetching {model}", model=event.model)
        if self._bars is None:
            self._bars = Bars(
                TextColumn("{task.description}"),
                BarColumn(),
                DownloadColumn(binary_units=True),
                TimeRemainingColumn(),
                console=err,
                transient=True,
            )
            self._bars.start()
            self._task = self._bars.add_task(text, total=None)
        assert self._task is not None
        self._bars.update(
            self._task,
            description=text,
            completed=event.done_bytes,
            total=event.total_bytes or None,
        )

    def end(self) -> None:
        if self._bars is not None:
            self._bars.stop()
            self._bars = None
